"""A narrow band of a capture at a fraction of its rate: a short filter that keeps the band's images out of it.

For a channel that is narrow against the capture, nearly all of the spectrum need not be filtered out before the rate
falls, but only what would be folded onto the channel: narrow bands around the multiples of the lower rate. A filter
that is zero there is short: a few boxcars of the length of the decimation, as in a CIC decimator (Hogenauer 1981,
"An economical class of digital filters for decimation and interpolation", IEEE Trans. ASSP 29), whose zeros are
spread over those bands by shifting each boxcar in frequency. Its droop within the channel is known and taken back by
the channel's own filter, behind it.

Convention: frequencies are in cycles per sample of the capture. The zoomed sample ``m`` stands at input ``m *
decimation``; the band is not shifted to 0 Hz but lies at its centre modulo the lower rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.capture_frame import Loops

IMAGES_DB = 96.0
"""Least attenuation of what would be folded onto the channel, against the channel itself."""

GROUP = 4
"""Zoomed samples come four at a time, always the same four of a stream: wherever it is cut, no bit changes."""

_TAPS_STEP = 16
"""Taps are filled up to a multiple of this: as many as the compiled loop takes in one round."""

_CHECK_NS, _OUTPUT_NS, _TAP_NS = 0.13, 4.1, 0.045
"""Time to check a sample, and for an output: of itself, and for each tap. [ns]"""

_MOST_BOXCARS = 12
_MOST_SHARE = 0.3
"""Most of the zoomed rate that the band may fill."""

_GRID = 33
"""Points of each of the bands at which the attenuation is measured."""


@dataclass(frozen=True, slots=True)
class ZoomFilter:
    """The filter in front of a decimation.

    Attributes
    ----------
    decimation
        Rate of the capture over the zoomed rate.
    taps
        Real, at the capture's rate; a gain of 1 at the centre of the band.
    center
        Which of the taps meets the sample at whose time the output stands.
    """

    decimation: int
    taps: NDArray[np.float64]
    center: int

    @classmethod
    def design(cls, decimation: int, reach: float) -> ZoomFilter | None:
        """Make the shortest one.

        Parameters
        ----------
        decimation
            At least 2.
        reach
            Half the width of the band that is kept free of images. [cycles per sample]

        Returns
        -------
        zoom_filter
            None if there is none of a reasonable length.
        """
        if not reach * decimation < _MOST_SHARE / 2.0:
            return None
        for n_boxcars in range(2, _MOST_BOXCARS + 1):
            zeros = reach * np.cos(np.pi * (np.arange(n_boxcars) + 0.5) / n_boxcars)
            taps = np.ones(1, dtype=np.complex128)
            for zero in zeros:
                taps = np.convolve(taps, np.exp(2j * np.pi * zero * np.arange(decimation)))
            # The zeros lie in pairs about 0 Hz, so the taps are real.
            zoom_filter = cls(decimation, taps.real / taps.real.sum(), (taps.shape[0] - 1) // 2)
            if zoom_filter.images_db(reach) >= IMAGES_DB:
                return zoom_filter
        return None

    def response(self, distance: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Response, any shape, at distances from the centre of the band."""
        # A polynomial in one turn per tap.
        turn = np.exp(2j * np.pi * distance)
        response: NDArray[np.complex128] = np.polynomial.polynomial.polyval(turn, self.taps) * turn**-self.center
        return response

    def images_db(self, reach: float) -> float:
        """Least attenuation of what is folded onto the band, against what is in it."""
        inside = np.linspace(-reach, reach, _GRID)
        multiples = np.arange(1, self.decimation // 2 + 1) / self.decimation
        images = np.abs(self.response(multiples[:, None] + inside))
        return float(-20.0 * np.log10(images.max() / np.abs(self.response(inside)).min()))


class Zoom:
    """Filter and decimate a band, as a stream.

    Parameters
    ----------
    zoom_filter
        The filter.
    offset
        Centre of the band.
    loops
        What is done to every sample.

    Raises
    ------
    ValueError
        If `loops` know no zoom.
    """

    def __init__(self, zoom_filter: ZoomFilter, offset: Fraction, loops: Loops) -> None:
        if loops.zoom is None:
            raise ValueError("there is no loop to zoom into a capture")
        self._zoom, self._copy = loops.zoom, loops.copy
        self._decimation = zoom_filter.decimation
        self._center = zoom_filter.center
        n_taps = _padded(zoom_filter.taps.shape[0])
        places = np.arange(zoom_filter.taps.shape[0]) - zoom_filter.center
        taps = np.zeros(n_taps, dtype=np.complex128)
        taps[: places.shape[0]] = zoom_filter.taps * np.exp(-2j * np.pi * float(offset) * places)
        self._taps = np.empty((2, 2 * n_taps), dtype=np.float32)
        self._taps[0, 0::2], self._taps[0, 1::2] = taps.real, -taps.imag
        self._taps[1, 0::2], self._taps[1, 1::2] = taps.imag, taps.real
        # Samples from one group's first to the next one's, and those that a group needs.
        self._hop = GROUP * self._decimation
        self._span: int = n_taps + (GROUP - 1) * self._decimation
        self.begin(0)

    @property
    def latency(self) -> int:
        """Input samples that must follow a sample, at the most, before the zoomed samples at its time come out."""
        return self._span

    def first_needed(self, output: int) -> int:
        """Input that zoomed sample `output`, the first of a group, needs first; may be negative."""
        return output * self._decimation - self._center

    def begin(self, output: int) -> None:
        """Forget all input: the next zoomed sample is `output`, and the next input the first that it needs.

        Before input 0 there are zeros, which are not given to `push`.
        """
        self._past: NDArray[np.complex64] = np.zeros(max(-self.first_needed(output), 0), dtype=np.complex64)

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Zoom into the next part of the capture: shape (n,) to (n_out,), a multiple of `GROUP`."""
        n_past = self._past.shape[0]
        n_groups = max((n_past + iq.shape[0] - self._span) // self._hop + 1, 0)
        zoomed = np.empty(n_groups * GROUP, dtype=np.complex64)
        # Groups that begin in what is left from before, then those that lie in the new samples.
        n_joint = min(n_groups, -(-n_past // self._hop))
        if n_joint:
            n_new = (n_joint - 1) * self._hop + self._span - n_past
            self._filter(np.concatenate((self._past, iq[: max(n_new, 0)])), zoomed[: n_joint * GROUP])
        if n_groups > n_joint:
            self._filter(iq[n_joint * self._hop - n_past :], zoomed[n_joint * GROUP :])
        used = n_groups * self._hop
        if used >= n_past:
            self._past = iq[used - n_past :].copy()
        else:
            self._past = np.concatenate((self._past[used:], iq))
        return zoomed

    def _filter(self, iq: NDArray[np.complex64], zoomed: NDArray[np.complex64]) -> None:
        if not self._zoom(_parts(iq), self._taps, self._decimation, zoomed):
            mended = np.empty_like(iq)
            self._copy(mended, iq)
            self._zoom(_parts(mended), self._taps, self._decimation, zoomed)


def _padded(n_taps: int) -> int:
    return -(-n_taps // _TAPS_STEP) * _TAPS_STEP


def _parts(iq: NDArray[np.complex64]) -> NDArray[np.float32]:
    parts = iq.view(np.float32)
    # As samples from a message are: a kernel is compiled for the one kind or for the other.
    parts.flags.writeable = False
    return parts


def zoom_cost_ns(zoom_filter: ZoomFilter) -> float:
    """Time of a `Zoom`, to compare ways by: an estimate, on a Zen 4 core. [ns per sample]"""
    n_taps = _padded(zoom_filter.taps.shape[0])
    return _CHECK_NS + (_OUTPUT_NS + _TAP_NS * n_taps) / zoom_filter.decimation
