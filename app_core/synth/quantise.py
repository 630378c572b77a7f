"""Samples as a receiver's bytes: ``cu8`` as an RTL dongle, ``ci16_le`` and ``cf32_le``.

The eight-bit form has its zero between two codes: value = (u8 - 127.5) / 127.5. Samples beyond full scale are clipped
in the integer forms, as a converter clips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import ConfigError


def to_cu8(iq: NDArray[np.complex64]) -> NDArray[np.uint8]:
    """Quantise samples of shape (n,) [full scale = 1] to interleaved I and Q, shape (2 n,)."""
    codes = iq.view(np.float32) * np.float32(127.5)
    # Half a code of offset and half of rounding: the cast then does the rest.
    codes += np.float32(128.0)
    np.clip(codes, 0.0, 255.0, out=codes)
    return codes.astype(np.uint8)


def to_ci16(iq: NDArray[np.complex64]) -> NDArray[np.int16]:
    """Quantise samples of shape (n,) [full scale = 1] to interleaved little-endian I and Q, shape (2 n,)."""
    codes = iq.view(np.float32) * np.float32(32767.0)
    np.rint(codes, out=codes)
    np.clip(codes, -32767.0, 32767.0, out=codes)
    return codes.astype("<i2")


def to_bytes(iq: NDArray[np.complex64], datatype: str) -> bytes:
    """Give samples of shape (n,) in SigMF's `datatype`.

    Raises
    ------
    ConfigError
        If `datatype` is not ``cu8``, ``ci16_le`` or ``cf32_le``.
    """
    if datatype == "cu8":
        return to_cu8(iq).tobytes()
    if datatype == "ci16_le":
        return to_ci16(iq).tobytes()
    if datatype == "cf32_le":
        return iq.astype("<c8").tobytes()
    raise ConfigError(f"the sample format {datatype!r} is none of cu8, ci16_le and cf32_le")
