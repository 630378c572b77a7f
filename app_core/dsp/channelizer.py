"""Many channels from one capture: overlap-save convolution with one forward FFT that all channels share.

Each channel takes the bins around it, multiplies them by its filter's response, and transforms them back with a
smaller inverse FFT, which decimates at the same time. The filter is centred on the channel's exact frequency, between
bins where need be; the rotation that is left after the shift by whole bins is taken out behind the inverse FFT.

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

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.capture_frame import Loops, make_frame
from app_core.dsp.channel_stack import PLAIN_LOOPS, Shape, Stack
from app_core.dsp.frame_plan import FramePlan, exact_rate

MAX_BANDWIDTH_SHARE = 0.8
"""Most of the output rate that a channel's bandwidth may fill: the filter needs the rest to fall."""


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
        self._loops = loops
        shapes = {self._shape(spec) for spec in (specs if kinds is None else kinds)}
        reach = max((shape.reach for shape in shapes), default=0)
        load = None
        if loops.unfold is not None:
            load = sum(spec.output_rate_hz for spec in (specs if expected is None else expected)) / sample_rate_hz
        self._plan = FramePlan.find(sample_rate_hz, [shape.ratio for shape in shapes], reach, load)
        self._frame = make_frame(self._plan.size, self._plan.n_rows, loops)
        self._stacks: list[Stack] = []
        self._n_keys = 0
        self.reset()
        self.add(specs)

    @property
    def latency(self) -> int:
        """Input samples that must follow a sample, at the most, before the outputs at its time come out."""
        return self._plan.size - self._plan.guard + max((stack.latency for stack in self._stacks), default=0)

    def reset(self) -> None:
        """Forget all input, for a gap in the stream: the next sample is input 0."""
        self._frame.samples[:] = 0
        self._filled = self._plan.guard
        self._n_frames = 0
        self._n_in = 0
        for stack in self._stacks:
            stack.begin(0, 0)

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
            stack = Stack(self._plan, self._frame, shape, [key for key, _ in members], offsets, self._loops.turn)
            stack.begin(self._n_frames, self._n_in)
            self._stacks.append(stack)
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
        stack = next((stack for stack in self._stacks if key in stack.keys), None)
        if stack is None:
            raise KeyError(key)
        alone = stack.take([key])
        if len(stack.keys) == 1:
            self._stacks.remove(stack)
        else:
            self._stacks[self._stacks.index(stack)] = stack.take([other for other in stack.keys if other != key])
        frame, counts = self._frame.samples.copy(), (self._filled, self._n_frames, self._n_in)
        samples: NDArray[np.complex64] = self._end([alone])[0][0]
        self._frame.samples[:] = frame
        self._filled, self._n_frames, self._n_in = counts
        return samples

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
        return list(zip([stack.keys for stack in self._stacks], self._run(self._stacks, iq), strict=True))

    def flush_stacks(self) -> list[tuple[list[int], NDArray[np.complex64]]]:
        """As `flush`, in the form of `push_stacks`."""
        last = self._end(self._stacks)
        self.reset()
        return list(zip([stack.keys for stack in self._stacks], last, strict=True))

    def _run(self, stacks: list[Stack], iq: NDArray[np.complex64]) -> list[NDArray[np.complex64]]:
        """Fill frames, and have each that is full filtered by `stacks`."""
        size, hop = self._plan.size, self._plan.hop
        n, taken = iq.shape[0], 0
        self._n_in += n
        for stack in stacks:
            stack.expect(max((self._filled + n - size) // hop + 1, 0))
        while True:
            part = min(size - self._filled, n - taken)
            self._frame.put(self._filled, iq[taken : taken + part])
            self._filled += part
            taken += part
            if self._filled < size:
                return [stack.collect() for stack in stacks]
            if stacks:
                self._frame.transform()
                for stack in stacks:
                    stack.add_frame()
            self._frame.move(hop)
            self._filled = size - hop
            self._n_frames += 1

    def _end(self, stacks: list[Stack]) -> list[NDArray[np.complex64]]:
        """Outputs of `stacks` up to the end of the input, with zeros behind it."""
        due = [stack.n_due(self._n_in) for stack in stacks]
        zeros = np.zeros(self.latency + self._plan.size, dtype=np.complex64)
        # As samples from a message are: a kernel is compiled for the one kind or for the other.
        zeros.flags.writeable = False
        return [samples[:, :n] for samples, n in zip(self._run(stacks, zeros), due, strict=True)]

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
