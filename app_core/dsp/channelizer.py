"""Many channels from one capture: overlap-save convolution with one forward FFT that all channels share.

Each channel takes the bins around it, multiplies them by its filter's response, and transforms them back with a
smaller inverse FFT, which decimates at the same time. The filter is centred on the channel's exact frequency, between
bins where need be; the rotation that is left after the shift by whole bins is taken out behind the inverse FFT.

Convention: output ``j`` of a channel stands at the time of input ``j * sample_rate / output_rate``, exactly and for
ever: the filter is symmetric about its centre tap, so the group delay is zero, as if zeros had come before the first
sample. Frames lie on a fixed grid of input samples, so that cutting the input at other places gives the same output.

scipy.fft and not numpy's: five times faster on batches of frames, for 12 MB beside numba. scipy.signal is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from app_core.dsp.fir import LowPass
from app_core.dsp.frame_plan import FramePlan, exact_rate, power_of_two_decimation

if TYPE_CHECKING:
    from app_core.dsp.resampler import Resampler

ATTENUATION_DB = 85.0
"""Stop band of the channel filters, from half the output rate up."""

MAX_BANDWIDTH_SHARE = 0.8
"""Most of the output rate that a channel's bandwidth may fill: the filter needs the rest to fall."""

_BATCH_SAMPLES = 1 << 18
"""Samples of frames that are transformed at once: bounds the memory that a large block takes."""


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
        The channels, any number, in any order; they may overlap.

    Attributes
    ----------
    latency
        Input samples that must follow a sample, at the most, before the output at its time comes out.

    Raises
    ------
    ValueError
        If a channel's output rate is above the sample rate, its bandwidth is not positive or more than
        `MAX_BANDWIDTH_SHARE` of its output rate, or its pass band reaches beyond the capture.
    """

    def __init__(self, sample_rate_hz: float, specs: Sequence[ChannelSpec]) -> None:
        self._rate = exact_rate(sample_rate_hz)
        for spec in specs:
            _check(spec, sample_rate_hz)
        ratios = [exact_rate(spec.output_rate_hz) / self._rate for spec in specs]
        designs = [
            LowPass.design(
                spec.bandwidth_hz / 2.0 / sample_rate_hz, spec.output_rate_hz / 2.0 / sample_rate_hz, ATTENUATION_DB
            )
            for spec in specs
        ]
        reach = max((design.taps().shape[0] // 2 for design in designs), default=0)
        plan = FramePlan.find(ratios, reach, sample_rate_hz)
        frame_ratios = ratios
        if plan is None:
            frame_ratios = [power_of_two_decimation(ratio) for ratio in ratios]
            plan = FramePlan.find(frame_ratios, reach, None)
        assert plan is not None  # noqa: S101  (powers of two always fit)
        self._plan = plan
        self._channels = [
            _Channel(plan, ratio, exact_rate(spec.offset_hz) / self._rate, design)
            for spec, design, ratio in zip(specs, designs, frame_ratios, strict=True)
        ]
        self._resamplers = [
            _resampler(spec, float(self._rate * done), ratio / done)
            for spec, ratio, done in zip(specs, ratios, frame_ratios, strict=True)
        ]
        self._ratios = ratios
        rest = [r.latency / float(d) for r, d in zip(self._resamplers, frame_ratios, strict=True) if r is not None]
        self.latency = plan.size - plan.guard + int(max(rest, default=0.0) + 1.0)
        self.reset()

    def reset(self) -> None:
        """Forget all input, for a gap in the stream: the next sample is input 0."""
        self._pending: NDArray[np.complex64] = np.zeros(self._plan.guard, dtype=np.complex64)
        self._frame = 0
        self._n_in = 0
        self._n_out = [0] * len(self._channels)
        for resampler in self._resamplers:
            if resampler is not None:
                resampler.reset()

    def push(self, iq: NDArray[np.complex64]) -> list[NDArray[np.complex64]]:
        """Filter the next part of the capture.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0; finite, since one sample that is not spoils a frame of every channel. [full scale = 1]

        Returns
        -------
        channels
            One array for each of the specs, in their order, shape (n_out,); what does not fill a frame waits for the
            next call, so `n_out` may be 0. A tone in the pass band keeps its amplitude. [full scale = 1]
        """
        self._n_in += iq.shape[0]
        plan = self._plan
        pending = np.concatenate((self._pending, iq), dtype=np.complex64)
        n_frames = max((pending.shape[0] - plan.size) // plan.hop + 1, 0)
        outputs = [
            np.empty((n_frames, channel.kept.stop - channel.kept.start), dtype=np.complex64)
            for channel in self._channels
        ]
        batch = max(_BATCH_SAMPLES // plan.size, 1)
        for start in range(0, n_frames if self._channels else 0, batch):
            stop = min(start + batch, n_frames)
            self._transform(pending[start * plan.hop :], self._frame + start, [o[start:stop] for o in outputs])
        self._frame += n_frames
        self._pending = pending[n_frames * plan.hop :].copy()
        channels = []
        for i, resampler in enumerate(self._resamplers):
            samples = outputs[i].reshape(-1)
            if resampler is not None:
                samples = resampler.push(samples)
            self._n_out[i] += samples.shape[0]
            channels.append(samples)
        return channels

    def flush(self) -> list[NDArray[np.complex64]]:
        """End the stream: return the outputs that stand before the end of the input, and reset.

        Returns
        -------
        channels
            As from `push`; with them, ``ceil(n_in * output_rate / sample_rate)`` samples have come out in all.
        """
        due = [-(-self._n_in * ratio.numerator // ratio.denominator) for ratio in self._ratios]
        due = [total - done for total, done in zip(due, self._n_out, strict=True)]
        rest = self.push(np.zeros(self.latency + self._plan.size, dtype=np.complex64))
        self.reset()
        return [samples[:n] for samples, n in zip(rest, due, strict=True)]

    def _transform(
        self, samples: NDArray[np.complex64], first_frame: int, outputs: list[NDArray[np.complex64]]
    ) -> None:
        """Filter the frames that begin at ``samples[0]`` into `outputs`, each of shape (n_frames, kept)."""
        plan = self._plan
        n_frames = outputs[0].shape[0]
        windows = np.lib.stride_tricks.sliding_window_view(samples, plan.size)
        frames = windows[: (n_frames - 1) * plan.hop + 1 : plan.hop]
        spectra = scipy.fft.fft(frames, axis=1)
        for channel, output in zip(self._channels, outputs, strict=True):
            channel.extract(spectra, first_frame, output)


class _Channel:
    """One channel's bins, response and rotation.

    Parameters
    ----------
    plan
        The frames.
    ratio
        Rate behind the inverse FFT over the sample rate.
    offset
        Centre of the channel. [cycles per input sample]
    design
        The channel's filter, in input samples.
    """

    def __init__(self, plan: FramePlan, ratio: Fraction, offset: Fraction, design: LowPass) -> None:
        size = int(plan.size * ratio)
        center = round(plan.size * offset)
        self.kept = slice(int(plan.guard * ratio), int((plan.size - plan.guard) * ratio))
        shifts = np.arange(size) - size // 2
        # In the order of the inverse FFT: 0 Hz, the positive half, the negative half.
        self._bins = np.roll(center + shifts, -(size // 2)) % plan.size
        self._response = self._make_response(plan, float(offset), design)[self._bins] * np.float32(ratio)
        self._offset = offset
        self._guard, self._hop = plan.guard, plan.hop
        rest = offset - Fraction(center, plan.size)
        places = np.arange(self.kept.start, self.kept.stop)
        ramp = np.exp(-2j * np.pi * (places * float(rest / ratio)))
        self._ramp: NDArray[np.complex64] = ramp.astype(np.complex64)

    @staticmethod
    def _make_response(plan: FramePlan, offset: float, design: LowPass) -> NDArray[np.complex64]:
        """Frequency response in all bins, shape (plan.size,): real taps centred on sample 0, moved to `offset`."""
        taps = design.taps()
        reach = taps.shape[0] // 2
        places = np.arange(-reach, reach + 1)
        impulse = np.zeros(plan.size, dtype=np.complex128)
        impulse[places] = taps * np.exp(2j * np.pi * offset * places)
        return np.fft.fft(impulse).astype(np.complex64)

    def extract(self, spectra: NDArray[np.complex64], first_frame: int, output: NDArray[np.complex64]) -> None:
        """Filter frames: `spectra` of shape (n_frames, plan.size) into `output` of shape (n_frames, kept)."""
        narrow = spectra[:, self._bins]
        narrow *= self._response
        samples = scipy.fft.ifft(narrow, axis=1, overwrite_x=True)[:, self.kept]
        # Whole numbers of cycles are dropped before the division, so the phase is as good after a year as at once.
        starts = (frame * self._hop - self._guard for frame in range(first_frame, first_frame + output.shape[0]))
        cycles = [(self._offset.numerator * s) % self._offset.denominator / self._offset.denominator for s in starts]
        turns = np.exp(-2j * np.pi * np.array(cycles)).astype(np.complex64)
        np.multiply(samples, turns[:, None] * self._ramp, out=output)


def _check(spec: ChannelSpec, sample_rate_hz: float) -> None:
    """Raise `ValueError` if `spec` cannot be cut out of a capture of `sample_rate_hz`."""
    if spec.output_rate_hz > sample_rate_hz:
        raise ValueError(f"output rate {spec.output_rate_hz} Hz is above the sample rate {sample_rate_hz} Hz")
    if not 0.0 < spec.bandwidth_hz <= MAX_BANDWIDTH_SHARE * spec.output_rate_hz:
        raise ValueError(f"bandwidth {spec.bandwidth_hz} Hz does not fit an output rate of {spec.output_rate_hz} Hz")
    if abs(spec.offset_hz) + spec.bandwidth_hz / 2.0 > sample_rate_hz / 2.0:
        raise ValueError(f"a channel at {spec.offset_hz} Hz reaches beyond a capture of {sample_rate_hz} Hz")


def _resampler(spec: ChannelSpec, input_rate_hz: float, ratio: Fraction) -> Resampler[np.complex64] | None:
    """Resampler from the inverse FFT's rate to the channel's; None where they are the same."""
    if ratio == 1:
        return None
    # Not at the head of the file: it brings numba and 65 MB, which the SDR program does not carry unless it must.
    from app_core.dsp.resampler import Resampler

    passband = spec.bandwidth_hz / 2.0 / input_rate_hz
    return Resampler(ratio, passband, float(ratio) - passband, np.complex64)
