"""Audio between the jobs: the binary frames of ``audio:pcm:{channel_id}``.

A frame is a header of 48 bytes, little-endian, and then signed 16-bit samples, left and right in turn where there are
two channels::

    offset  type    field
         0  4s      "HPCM"
         4  u8      version, 1
         5  u8      sample format, 1 = s16le
         6  u16     channels, 1
         8  f64     sample_rate_hz
        16  u64     first_sample
        24  f64     timestamp of the first sample [UTC seconds]
        32  u64     config_epoch [UTC nanoseconds]
        40  u32     number of samples
        44  u32     reserved, 0
"""

from __future__ import annotations

import math
import struct

import numpy as np

from app_core.base.blocks import PcmBlock
from app_core.base.errors import WireError
from app_core.dsp.pcm16 import to_int16

_HEADER = struct.Struct("<4sBBHdQdQII")
_MAGIC = b"HPCM"
_VERSION = 1
_S16LE = 1

MAX_SAMPLES_PER_FRAME = 1_048_576
"""Most samples that a frame may claim."""

SLOWEST_HZ, FASTEST_HZ = 4_000.0, 384_000.0
"""Rates that a frame may have, those of audio: whoever takes it bounds its memory in seconds. [samples per second]"""


def encode_pcm(block: PcmBlock) -> bytes:
    """Write one frame; samples beyond ±1 are clipped, and a NaN becomes silence."""
    header = _HEADER.pack(
        _MAGIC,
        _VERSION,
        _S16LE,
        1 if block.pcm.ndim == 1 else block.pcm.shape[1],
        block.sample_rate_hz,
        block.first_sample,
        block.timestamp,
        block.config_epoch,
        len(block.pcm),
        0,
    )
    return header + to_int16(block.pcm).astype("<i2", copy=False).tobytes()


def decode_pcm(frame: bytes) -> PcmBlock:
    """Read one frame.

    Raises
    ------
    WireError
        If it is not a frame of this version, its length is not what its header says, or its rate lies outside
        `SLOWEST_HZ` to `FASTEST_HZ`.
    """
    if len(frame) < _HEADER.size:
        raise WireError(f"PCM frame of {len(frame)} bytes is shorter than its header")
    magic, version, sample_format, channels, rate_hz, first, timestamp, epoch, count, _ = _HEADER.unpack_from(frame)
    if magic != _MAGIC or version != _VERSION or sample_format != _S16LE or channels not in (1, 2):
        raise WireError(f"not a PCM frame of version {_VERSION}: {frame[:8]!r}")
    if not (SLOWEST_HZ <= rate_hz <= FASTEST_HZ and math.isfinite(timestamp)):
        raise WireError(f"PCM frame with a rate of {rate_hz} and a timestamp of {timestamp}")
    if count > MAX_SAMPLES_PER_FRAME or len(frame) != _HEADER.size + 2 * channels * count:
        raise WireError(f"PCM frame of {len(frame)} bytes claims {count} samples")
    pcm = np.frombuffer(frame, dtype="<i2", offset=_HEADER.size).astype(np.float32) / np.float32(32767.0)
    pcm = pcm if channels == 1 else pcm.reshape(-1, channels)
    return PcmBlock(pcm, rate_hz, first, timestamp, epoch)
