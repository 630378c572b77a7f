"""Channels that share the frames of one stream, each a few of their bins.

Convention: offsets are in cycles per sample of the stream. Frames lie on a fixed grid of input samples that the
channels have no part in.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.capture_frame import Loops, make_frame
from app_core.dsp.channel_stack import Correction, Shape, Stack
from app_core.dsp.frame_plan import FramePlan


class FrameBank:
    """Overlap-save for stacks of channels, as a stream.

    Parameters
    ----------
    plan
        The frames.
    loops
        What is done to every sample.
    correction
        As of `Stack`, for all of them.

    Attributes
    ----------
    plan
        As given.
    stacks
        The stacks, in the order of addition.
    """

    def __init__(
        self,
        plan: FramePlan,
        loops: Loops,
        correction: Correction | None = None,
    ) -> None:
        self.plan = plan
        self.stacks: list[Stack] = []
        self._loops = loops
        self._correction = correction
        self._frame = make_frame(plan.size, plan.n_rows, loops)
        self.reset()

    @property
    def latency(self) -> int:
        """Input samples that must follow a sample, at the most, before the outputs at its time come out."""
        return self.plan.size - self.plan.guard + max((stack.latency for stack in self.stacks), default=0)

    def reset(self, first: int = 0) -> None:
        """Forget all input: the next sample is input `first`, and what was before it counts as zeros.

        It may stand before input 0, by no more than the frames' guard; outputs begin with 0 all the same.
        """
        plan = self.plan
        self._frame.samples[:] = 0
        self._n_frames = max((plan.guard + first - plan.size) // plan.hop + 1, 0)
        self._filled = plan.guard + first - self._n_frames * plan.hop
        self._n_in = first
        for stack in self.stacks:
            stack.begin(self._n_frames, max(first, 0))

    def add(self, shape: Shape, keys: list[int], offsets: list[Fraction]) -> None:
        """Add channels; their first output is the first that does not stand before the next input."""
        stack = Stack(self.plan, self._frame, shape, keys, offsets, self._loops.turn, self._correction)
        stack.begin(self._n_frames, self._n_in)
        self.stacks.append(stack)

    def remove(self, key: int) -> NDArray[np.complex64]:
        """Remove a channel; return its last outputs, as of `flush`. `KeyError` if there is none."""
        stack = next((stack for stack in self.stacks if key in stack.keys), None)
        if stack is None:
            raise KeyError(key)
        alone = stack.take([key])
        if len(stack.keys) == 1:
            self.stacks.remove(stack)
        else:
            self.stacks[self.stacks.index(stack)] = stack.take([other for other in stack.keys if other != key])
        frame, counts = self._frame.samples.copy(), (self._filled, self._n_frames, self._n_in)
        samples: NDArray[np.complex64] = self._end([alone])[0][0]
        self._frame.samples[:] = frame
        self._filled, self._n_frames, self._n_in = counts
        return samples

    def push(self, iq: NDArray[np.complex64]) -> list[tuple[list[int], NDArray[np.complex64]]]:
        """Filter the next part of the stream, shape (n,).

        Returns
        -------
        stacks
            The keys of each stack's channels, and their outputs, shape (n_channels, n_out).
        """
        return self._with_keys(self._run(self.stacks, iq))

    def flush(self) -> list[tuple[list[int], NDArray[np.complex64]]]:
        """End the stream: outputs that stand before its end; zeros are taken for what would follow. Then reset."""
        last = self._with_keys(self._end(self.stacks))
        self.reset()
        return last

    def _with_keys(self, outputs: list[NDArray[np.complex64]]) -> list[tuple[list[int], NDArray[np.complex64]]]:
        return list(zip([stack.keys for stack in self.stacks], outputs, strict=True))

    def _run(self, stacks: Sequence[Stack], iq: NDArray[np.complex64]) -> list[NDArray[np.complex64]]:
        """Fill frames, and have each that is full filtered by `stacks`."""
        size, hop = self.plan.size, self.plan.hop
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

    def _end(self, stacks: Sequence[Stack]) -> list[NDArray[np.complex64]]:
        """Outputs of `stacks` up to the end of the input, with zeros behind it."""
        due = [stack.n_due(self._n_in) for stack in stacks]
        zeros = np.zeros(self.latency + self.plan.size, dtype=np.complex64)
        # As samples from a message are: a kernel is compiled for the one kind or for the other.
        zeros.flags.writeable = False
        return [samples[:, :n] for samples, n in zip(self._run(stacks, zeros), due, strict=True)]
