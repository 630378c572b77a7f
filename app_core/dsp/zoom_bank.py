"""Channels that are zoomed into one by one: the faster way where there are few, each narrow against the capture.

Each channel has a `Zoom` of its own, and behind it frames of its own at the zoomed rate; one that is too wide for that
has frames at the capture's rate. Nothing is shared, so the cost grows with the number of channels from the first one
on; but the first is far cheaper than a transform of all.

Convention: as of `app_core.dsp.channelizer`.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.capture_frame import Loops
from app_core.dsp.channel_stack import Correction, Shape
from app_core.dsp.fft import largest_prime_factor
from app_core.dsp.frame_bank import FrameBank
from app_core.dsp.frame_plan import FramePlan
from app_core.dsp.zoom import Zoom, ZoomFilter, zoom_cost_ns

_LEAST_DECIMATION, _MOST_DECIMATION = 8, 64
"""With less, too much is left to do at the zoomed rate; with more, its frames are all that costs."""

_MOST_PARTS = 400
_LARGEST_PRIME = 7
"""The denominator of output rate over zoomed rate is this at the most, with no larger prime factor: frames then fit."""

_ZOOMED_NS = 2.0
"""Time that a zoomed sample takes besides its transform. [ns]"""

_CALLS_NS = 0.35
"""Time of the calls that each channel takes, in blocks of a tenth of a second. [ns per sample]"""

_CORE_SHARE = 0.4
"""Half the width of what is kept free of images, over the output rate; beyond, the channel's own filter attenuates."""

_SPARE = 8
"""Zoomed samples by which a channel's filter with its correction is longer on each side than without."""


class ZoomPlan(NamedTuple):
    """How a channel is zoomed into.

    Attributes
    ----------
    zoom_filter
        The filter in front; None where the channel is too wide for one.
    frames
        Frames at the zoomed rate.
    shape
        The channel's shape against that rate.
    cost_ns
        Estimated time for each sample of the capture, without what every way has in common.
    """

    zoom_filter: ZoomFilter | None
    frames: FramePlan
    shape: Shape
    cost_ns: float


@functools.lru_cache(maxsize=64)
def plan_zoom(sample_rate_hz: Fraction, shape: Shape) -> ZoomPlan:
    """Find the cheapest way to zoom into a channel."""
    filters = []
    for decimation in range(_LEAST_DECIMATION, _MOST_DECIMATION + 1):
        ratio = shape.ratio * decimation
        if (sample_rate_hz / decimation).denominator != 1 or ratio >= 1 or not _fits_short_frames(ratio):
            continue
        core = max(_CORE_SHARE * float(shape.ratio), shape.passband)
        zoom_filter = ZoomFilter.design(decimation, core)
        if zoom_filter is not None:
            filters.append(zoom_filter)
    whole = FramePlan.find(float(sample_rate_hz), [shape.ratio], shape.reach)
    plans = [ZoomPlan(None, whole, shape, whole.cost_ns((), 0.0))]
    if filters:
        best = min(filters, key=lambda each: zoom_cost_ns(each) + 4.0 * _ZOOMED_NS / each.decimation)
        zoomed = Shape(shape.ratio * best.decimation, shape.passband * best.decimation)
        zoomed_rate_hz = float(sample_rate_hz / best.decimation)
        # No longer frames than at the capture's rate, for the sake of the delay.
        frames = FramePlan.find(zoomed_rate_hz, [zoomed.ratio], zoomed.reach + _SPARE, small_frame=0)
        cost_ns = _CALLS_NS + zoom_cost_ns(best) + (frames.cost_ns((), 0.0) + _ZOOMED_NS) / best.decimation
        if frames.fits(zoomed.ratio):
            plans.append(ZoomPlan(best, frames, zoomed, cost_ns))
    return min(plans, key=lambda plan: plan.cost_ns)


def _fits_short_frames(ratio: Fraction) -> bool:
    return ratio.denominator <= _MOST_PARTS and largest_prime_factor(ratio.denominator) <= _LARGEST_PRIME


class _ZoomedChannel:
    """One channel, whose outputs are counted from the beginning of the capture."""

    def __init__(self, plan: ZoomPlan, ratio: Fraction, offset: Fraction, loops: Loops) -> None:
        self._ratio = ratio
        self._decimation, self._zoom, correction, before = 1, None, None, 0
        if plan.zoom_filter is not None:
            self._decimation = plan.zoom_filter.decimation
            self._zoom = Zoom(plan.zoom_filter, offset, loops)
            correction = _correction(plan.zoom_filter, float(ratio) / 2.0)
            # The filter smears the first sample over so many zoomed ones before it.
            before = math.ceil(self._zoom.latency / self._decimation)
        self._reach, self._before = plan.shape.reach + _SPARE, min(before, plan.frames.guard)
        self._bank = FrameBank(plan.frames, loops, correction)
        self._bank.add(plan.shape, [0], [offset * self._decimation % 1])
        self.begin(0, np.zeros(0, dtype=np.complex64))

    @property
    def latency(self) -> int:
        """As of `FrameBank`. [input samples]"""
        return self._bank.latency * self._decimation + (0 if self._zoom is None else self._zoom.latency)

    def begin(self, n_in: int, past: NDArray[np.complex64]) -> None:
        """Begin with the first output that does not stand before input `n_in`, which `past` came before."""
        first = max(n_in // self._decimation - self._reach, -self._before)
        self._bank.reset(first)
        self._next = self._until(n_in)
        self._n_lead = self._next - self._until(max(first, 0) * self._decimation)
        first_in = first
        if self._zoom is not None:
            self._zoom.begin(first)
            first_in = max(self._zoom.first_needed(first), 0)
        n_needed = max(n_in - first_in, 0)
        zeros = np.zeros(max(n_needed - past.shape[0], 0), dtype=np.complex64)
        self.push(np.concatenate((zeros, past[past.shape[0] - min(n_needed, past.shape[0]) :])))

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Filter the next samples, shape (n,) to (1, n_out)."""
        ((_, samples),) = self._bank.push(iq if self._zoom is None else self._zoom.push(iq))
        n_dropped = min(self._n_lead, samples.shape[1])
        self._n_lead -= n_dropped
        self._next += samples.shape[1] - n_dropped
        return samples[:, n_dropped:]

    def end(self, n_in: int) -> NDArray[np.complex64]:
        """Outputs that stand before input `n_in`, with zeros from there on; then `begin` is due."""
        n_due = self._until(n_in) - self._next
        return self.push(np.zeros(self.latency + self._decimation * self._bank.plan.size, np.complex64))[:, :n_due]

    def _until(self, n_in: int) -> int:
        return math.ceil(n_in * self._ratio)


def _correction(zoom_filter: ZoomFilter, edge: float) -> Correction:
    """What takes back the droop of a zoom's filter, up to `edge`: beyond it the channel's own filter is closed."""

    def correction(distance: NDArray[np.float64]) -> NDArray[np.complex128]:
        return np.reciprocal(zoom_filter.response(np.clip(distance / zoom_filter.decimation, -edge, edge)))

    return correction


class ZoomBank:
    """Channels that are zoomed into, as a stream; its methods are those of `FrameBank`.

    Parameters
    ----------
    sample_rate_hz
        Rate of the capture.
    loops
        What is done to every sample.
    reach
        How far a channel that is added later looks back. [samples]
    """

    def __init__(self, sample_rate_hz: Fraction, loops: Loops, reach: int) -> None:
        self._rate_hz = sample_rate_hz
        self._loops = loops
        self._past: NDArray[np.complex64] = np.zeros(reach, dtype=np.complex64)
        self._n_in = 0
        self._stacks: list[tuple[list[int], list[_ZoomedChannel]]] = []

    @property
    def latency(self) -> int:
        """As of `FrameBank`."""
        return max((channel.latency for _, channels in self._stacks for channel in channels), default=0)

    def reset(self) -> None:
        """As of `FrameBank`."""
        self._past[:] = 0
        self._n_in = 0
        for _, channels in self._stacks:
            for channel in channels:
                channel.begin(0, self._past)

    def add(self, shape: Shape, keys: list[int], offsets: list[Fraction]) -> None:
        """As of `FrameBank`."""
        plan = plan_zoom(self._rate_hz, shape)
        channels = [_ZoomedChannel(plan, shape.ratio, offset, self._loops) for offset in offsets]
        for channel in channels:
            channel.begin(self._n_in, self._past)
        self._stacks.append((keys, channels))

    def remove(self, key: int) -> NDArray[np.complex64]:
        """As of `FrameBank`."""
        for place, (keys, channels) in enumerate(self._stacks):
            if key in keys:
                row = keys.index(key)
                samples: NDArray[np.complex64] = channels[row].end(self._n_in)[0]
                if len(keys) == 1:
                    del self._stacks[place]
                else:
                    others = [other for other in range(len(keys)) if other != row]
                    self._stacks[place] = [keys[other] for other in others], [channels[other] for other in others]
                return samples
        raise KeyError(key)

    def push(self, iq: NDArray[np.complex64]) -> list[tuple[list[int], NDArray[np.complex64]]]:
        """As of `FrameBank`."""
        outputs = [(keys, _joined([channel.push(iq) for channel in channels])) for keys, channels in self._stacks]
        self._n_in += iq.shape[0]
        n_kept = max(self._past.shape[0] - iq.shape[0], 0)
        self._past[:n_kept] = self._past[self._past.shape[0] - n_kept :]
        self._past[n_kept:] = iq[max(iq.shape[0] - self._past.shape[0], 0) :]
        return outputs

    def flush(self) -> list[tuple[list[int], NDArray[np.complex64]]]:
        """As of `FrameBank`."""
        last = [(keys, _joined([channel.end(self._n_in) for channel in channels])) for keys, channels in self._stacks]
        self.reset()
        return last


def _joined(rows: list[NDArray[np.complex64]]) -> NDArray[np.complex64]:
    return rows[0] if len(rows) == 1 else np.concatenate(rows)
