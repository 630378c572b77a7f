"""Samples as captures keep them: packed as the device gave them, two bytes a sample wherever 8 bits hold them.

A piece is never changed once it is made, so any number of captures hold on to it without copying it.

An 8-bit device whose driver gives floats has its own scale and offset (an RTL-SDR's driver divides by 128, and takes
127.4 for zero), which cannot be asked for. But all its values lie on a lattice of 256 steps, which the samples
themselves show: kept are the steps, and the lattice with them, so that nothing is lost. The same holds for a converter
of more bits while its signal is weak.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.iq_file import IqFormat

SAMPLE_BYTES: dict[IqFormat, int] = {"cu8": 2, "cs16": 4, "cf32": 8}

_CODES = 256
_ON_LATTICE = 0.002
"""Most by which a value may be off its place, in steps: ten times the rounding of float32 over 256 steps."""

_FIRST_LOOK = 4096
_LOOKED_AT = 65_536
_LONGEST_PAUSE = 1024


def pack_samples(iq: NDArray[np.complex64], iq_format: IqFormat) -> NDArray[Any]:
    """Give samples of shape (n,) [full scale = 1] as they are stored, shape (2 n,); the inverse of `base.iq_file`.

    What lies beyond full scale is clipped in the integer formats.
    """
    components = np.ascontiguousarray(iq).view(np.float32)
    if iq_format == "cf32":
        return components.astype("<f4")
    offset, scale = (127.5, 127.5) if iq_format == "cu8" else (0.0, 32768.0)
    codes = components * np.float32(scale)
    if offset:
        codes += np.float32(offset)
    np.rint(codes, out=codes)
    lowest, highest, kind = (0.0, 255.0, "u1") if iq_format == "cu8" else (-32768.0, 32767.0, "<i2")
    np.clip(codes, np.float32(lowest), np.float32(highest), out=codes)
    return codes.astype(kind)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where the values of a converter lie: a code stands for ``(code - zero) * step``. [full scale = 1]"""

    step: float
    zero: float

    @classmethod
    def find(cls, components: NDArray[np.float32]) -> Lattice | None:
        """Give the lattice of at most 256 steps that all of `components`, shape (n,), lie on; None without one.

        Its codes are laid so that 0 to 255 reach about as far to both sides of zero as a converter's do.
        """
        if len(np.unique(components[:_FIRST_LOOK])) > _CODES:
            return None
        values = np.unique(components[:_LOOKED_AT]).astype(np.float64)
        if not 2 <= len(values) <= _CODES:
            return None
        span = float(values[-1] - values[0])
        n_steps = round(span / float(np.diff(values).min()))
        if n_steps >= _CODES:
            return None
        step = span / n_steps
        places = (values - values[0]) / step
        if np.abs(places - np.rint(places)).max() > _ON_LATTICE:
            return None
        lowest = float(values[0]) / step
        first_code = min(max(round((_CODES - 1) / 2.0 + lowest), 0), _CODES - 1 - n_steps)
        return cls(step, first_code - lowest)

    def pack(self, components: NDArray[np.float32]) -> NDArray[np.uint8] | None:
        """Give the codes of `components`, shape (n,); None where one of them has none."""
        exact: NDArray[np.float32] = components * np.float32(1.0 / self.step)
        exact += np.float32(self.zero)
        codes: NDArray[np.float32] = np.rint(exact)
        np.subtract(exact, codes, out=exact)
        if not (exact.max() < _ON_LATTICE and exact.min() > -_ON_LATTICE):
            return None
        if not (codes.min() >= 0.0 and codes.max() < _CODES):
            return None
        return codes.astype(np.uint8)

    def unpack(self, codes: NDArray[np.uint8]) -> NDArray[np.int16]:
        """Give codes as ``cs16``, as `pack_samples` would have given the values."""
        values = (np.arange(_CODES) - self.zero) * (self.step * 32768.0)
        table = np.clip(np.rint(values), -32768.0, 32767.0).astype("<i2")
        return np.asarray(table[codes], dtype="<i2")


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Consecutive samples, packed.

    Attributes
    ----------
    components
        Shape (2 n,): as `pack_samples` gives them, or the codes of `lattice`.
    iq_format, sample_rate_hz, center_frequency_hz, first_sample, timestamp, config_epoch
        As in `IqBlock`; the format is that of `stored`.
    lattice
        None where `components` are not codes.
    """

    components: NDArray[Any]
    iq_format: IqFormat
    sample_rate_hz: float
    center_frequency_hz: float
    first_sample: int
    timestamp: float
    config_epoch: int
    lattice: Lattice | None = None

    @property
    def n_samples(self) -> int:
        """Samples in it."""
        return len(self.components) // 2

    @property
    def end_sample(self) -> int:
        """Index right behind its last sample."""
        return self.first_sample + self.n_samples

    @property
    def end_timestamp(self) -> float:
        """Time right after its last sample. [UTC seconds]"""
        return self.timestamp + self.n_samples / self.sample_rate_hz

    def follows(self, other: Piece) -> bool:
        """Whether its samples were counted on by the counter of `other`, behind it, with or without a gap."""
        return self.sample_rate_hz == other.sample_rate_hz and self.first_sample >= other.end_sample

    def stored(self) -> NDArray[Any]:
        """Give the samples as they stand in a file of `iq_format`, shape (2 n,)."""
        return self.components if self.lattice is None else self.lattice.unpack(self.components)

    def between(self, first: int, end: int) -> Piece | None:
        """Give the part of it from sample `first` to before sample `end`; None when there is none."""
        begin, stop = max(first - self.first_sample, 0), min(end - self.first_sample, self.n_samples)
        if stop <= begin:
            return None
        return replace(
            self,
            components=self.components[2 * begin : 2 * stop],
            first_sample=self.first_sample + begin,
            timestamp=self.timestamp + begin / self.sample_rate_hz,
        )


class Packer:
    """Make pieces of one receiver's blocks, as small as is possible without loss."""

    def __init__(self) -> None:
        self._lattice: Lattice | None = None
        self._pause = 0
        self._next_pause = 1

    def pack(self, block: IqBlock, iq_format: IqFormat) -> Piece:
        """Give a block, copied, in a format that holds its samples."""
        codes, lattice = None, None
        if iq_format == "cs16":
            components = np.ascontiguousarray(block.iq).view(np.float32)
            codes = self._codes(components)
            lattice = None if codes is None else self._lattice
        return Piece(
            pack_samples(block.iq, iq_format) if codes is None else codes,
            iq_format,
            block.sample_rate_hz,
            block.center_frequency_hz,
            block.first_sample,
            block.timestamp,
            block.config_epoch,
            lattice,
        )

    def _codes(self, components: NDArray[np.float32]) -> NDArray[np.uint8] | None:
        """Give the codes of samples; None where they lie on no lattice that is known, or found now.

        To look for one costs as much as packing some blocks: the more often it was in vain the less it is done.
        """
        if self._lattice is not None:
            codes = self._lattice.pack(components)
            if codes is not None:
                self._next_pause = 1
                return codes
        if self._pause:
            self._pause -= 1
            return None
        found = Lattice.find(components)
        codes = None if found is None else found.pack(components)
        if codes is None:
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
            return None
        self._lattice = found
        return codes
