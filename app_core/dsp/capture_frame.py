"""Frames of a capture, and the bins that channels take from their spectra.

There are two ways to the same bins. A `WholeFrame` computes all of them, and a channel picks its own. A `FoldedFrame`
computes the spectra of every ``n_rows``-th sample, in which the bins of the capture lie folded upon each other, and a
channel unfolds its own: that spares the last step of the transform for all bins that no channel takes, and is the
faster way for few channels.

Convention: bins are counted from 0 Hz to the size of the frame less 1; transforms are not scaled.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.fft import FrameFft, RowsFft


class CopySamples(Protocol):
    """Takes samples over into a frame; it may mend them on the way."""

    def __call__(self, target: NDArray[np.complex64], source: NDArray[np.complex64], /) -> object:
        """Write `source` into `target`, both of shape (n,)."""


class DealSamples(Protocol):
    """Takes samples over into the rows of a frame, one to each in turn; it may mend them on the way."""

    def __call__(self, rows: NDArray[np.complex64], place: int, source: NDArray[np.complex64], /) -> object:
        """Write ``source[k]`` into ``rows[p % n_rows, p // n_rows]`` for ``p = place + k``."""


class UnfoldBins(Protocol):
    """Computes bins of a frame from the spectra of its rows."""

    def __call__(
        self,
        spectra: NDArray[np.complex64],
        first: NDArray[np.int64],
        turns: NDArray[np.float32],
        weights: NDArray[np.float32],
        scratch: NDArray[np.float32],
        bins: NDArray[np.complex64],
        /,
    ) -> None:
        """Write the bins of some channels.

        Parameters
        ----------
        spectra
            Shape (n_rows, n_columns): of row ``r`` the transform of samples ``r``, ``r + n_rows``, …
        first
            Shape (n_channels,): column of a channel's first bin; behind the last column follows the first.
        turns
            Shape (n_channels, 2, size): real and imaginary part of ``w = exp(-2j pi bin / frame size)``.
        weights
            Shape (n_channels, 2, size): real and imaginary part of what the bin is multiplied by.
        scratch
            Shape (2, size); overwritten.
        bins
            Shape (n_channels, size); written: ``weight * sum(w**r * spectra[r, column])``.
        """


class TurnRows(Protocol):
    """Turns what comes out of the inverse transform to the channels' own centres."""

    def __call__(
        self,
        rows: NDArray[np.complex64],
        ramp: NDArray[np.complex64],
        phase: NDArray[np.int64],
        samples: NDArray[np.complex64],
        place: tuple[int, int, int],
        /,
    ) -> None:
        """Write good samples.

        Parameters
        ----------
        rows
            Shape (n_frames * n_channels, size): of each frame the rows of all channels.
        ramp
            Shape (n_channels, n_good): factors of a frame's good samples.
        phase
            Shape (n_channels, 3): of each channel the phase of the first frame, its step from frame to frame, and
            the parts of a cycle that both are counted in; the first is updated to the frame behind the last.
        samples
            Shape (n_channels, n_all_frames, n_good); written.
        place
            The first good sample of a row, the number of frames, and the first of them in `samples`.
        """


class ZoomSamples(Protocol):
    """Filters with complex taps and decimates."""

    def __call__(
        self, parts: NDArray[np.float32], taps: NDArray[np.float32], decimation: int, zoomed: NDArray[np.complex64], /
    ) -> bool:
        """Write zoomed samples.

        Parameters
        ----------
        parts
            Shape (2 n,): real and imaginary parts of the samples in turn.
        taps
            Shape (2, 2 n_taps): ``re, -im, …`` and ``im, re, …`` of the taps.
        decimation
            Samples for each output.
        zoomed
            Shape (n_out,), a multiple of 4; written: ``sum(tap[i] * sample[k * decimation + i])``.

        Returns
        -------
        is_sane
            False if a sample has to be mended first; then nothing in `zoomed` counts.
        """


class Loops(NamedTuple):
    """What is done to every sample, and may be compiled.

    Attributes
    ----------
    copy, turn, deal, unfold, zoom
        As their protocols say. Without `deal` and `unfold` frames are always whole; without `zoom` the whole capture
        is transformed, however few its channels.
    """

    copy: CopySamples
    turn: TurnRows
    deal: DealSamples | None = None
    unfold: UnfoldBins | None = None
    zoom: ZoomSamples | None = None


class Bins(Protocol):
    """The bins of some channels."""

    def write(self, rows: NDArray[np.complex64]) -> None:
        """Write the bins of the last transform, weighted, into `rows` of shape (n_channels, size)."""

    def take(self, channels: list[int]) -> Self:
        """Give those of some of the channels."""


class CaptureFrame(Protocol):
    """A frame that is filled, transformed and moved on."""

    samples: NDArray[np.complex64]
    """What is in the frame, in an order of its own."""

    def put(self, place: int, iq: NDArray[np.complex64]) -> None:
        """Take `iq` over as the samples from `place` on."""

    def move(self, hop: int) -> None:
        """Drop the first `hop` samples; what follows them comes to the beginning."""

    def transform(self) -> None:
        """Transform the frame; its samples stay as they are."""

    def bins(self, numbers: NDArray[np.intp], weights: NDArray[np.complex64]) -> Bins:
        """Choose bins: `numbers` of shape (n_channels, size), each row rising by 1 (modulo the frame), and weights."""


class WholeFrame:
    """A frame of which all bins are computed."""

    def __init__(self, size: int, loops: Loops) -> None:
        self._fft = FrameFft(size)
        self._copy = loops.copy
        self._spectrum = self._fft.transform()
        self.samples = self._fft.frame

    def put(self, place: int, iq: NDArray[np.complex64]) -> None:
        """As of `CaptureFrame`."""
        self._copy(self.samples[place : place + iq.shape[0]], iq)

    def move(self, hop: int) -> None:
        """As of `CaptureFrame`."""
        self.samples[: self.samples.shape[0] - hop] = self.samples[hop:]

    def transform(self) -> None:
        """As of `CaptureFrame`."""
        self._spectrum = self._fft.transform()

    def bins(self, numbers: NDArray[np.intp], weights: NDArray[np.complex64]) -> Bins:
        """As of `CaptureFrame`."""
        return _PickedBins(self, self._fft.places(numbers), weights)

    @property
    def spectrum(self) -> NDArray[np.complex64]:
        """The last transform, in the order of `FrameFft.places`."""
        return self._spectrum


class FoldedFrame:
    """A frame of which only the bins that channels take are computed.

    Parameters
    ----------
    size
        Samples in the frame, a multiple of `n_rows`.
    n_rows
        Rows that they are dealt out to.
    deal, unfold
        The loops over them.
    """

    def __init__(self, size: int, n_rows: int, deal: DealSamples, unfold: UnfoldBins) -> None:
        self._size = size
        self._deal, self._unfold = deal, unfold
        self._fft = RowsFft(n_rows, size // n_rows)
        self.samples = self._fft.rows

    def put(self, place: int, iq: NDArray[np.complex64]) -> None:
        """As of `CaptureFrame`."""
        self._deal(self.samples, place, iq)

    def move(self, hop: int) -> None:
        """As of `CaptureFrame`; `hop` is a multiple of the rows."""
        n_rows, n_columns = self.samples.shape
        n_dropped = hop // n_rows
        self.samples[:, : n_columns - n_dropped] = self.samples[:, n_dropped:]

    def transform(self) -> None:
        """As of `CaptureFrame`."""
        self._fft.transform()

    def bins(self, numbers: NDArray[np.intp], weights: NDArray[np.complex64]) -> Bins:
        """As of `CaptureFrame`."""
        turns = np.exp(-2j * np.pi * numbers / self._size)
        first = numbers[:, 0] % self.samples.shape[1]
        return _UnfoldedBins(self._unfold, self._fft.spectra, first.astype(np.int64), _parts(turns), _parts(weights))


class _PickedBins:
    def __init__(self, frame: WholeFrame, places: NDArray[np.intp], weights: NDArray[np.complex64]) -> None:
        self._frame = frame
        self._places = places
        self._weights = weights

    def write(self, rows: NDArray[np.complex64]) -> None:
        # "clip" writes into `rows` at once, "raise" would go by a copy; no place is out of range.
        np.take(self._frame.spectrum, self._places, out=rows, mode="clip")
        np.multiply(rows, self._weights, out=rows)

    def take(self, channels: list[int]) -> Self:
        taken = copy.copy(self)
        taken._places, taken._weights = self._places[channels], self._weights[channels]
        return taken


class _UnfoldedBins:
    def __init__(
        self,
        unfold: UnfoldBins,
        spectra: NDArray[np.complex64],
        first: NDArray[np.int64],
        turns: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        self._unfold = unfold
        self._spectra = spectra
        self._first, self._turns, self._weights = first, turns, weights
        self._scratch = np.empty(turns.shape[1:], dtype=np.float32)

    def write(self, rows: NDArray[np.complex64]) -> None:
        self._unfold(self._spectra, self._first, self._turns, self._weights, self._scratch, rows)

    def take(self, channels: list[int]) -> Self:
        taken = copy.copy(self)
        taken._first = self._first[channels]
        taken._turns, taken._weights = self._turns[channels], self._weights[channels]
        return taken


def _parts(values: NDArray[np.complex128] | NDArray[np.complex64]) -> NDArray[np.float32]:
    """Real and imaginary parts, shape (n, size) to (n, 2, size)."""
    return np.stack((values.real, values.imag), axis=1).astype(np.float32)


def make_frame(size: int, n_rows: int, loops: Loops) -> CaptureFrame:
    """Make a frame of `n_rows` rows, or a whole one for 1."""
    if n_rows == 1:
        return WholeFrame(size, loops)
    if loops.deal is None or loops.unfold is None:
        raise ValueError(f"there is no loop to fold a frame into {n_rows} rows")
    return FoldedFrame(size, n_rows, loops.deal, loops.unfold)
