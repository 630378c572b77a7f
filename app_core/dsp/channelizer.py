"""Many channels from one capture: overlap-save convolution with one forward FFT that all channels share.

Each channel takes the bins around it, multiplies them by its filter's response, and transforms them back with a
smaller inverse FFT, which decimates at the same time. The filter is centred on the channel's exact frequency, between
bins where need be; the rotation that is left after the shift by whole bins is taken out behind the inverse FFT. Where
few channels are expected, each narrow against the capture, each is zoomed into instead (`ZoomBank`).

Convention: output ``j`` of a channel stands at the time of input ``j * sample_rate / output_rate``, exactly and for
ever: the filter is symmetric about its centre tap, so the group delay is zero, as if zeros had come before the first
sample. Frames lie on a fixed grid of input samples that the channels have no part in, so that cutting the input at
other places gives the same output, and so does any coming and going of other channels, bit for bit.

What there is to do for each sample is done by FFTW and numpy in a few calls for a whole stack of channels. Where a loop
of numba is faster, it is given from outside (`Loops`): numba brings 65 MB that the SDR program does not carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.capture_frame import Loops
from app_core.dsp.channel_stack import PLAIN_LOOPS, Shape
from app_core.dsp.frame_bank import FrameBank
from app_core.dsp.frame_plan import FramePlan, exact_rate
from app_core.dsp.zoom_bank import ZoomBank, plan_zoom

MAX_BANDWIDTH_SHARE = 0.8
"""Most of the output rate that a channel's bandwidth may fill: the filter needs the rest to fall."""

_MOST_ZOOMED = 8
"""Channels up to which zooming into each of them is worth a thought."""

_SPARE_PAST = 2048
"""Samples by which a channel that is zoomed into looks further back than its filter reaches."""


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """What a channel takes from the capture.

    Attributes
    ----------
    offset_hz
        Centre of the channel, relative to the centre of the capture.
    bandwidth_hz
        Width of the pass band; the stop band begins at ``output_rate_hz / 2`` from the centre.
    output_rate_hz
        Rate of the channel's samples.
    """

    offset_hz: float
    bandwidth_hz: float
    output_rate_hz: float


class Channelizer:
    """Cut channels out of a capture, as a stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of the capture.
    specs
        The channels to begin with, any number, in any order; they may overlap.
    kinds
        Channels that the frames are laid out for, wherever they may lie: what is of another rate or has a steeper
        filter goes through a resampler besides. None for `specs`.
    loops
        What is done to every sample.
    expected
        The channels that there will be mostly, for which the faster way to their bins is taken, where `loops` leave a
        choice. Others work as well. None for `specs`.

    Raises
    ------
    ValueError
        If a channel's output rate is above the sample rate, its bandwidth is not positive or more than
        `MAX_BANDWIDTH_SHARE` of its output rate, or its pass band reaches beyond the capture.
    """

    def __init__(
        self,
        sample_rate_hz: float,
        specs: Sequence[ChannelSpec] = (),
        kinds: Sequence[ChannelSpec] | None = None,
        loops: Loops = PLAIN_LOOPS,
        expected: Sequence[ChannelSpec] | None = None,
    ) -> None:
        self._rate_hz = sample_rate_hz
        self._rate = exact_rate(sample_rate_hz)
        shapes = {self._shape(spec) for spec in (specs if kinds is None else kinds)}
        expected = specs if expected is None else expected
        self._bank = _make_bank(self._rate, shapes, [self._shape(spec) for spec in expected], loops)
        self._n_keys = 0
        self.add(specs)

    @property
    def latency(self) -> int:
        """Input samples that must follow a sample, at the most, before the outputs at its time come out."""
        return self._bank.latency

    def reset(self) -> None:
        """Forget all input, for a gap in the stream: the next sample is input 0."""
        self._bank.reset()

    def add(self, specs: Sequence[ChannelSpec]) -> list[int]:
        """Add channels; their first output is the first that does not stand before the next input.

        Parameters
        ----------
        specs
            Those of equal bandwidth and rate make a stack, in their order here.

        Returns
        -------
        keys
            Of the channels, in the order of `specs`: what `remove` knows them by.

        Raises
        ------
        ValueError
            As for the class; then none is added.
        """
        shapes = [self._shape(spec) for spec in specs]
        keys = list(range(self._n_keys, self._n_keys + len(specs)))
        for shape in dict.fromkeys(shapes):
            members = [(key, spec) for key, spec, its in zip(keys, specs, shapes, strict=True) if its == shape]
            offsets = [exact_rate(spec.offset_hz) / self._rate for _, spec in members]
            self._bank.add(shape, [key for key, _ in members], offsets)
        self._n_keys += len(specs)
        return keys

    def remove(self, key: int) -> NDArray[np.complex64]:
        """Remove a channel.

        Returns
        -------
        samples
            Its last outputs, up to the end of the input so far, as from `flush`; shape (n_out,).

        Raises
        ------
        KeyError
            If there is no such channel.
        """
        return self._bank.remove(key)

    def push(self, iq: NDArray[np.complex64]) -> list[NDArray[np.complex64]]:
        """Filter the next part of the capture.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0; finite, since one sample that is not spoils a frame of every channel. [full scale = 1]

        Returns
        -------
        channels
            One array for each channel, in the order in which they were added, shape (n_out,); what does not fill a
            frame waits for the next call, so `n_out` may be 0. A tone in the pass band keeps its amplitude within
            `channel_stack.RIPPLE_DB`. [full scale = 1]
        """
        return self._unstack(self.push_stacks(iq))

    def flush(self) -> list[NDArray[np.complex64]]:
        """End the stream: return the outputs that stand before the end of the input, and reset.

        Returns
        -------
        channels
            As from `push`; with them, ``ceil(n_in * output_rate / sample_rate)`` samples have come out in all.
        """
        return self._unstack(self.flush_stacks())

    def push_stacks(self, iq: NDArray[np.complex64]) -> list[tuple[list[int], NDArray[np.complex64]]]:
        """As `push`, with channels that were added together and are alike in one array.

        Returns
        -------
        stacks
            The keys of the channels, and their outputs, shape (n_channels, n_out); in the order of addition.
        """
        return self._bank.push(iq)

    def flush_stacks(self) -> list[tuple[list[int], NDArray[np.complex64]]]:
        """As `flush`, in the form of `push_stacks`."""
        return self._bank.flush()

    def _unstack(self, stacks: list[tuple[list[int], NDArray[np.complex64]]]) -> list[NDArray[np.complex64]]:
        rows = [(key, row) for keys, samples in stacks for key, row in zip(keys, samples, strict=True)]
        return [row for _, row in sorted(rows, key=lambda pair: pair[0])]

    def _shape(self, spec: ChannelSpec) -> Shape:
        """Shape of a channel; `ValueError` if it cannot be cut out of the capture."""
        if spec.output_rate_hz > self._rate_hz:
            raise ValueError(f"output rate {spec.output_rate_hz} Hz is above the sample rate {self._rate_hz} Hz")
        if not 0.0 < spec.bandwidth_hz <= MAX_BANDWIDTH_SHARE * spec.output_rate_hz:
            raise ValueError(
                f"bandwidth {spec.bandwidth_hz} Hz does not fit an output rate of {spec.output_rate_hz} Hz"
            )
        if abs(spec.offset_hz) + spec.bandwidth_hz / 2.0 > self._rate_hz / 2.0:
            raise ValueError(f"a channel at {spec.offset_hz} Hz reaches beyond a capture of {self._rate_hz} Hz")
        return Shape(exact_rate(spec.output_rate_hz) / self._rate, spec.bandwidth_hz / 2.0 / self._rate_hz)


def _make_bank(rate_hz: Fraction, shapes: set[Shape], expected: Sequence[Shape], loops: Loops) -> FrameBank | ZoomBank:
    """Make the bank that is cheapest for channels as `expected`, with frames for `shapes`."""
    reach = max((shape.reach for shape in shapes), default=0)
    load = None if loops.unfold is None else float(sum(shape.ratio for shape in expected))
    plan = FramePlan.find(float(rate_hz), [shape.ratio for shape in shapes], reach, load)
    if loops.zoom is not None and 0 < len(expected) <= _MOST_ZOOMED:
        zooms = [plan_zoom(rate_hz, shape) for shape in expected]
        is_narrow = all(zoom.zoom_filter is not None for zoom in zooms)
        if is_narrow and sum(zoom.cost_ns for zoom in zooms) < plan.cost_ns((), load or 0.0):
            return ZoomBank(rate_hz, loops, reach + _SPARE_PAST)
    return FrameBank(plan, loops)
