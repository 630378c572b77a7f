"""Squelch: whether a channel holds a signal, as a gain for its audio.

Convention: the stream is judged in windows on a fixed grid of samples, each time over the last two; the gain changes
from the sample behind a window on, by a straight ramp of `RAMP_S`. So the gain is a function of the stream, whatever
pieces it comes in. Ratios are of powers, in dB.

- ``snr``: the largest of three estimates of signal over noise. A carrier that keeps its envelope shows in the moments
  of the magnitude, and one of any modulation in the spectrum, as long as that leaves half of the channel to the noise;
  neither needs anything known before. Any other signal shows in its level over the noise floor, which is learned from
  the beginning of the stream, from steady noise with a flat spectrum, and from whatever is below it, and is never more
  than the noise that the moments of a carrier show.
- ``noise``: how far the noise of an FM discriminator above the audio falls below its level without a carrier, which is
  known from the channel's width. Modulation does not change it: a weather radio's carrier keeps the squelch open for
  ever, be it silent or at full deviation. 8 dB of quieting is a carrier 6 dB above the noise, 5 dB one 3 dB above it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app_core.demod.noise_floor import LOW_DB, BandSpectrum, NoiseFloor
from app_core.dsp._kernels import discriminate
from app_core.dsp._polyphase_kernels import polyphase
from app_core.dsp.fir import LowPass
from app_core.dsp.measure import power_dbfs

__all__ = ["LOW_DB", "GainRamp", "Squelch", "SquelchMode"]

OPEN_DB = 8.0
CLOSE_DB = 5.0
TAIL_S = 0.2
ATTACK_S = 0.04
"""Time over which a signal is judged; longer in a narrow channel, see `_MIN_CELLS`."""

RAMP_S = 0.005

_MIN_CELLS = 400.0
"""Least product of the channel's width and the time that is judged: the moments of so many independent samples of
noise do not reach a ratio of 5 dB once in a year."""

_N_HELD = 2
"""Windows that are not judged after a change: the first may hold less than itself, and the second is judged with it."""

_NARROW_HZ = 50_000.0
_VOICE_HZ = 3400.0
_NOISE_HZ = 4600.0
_WIDE_SHARES = (0.3, 0.4)
"""Edges of the high-pass behind the discriminator: above the voice in a channel up to `_NARROW_HZ`, above the multiplex
of broadcast FM in a wider one. [Hz, and shares of the bandwidth]"""

_HIGH_PASS_DB = 45.0
_REFERENCE_SAMPLES = 1 << 15


SquelchMode = Literal["off", "snr", "noise"]
"""Ways to tell a signal; the values are those of the settings."""


class GainRamp:
    """A gain that goes between 0 and 1 by straight ramps, counted in whole steps so that it never drifts.

    Parameters
    ----------
    n_steps
        Samples from 0 to 1, at least 1.
    """

    def __init__(self, n_steps: int) -> None:
        self._n_steps = max(n_steps, 1)
        self.reset(is_open=False)

    def reset(self, is_open: bool) -> None:
        """Set the gain to 1 or 0 at once."""
        self._step = self._n_steps if is_open else 0

    def fill(self, gain: NDArray[np.float32], is_open: bool) -> None:
        """Write the gain of the next samples, on its way to 1 if `is_open`, else to 0.

        Parameters
        ----------
        gain
            Shape (n,); written.
        is_open
            Where it goes.
        """
        goal = self._n_steps if is_open else 0
        n_ramp = min(abs(goal - self._step), gain.shape[0])
        if n_ramp:
            sign = 1 if is_open else -1
            gain[:n_ramp] = (self._step + sign * np.arange(1, n_ramp + 1)) / self._n_steps
            self._step += sign * n_ramp
        gain[n_ramp:] = float(is_open)


class Squelch:
    """Judge a channel, as a stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of the channel's IQ.
    bandwidth_hz
        Width of the channel's filter.
    mode
        Way to tell a signal; ``off`` is always open, and measures as ``snr`` does.
    open_db
        Ratio from which the squelch opens.
    close_db
        Ratio below which it closes, not above `open_db`.
    tail_s
        How long the ratio must have been below before it closes.
    decimation
        IQ samples for each sample of the gain, whose first is that of the first IQ sample.
    discriminator_scale
        Units of the discriminator's output per radian of advance.
    center_hz
        Centre of the channel's filter.
    is_open
        Whether it begins open, where a stream goes on that was heard so far; then the first windows only count.

    Attributes
    ----------
    is_open
        At the end of the last `push`.
    n_opened
        How often it has opened.
    window_s
        Length of a window. [seconds]
    snr_db
        Signal over noise in the last two windows, of the mode ``snr`` whatever the mode.
    quieting_db
        Fall of the discriminator's noise in the last two windows; `LOW_DB` in other modes than ``noise``.

    Raises
    ------
    ValueError
        If the rate, the bandwidth or `decimation` is not positive, `mode` is none of these, `close_db` is above
        `open_db`, `tail_s` is negative, or the mode ``noise`` has no room above the voice: the bandwidth is below
        9.2 kHz.
    """

    def __init__(
        self,
        sample_rate_hz: float,
        bandwidth_hz: float,
        mode: SquelchMode = "snr",
        open_db: float = OPEN_DB,
        close_db: float = CLOSE_DB,
        tail_s: float = TAIL_S,
        decimation: int = 1,
        discriminator_scale: float = 1.0,
        center_hz: float = 0.0,
        is_open: bool = False,
    ) -> None:
        if not (sample_rate_hz > 0.0 and bandwidth_hz > 0.0 and decimation > 0):
            raise ValueError(f"a squelch needs a channel, not {bandwidth_hz} Hz at {sample_rate_hz} samples a second")
        self._rate_hz, self._bandwidth_hz = sample_rate_hz, bandwidth_hz
        self._decimation = decimation
        self._scale = discriminator_scale
        judged_s = max(ATTACK_S, _MIN_CELLS / bandwidth_hz)
        self._stride = max(int(sample_rate_hz / _NARROW_HZ), 1)
        self._window = max(round(judged_s / 2.0 * sample_rate_hz / self._stride), 1) * self._stride
        self.window_s = self._window / sample_rate_hz
        self._floor = NoiseFloor(self.window_s)
        self._band = BandSpectrum(sample_rate_hz, bandwidth_hz, center_hz, self._window)
        self._ramp = GainRamp(round(RAMP_S * sample_rate_hz / decimation))
        self._high_pass = np.zeros((1, 1), dtype=np.float32)
        self._reference = 1.0
        self._adopt(mode, open_db, close_db, tail_s)
        self.n_opened = 0
        self.reset()
        if is_open:
            self.is_open = True
            self._ramp.reset(is_open=True)
            # It has no tail to give to what was never a signal.
            self._n_held, self._n_below = _N_HELD, self._n_tail

    def change(self, mode: SquelchMode, open_db: float, close_db: float, tail_s: float) -> None:
        """Go on under other settings; the floor and what is heard stay as they are until they are judged anew.

        Parameters
        ----------
        mode, open_db, close_db, tail_s
            As for the class.

        Raises
        ------
        ValueError
            As for the class; then nothing has changed.
        """
        before = self._mode
        self._adopt(mode, open_db, close_db, tail_s)
        if mode != before:
            self._n_held = _N_HELD
            self._previous = 0j
            # The window that has begun has no noise of its own; it is not judged.
            self._frequency = np.zeros(self._high_pass.shape[1] - 1 + self._power.shape[0], dtype=np.float32)
        self.is_open = self.is_open or mode == "off"

    def _adopt(self, mode: SquelchMode, open_db: float, close_db: float, tail_s: float) -> None:
        if mode not in ("off", "snr", "noise"):
            raise ValueError(f"a squelch is off, snr or noise, not {mode}")
        if not (close_db <= open_db and tail_s >= 0.0):
            raise ValueError(f"a squelch closes at {close_db} dB, not above {open_db} dB, and after {tail_s} s")
        if mode == "noise" and self._high_pass.shape[1] == 1:
            self._high_pass = _high_pass(self._rate_hz, self._bandwidth_hz)
            self._reference = self._noise_reference(self._rate_hz, self._bandwidth_hz)
        self._mode: SquelchMode = mode
        self._open_db, self._close_db = open_db, close_db
        self._n_tail = round(tail_s / self.window_s)

    def reset(self) -> None:
        """Forget the past, for a gap in the stream: closed, unless the mode is ``off``; floor and count stay."""
        self.is_open = self._mode == "off"
        self.snr_db = LOW_DB
        self.quieting_db = LOW_DB
        self._ramp.reset(self.is_open)
        self._skip = 0
        self._n_below = 0
        self._n_held = 0
        self._sums = [0.0] * 4
        self._previous = 0j
        self._band.reset()
        self._iq = np.zeros(0, dtype=np.complex64)
        self._power = np.zeros(0, dtype=np.float32)
        self._frequency = np.zeros(self._high_pass.shape[1] - 1, dtype=np.float32)

    def push(self, iq: NDArray[np.complex64], discriminator: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Judge the next part of the stream.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0, any level; samples that are not finite count as 0. [full scale = 1]
        discriminator
            Frequency of the same samples before any filter, shape (n,), finite, where a demodulator has it already;
            without, the mode ``noise`` makes its own.

        Returns
        -------
        gain
            One for every IQ sample of the stream whose index is a multiple of `decimation`, 0 to 1.
        """
        n = iq.shape[0]
        first_end = self._window - self._power.shape[0]
        sums = self._finish_windows(iq, discriminator)
        gain = np.empty(max(-(-(n - self._skip) // self._decimation), 0), dtype=np.float32)
        done = 0
        for i, window in enumerate(sums.tolist()):
            was_open = self.is_open
            self._judge(window)
            if self.is_open != was_open:
                end = max(-(-(first_end + i * self._window - self._skip) // self._decimation), 0)
                self._ramp.fill(gain[done:end], was_open)
                done = end
        self._ramp.fill(gain[done:], self.is_open)
        self._skip = (self._skip - n) % self._decimation
        return gain

    def _finish_windows(
        self, iq: NDArray[np.complex64], discriminator: NDArray[np.float32] | None
    ) -> NDArray[np.float64]:
        """Of the windows that end here, shape (n, 5).

        These are sums of ``|z|²``, ``|z|⁴``, samples not 0 and noise of the FM, and then the ratio of `BandSpectrum`.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.square(iq.real) + np.square(iq.imag)
        sane = iq
        if not np.isfinite(power.sum(dtype=np.float64)):
            sane = np.where(np.isfinite(power), iq, np.complex64(0))
            np.nan_to_num(power, copy=False, posinf=0.0)
        power = np.concatenate((self._power, power))
        samples = np.concatenate((self._iq, sane))
        n_windows = power.shape[0] // self._window
        n_done = n_windows * self._window
        self._power = power[n_done:].copy()
        self._iq = samples[n_done:].copy()
        sums = np.zeros((n_windows, 5))
        # One by one: the result must not depend on how many windows come at once.
        sums[:, 4] = [self._band.push(window) for window in samples[:n_done].reshape(n_windows, self._window)]
        whole = power[:n_done].reshape(n_windows, self._window)
        sums[:, 0] = whole.sum(axis=1, dtype=np.float64)
        sums[:, 1] = np.square(whole, dtype=np.float64).sum(axis=1)
        sums[:, 2] = np.count_nonzero(whole, axis=1)
        if self._mode == "noise" and iq.shape[0]:
            if discriminator is None:
                discriminator = np.empty(iq.shape[0], dtype=np.float32)
                discriminate(iq, self._previous, self._scale, discriminator)
                self._previous = complex(iq[-1])
            frequency = np.concatenate((self._frequency, discriminator))
            self._frequency = frequency[n_done:].copy()
            noise = self._noise(frequency, n_done // self._stride)
            sums[:, 3] = noise.reshape(n_windows, self._window // self._stride).sum(axis=1) * self._stride
        return sums

    def _noise(self, frequency: NDArray[np.float32], n_out: int) -> NDArray[np.float64]:
        """Power above the audio, of every sample that the stride leaves, shape (n_out,)."""
        noise = np.zeros(n_out, dtype=np.float32)
        polyphase(frequency, self._high_pass, 1, self._stride, 0, noise)
        return np.square(noise, dtype=np.float64)

    def _noise_reference(self, sample_rate_hz: float, bandwidth_hz: float) -> float:
        """Mean noise without a carrier: of noise through a filter like the channel's, always the same."""
        parts = np.random.default_rng(0).standard_normal((2, _REFERENCE_SAMPLES))
        iq = parts[0] + 1j * parts[1]
        if bandwidth_hz < 0.95 * sample_rate_hz:
            iq = np.convolve(iq, LowPass.design(bandwidth_hz / 2.0 / sample_rate_hz, 0.5, 60.0).taps(), "valid")
        frequency = np.empty(iq.shape[0], dtype=np.float32)
        discriminate(iq.astype(np.complex64), 0j, self._scale, frequency)
        n_out = (iq.shape[0] - self._high_pass.shape[1]) // self._stride
        return float(self._noise(frequency, n_out).mean())

    def _judge(self, sums: list[float]) -> None:
        """Take a window's sums and decide."""
        share = 0.5 / self._window
        second, fourth, active, noise = ((a + b) * share for a, b in zip(sums[:4], self._sums, strict=True))
        self._sums = sums[:4]
        if self._mode == "noise":
            # Where there are no samples there is no noise either: a receiver that is dead, or the stream's beginning.
            quieting_db = power_dbfs(self._reference * active) - power_dbfs(noise)
            self.quieting_db = max(quieting_db, LOW_DB) if active > 0.5 else LOW_DB
        self.snr_db = self._floor.measure(second, fourth, sums[4], self._open_db)
        if self._n_held or self._mode == "off":
            self._n_held = max(self._n_held - 1, 0)
            return
        ratio_db = self.quieting_db if self._mode == "noise" else self.snr_db
        self._n_below = 0 if ratio_db >= self._close_db else self._n_below + 1
        if not self.is_open and ratio_db >= self._open_db:
            self.is_open = True
            self.n_opened += 1
        elif self.is_open and self._n_below > self._n_tail:
            self.is_open = False


def _high_pass(sample_rate_hz: float, bandwidth_hz: float) -> NDArray[np.float32]:
    """Taps that keep what lies above the audio, shape (1, n_taps)."""
    edges_hz = (_VOICE_HZ, _NOISE_HZ)
    if bandwidth_hz > _NARROW_HZ:
        edges_hz = (_WIDE_SHARES[0] * bandwidth_hz, _WIDE_SHARES[1] * bandwidth_hz)
    if edges_hz[1] > bandwidth_hz / 2.0:
        raise ValueError(f"a channel of {bandwidth_hz} Hz has no noise above the voice: use the squelch mode snr")
    low_pass = LowPass.design(edges_hz[0] / sample_rate_hz, edges_hz[1] / sample_rate_hz, _HIGH_PASS_DB).taps()
    taps = -low_pass
    taps[taps.shape[0] // 2] += 1.0
    return taps.astype(np.float32)[None, :]
