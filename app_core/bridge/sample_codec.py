"""IQ to text and back: base64 of zlib of interleaved little-endian float32 (encoding ``zlib+base64``).

The wire is plain zlib and plain base64, which any language's standard library reads; here ISA-L and a vectorised
base64 write it an order of magnitude faster. The reader trusts no size: a message that claims more samples than are
allowed, or whose stream holds more or fewer bytes than it claims, is refused before it is expanded past its claim.
"""

from __future__ import annotations

import binascii
import sys
import zlib

import numpy as np
import orjson
import pybase64
from isal import isal_zlib
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.errors import WireError
from app_core.bridge.messages import SamplesMessage, plain_number

ENCODING = "zlib+base64"
BYTES_PER_SAMPLE = 8

_MAX_DEFLATE_EXPANSION = 1032
"""Most bytes that one byte of deflate can expand to (zlib, "Maximum Compression Factor")."""

if sys.byteorder != "little":  # pragma: no cover - no such machine runs numpy wheels today
    raise ImportError("the wire is little-endian, and so must the machine be")


def encode_samples(block: IqBlock, receiver_id: str, sequence: int, *, level: int = 1) -> bytes:
    """Write one samples message.

    Parameters
    ----------
    block
        Samples of one receiver, complex64, contiguous or not.
    receiver_id
        Whose samples they are.
    sequence
        Number of this message since the stream began.
    level
        0 stores the samples as they are, 1 to 3 are ISA-L's levels.

    Returns
    -------
    message
        UTF-8 JSON with the fields of `SamplesMessage`.
    """
    iq = np.ascontiguousarray(block.iq, dtype=np.complex64)
    # ISA-L has no stored blocks at its level 0: noise would grow by a quarter, beyond what a reader accepts.
    raw = iq.view(np.uint8).data
    compressed = isal_zlib.compress(raw, level) if level else zlib.compress(raw, 0)
    text = pybase64.b64encode(compressed)
    correction_ppm = block.frequency_correction_ppm
    corrected = {} if correction_ppm is None else {"frequency_correction_ppm": plain_number(correction_ppm)}
    # base64 needs no escape in JSON, so the long text goes in as it is, without a copy through str.
    return orjson.dumps(
        {
            "receiver_id": receiver_id,
            "timestamp": block.timestamp,
            "sample_count": len(iq),
            "sample_rate": plain_number(block.sample_rate_hz),
            "center_frequency": plain_number(block.center_frequency_hz),
            "encoding": ENCODING,
            "first_sample": block.first_sample,
            "sequence": sequence,
            "config_epoch": block.config_epoch,
            **corrected,
            "samples": orjson.Fragment(b'"' + text + b'"'),
        }
    )


def decode_samples(message: SamplesMessage) -> IqBlock:
    """Expand the samples of a message.

    Raises
    ------
    WireError
        If `samples` is not base64 of zlib of exactly ``sample_count`` complex samples.
    """
    return IqBlock(
        iq=_expand(message.samples, message.sample_count),
        sample_rate_hz=float(message.sample_rate),
        center_frequency_hz=float(message.center_frequency),
        first_sample=message.first_sample,
        timestamp=message.timestamp,
        config_epoch=message.config_epoch,
        frequency_correction_ppm=message.frequency_correction_ppm,
    )


def _expand(text: str, sample_count: int) -> NDArray[np.complex64]:
    """Give shape (sample_count,), complex64, read-only."""
    expected_bytes = sample_count * BYTES_PER_SAMPLE
    # Bounds on what a stream of that many bytes can weigh: stored zlib at most, deflate's best at least.
    longest = 4 * ((expected_bytes + expected_bytes // 1000 + 64 + 2) // 3)
    shortest = expected_bytes // _MAX_DEFLATE_EXPANSION
    if not shortest <= len(text) <= longest:
        raise WireError(f"{len(text)} characters cannot hold {sample_count} samples")
    try:
        compressed = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"samples are not base64: {error}") from error
    stream = isal_zlib.decompressobj()
    try:
        expanded = stream.decompress(compressed, expected_bytes)
        # The checksum behind the last byte may still be unread; a byte more of samples is one too many.
        surplus = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares no base class
        raise WireError(f"samples are not zlib: {error}") from error
    if len(expanded) != expected_bytes or surplus or not stream.eof or stream.unused_data:
        raise WireError(f"samples do not hold exactly the {sample_count} complex samples they claim")
    return np.frombuffer(expanded, dtype=np.complex64)
