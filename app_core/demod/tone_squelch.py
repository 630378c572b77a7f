"""CTCSS: which subaudible tone is sent (TIA-603), a gate that waits for one, and a filter that takes tones out.

Convention: the audio is that of a narrow FM demodulator, before any filter that cuts below 300 Hz. The detector looks
at the band of the tones at 1 kS/s or a little more, in windows of `WINDOW_S` that overlap, and finds a tone where one
line holds most of the band and keeps a standard frequency: noise spreads over the band, and the pitch of a voice glides
and has harmonics. Windows lie on a fixed grid of samples, so cutting the input elsewhere changes nothing.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.demod.squelch import RAMP_S, GainRamp
from app_core.dsp._audio_kernels import filter_sections
from app_core.dsp.resampler import Resampler

# fmt: off
CTCSS_HZ = (
    67.0, 69.3, 71.9, 74.4, 77.0, 79.7, 82.5, 85.4, 88.5, 91.5, 94.8, 97.4, 100.0, 103.5, 107.2, 110.9, 114.8, 118.8,
    123.0, 127.3, 131.8, 136.5, 141.3, 146.2, 151.4, 156.7, 159.8, 162.2, 165.5, 167.9, 171.3, 173.8, 177.3, 179.9,
    183.5, 186.2, 189.9, 192.8, 196.6, 199.5, 203.5, 206.5, 210.7, 218.1, 225.7, 229.1, 233.6, 241.8, 250.3, 254.1,
)
# fmt: on
"""The standard tones."""

_STANDARDS = np.array(CTCSS_HZ)

WINDOW_S = 0.36
"""Length of a window. A tone alone is told to a tenth of a hertz by its phase, far finer than the 2.3 Hz between tones;
the length is for telling it from what is no tone."""

HOP_S = 0.05

MIN_RATE_HZ = 4000.0

_BAND_RATE_HZ = 1000.0
_BAND_HZ = (60.0, 262.0)
_PASSBAND_HZ = 270.0

_OPEN_SHARE = 0.6
_HOLD_SHARE = 0.15
"""Share of the band's power in the line, for a tone to be found, and to be held beside a voice that reaches so low."""

_N_FOUND = 3
_N_LOST = 4
"""Windows in a row that find a tone, and that end it."""

_TOLERANCE = 0.006
_LEAST_TOLERANCE_HZ = 0.6
"""Error of a transmitter's tone: 0.5 % is allowed."""

_LEAST_AMPLITUDE = 0.002
"""Weaker lines are none: tones are sent with a tenth of the deviation. [full scale = ±1]"""

_STEADINESS = 0.8
"""Least ratio of the line's amplitudes in the halves of a window."""

HIGH_PASS_HZ = 300.0
_RIPPLE_GAIN = 10.0 ** (-0.5 / 20.0)
_PROTOTYPE = (
    (1.1763025362, -0.0360880756 + 1.0068740681j),
    (1.4177641287, -0.1600588272 + 0.8666561487j),
    (3.3447674321, -0.3750265904 + 0.3940805619j),
)
"""Zeros on the imaginary axis, and poles, of the elliptic low-pass of order 6 with 0.5 dB of ripple and 43 dB of
attenuation whose pass band ends at 1 radian per second; one of each conjugate pair, nearest neighbours paired."""


class ToneSquelch:
    """Find the CTCSS tone of a channel, and gate it by one, as a stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of the audio.
    tone_hz
        Tone that the gate waits for; None leaves it open.

    Attributes
    ----------
    ctcss_hz
        The standard tone that is there, None without.
    is_open
        Whether the gate is open at the end of the last `push`.
    n_opened
        How often it has opened.

    Raises
    ------
    ValueError
        If `sample_rate_hz` is below `MIN_RATE_HZ`, or `tone_hz` is not within 0.1 Hz of one of `CTCSS_HZ`.
    """

    def __init__(self, sample_rate_hz: float, tone_hz: float | None = None) -> None:
        if not sample_rate_hz >= MIN_RATE_HZ:
            raise ValueError(f"tones are found from {MIN_RATE_HZ:.0f} samples a second, not {sample_rate_hz}")
        if tone_hz is not None:
            nearest = CTCSS_HZ[int(np.abs(_STANDARDS - tone_hz).argmin())]
            if not abs(tone_hz - nearest) <= 0.1:
                raise ValueError(f"{tone_hz} Hz is no CTCSS tone; the nearest is {nearest} Hz")
            tone_hz = nearest
        self._tone_hz = tone_hz
        self._decimation = int(sample_rate_hz / _BAND_RATE_HZ)
        band_rate_hz = sample_rate_hz / self._decimation
        self._to_band: Resampler[np.float32] = Resampler(
            Fraction(1, self._decimation),
            _PASSBAND_HZ / sample_rate_hz,
            (band_rate_hz - _PASSBAND_HZ) / sample_rate_hz,
            np.float32,
        )
        self._hop = round(HOP_S * band_rate_hz)
        self._bank = _LineBank(band_rate_hz)
        self._ramp = GainRamp(round(RAMP_S * sample_rate_hz))
        self.n_opened = 0
        self.reset()

    def reset(self) -> None:
        """Forget the past, for a gap in the stream: no tone; the count stays."""
        self._to_band.reset()
        self.ctcss_hz: float | None = None
        self.is_open = self._tone_hz is None
        self._ramp.reset(self.is_open)
        self._band = np.zeros(0, dtype=np.float32)
        self._n_in = 0
        self._n_judged = 0
        self._candidate_hz: float | None = None
        self._n_agree = 0
        self._n_miss = 0

    def push(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Judge the next part of the stream.

        Parameters
        ----------
        pcm
            Shape (n,), n >= 0; samples that are not finite count as 0. [full scale = ±1]

        Returns
        -------
        gain
            Shape (n,): 1 where the gate is open, 0 where it is closed, between them on the way.
        """
        n = pcm.shape[0]
        gain = np.empty(n, dtype=np.float32)
        self._band = np.concatenate((self._band, self._to_band.push(np.nan_to_num(pcm, posinf=0.0, neginf=0.0))))
        done = 0
        while self._band.shape[0] >= self._bank.n_window:
            # The window's last sample has come out of the filter with this sample of the input.
            last = (self._n_judged * self._hop + self._bank.n_window - 1) * self._decimation + self._to_band.latency
            was_open = self.is_open
            self._judge(self._bank.lines(self._band[: self._bank.n_window]))
            if self.is_open != was_open:
                end = min(max(last + 1 - self._n_in, done), n)
                self._ramp.fill(gain[done:end], was_open)
                done = end
            self._band = self._band[self._hop :]
            self._n_judged += 1
        self._ramp.fill(gain[done:], self.is_open)
        self._n_in += n
        return gain

    def _judge(self, lines: NDArray[np.complex128]) -> None:
        """Take the lines of a window and decide."""
        if self.ctcss_hz is not None:
            held = self._bank.measure(lines, near_hz=self.ctcss_hz)
            self._n_miss = 0 if held[1] >= _HOLD_SHARE and _standard(held[0]) == self.ctcss_hz else self._n_miss + 1
            if self._n_miss >= _N_LOST:
                self.ctcss_hz = None
        frequency_hz, share = self._bank.measure(lines)
        found = _standard(frequency_hz) if share >= _OPEN_SHARE else None
        self._n_agree = self._n_agree + 1 if found is not None and found == self._candidate_hz else 1
        self._candidate_hz = found
        if found is not None and self._n_agree >= _N_FOUND:
            self.ctcss_hz = found
            self._n_miss = 0
        was_open = self.is_open
        self.is_open = self._tone_hz is None or self.ctcss_hz == self._tone_hz
        self.n_opened += self.is_open and not was_open


class _LineBank:
    """Lines in the band of the tones, by correlation of a window's halves with oscillators 2 Hz apart.

    Parameters
    ----------
    band_rate_hz
        Rate of the windows' samples.
    """

    def __init__(self, band_rate_hz: float) -> None:
        half = round(WINDOW_S * band_rate_hz / 2.0)
        self.n_window = 2 * half
        self._frequencies_hz = np.arange(_BAND_HZ[0], _BAND_HZ[1] + 1.0, 2.0)
        taper = np.hanning(half + 2)[1:-1]
        places = (np.arange(half) - (half - 1) / 2.0) / band_rate_hz
        oscillators = taper * np.exp(-2j * np.pi * np.outer(self._frequencies_hz, places)) * (2.0 / taper.sum())
        # One real product for both halves of the window: cosines and sines side by side.
        self._oscillators = np.concatenate((oscillators.real, oscillators.imag)).T.astype(np.float32)
        self._half_s = half / band_rate_hz
        # What a lone tone leaves in the bank, so that its share is 1.
        self._spread = float(np.square(np.abs(oscillators @ np.cos(2.0 * np.pi * 161.0 * places))).sum())

    def lines(self, window: NDArray[np.float32]) -> NDArray[np.complex128]:
        """Correlate a window, shape (n_window,): amplitude and phase in each half, shape (2, n_lines)."""
        halves = window.reshape(2, -1) @ self._oscillators
        n_lines = self._frequencies_hz.shape[0]
        return np.asarray(halves[:, :n_lines] + 1j * halves[:, n_lines:], dtype=np.complex128)

    def measure(self, lines: NDArray[np.complex128], near_hz: float | None = None) -> tuple[float, float]:
        """Measure the strongest line, or the strongest within 2 Hz of a frequency.

        Returns
        -------
        frequency_hz, share
            Its frequency, and the share of the band's power that is in it, 0 to 1; a share of 0 if the line is weak
            or not as strong in one half of the window as in the other.
        """
        power = np.square(np.abs(lines)).sum(axis=0)
        eligible = power if near_hz is None else np.where(np.abs(self._frequencies_hz - near_hz) <= 2.0, power, 0.0)
        best = int(np.argmax(eligible))
        first, second = lines[:, best]
        low, high = sorted((abs(first), abs(second)))
        # The phase advances by whole turns and a rest from half to half; the oscillator's own advance is known.
        expected = 2.0 * math.pi * self._frequencies_hz[best] * self._half_s
        rest = float(np.angle(second * np.conj(first) * np.exp(-1j * expected)))
        frequency_hz = float(self._frequencies_hz[best]) + rest / (2.0 * math.pi * self._half_s)
        if not (low >= _LEAST_AMPLITUDE and low >= _STEADINESS * high):
            return frequency_hz, 0.0
        return frequency_hz, min(float(power[best] / power.sum()) * self._spread, 1.0)


class ToneFilter:
    """Take CTCSS tones out of audio, as a stream: elliptic high-pass of order 6, from 300 Hz up, 0.5 dB of ripple.

    The tones, up to 254.1 Hz and half a percent more, are at least 43 dB down.

    Parameters
    ----------
    sample_rate_hz
        Rate of the audio.

    Raises
    ------
    ValueError
        If `sample_rate_hz` is below `MIN_RATE_HZ`.
    """

    def __init__(self, sample_rate_hz: float) -> None:
        if not sample_rate_hz >= MIN_RATE_HZ:
            raise ValueError(f"tones are filtered from {MIN_RATE_HZ:.0f} samples a second, not {sample_rate_hz}")
        self._sections = np.array([_section(zero, pole, sample_rate_hz) for zero, pole in _PROTOTYPE])
        self._sections[0, :3] *= _RIPPLE_GAIN
        self.reset()

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""
        self._state = np.zeros((len(_PROTOTYPE), 2))

    def push(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter the next part of the stream.

        Parameters
        ----------
        pcm
            Shape (n,), n >= 0; samples that are not finite or absurd count as 0. [full scale = ±1]

        Returns
        -------
        filtered
            Shape (n,).
        """
        filtered = np.empty(pcm.shape[0], dtype=np.float32)
        filter_sections(pcm, self._sections, self._state, filtered)
        return filtered


def _standard(frequency_hz: float) -> float | None:
    """The standard tone that a line is, None if it is none."""
    nearest = CTCSS_HZ[int(np.abs(_STANDARDS - frequency_hz).argmin())]
    return nearest if abs(nearest - frequency_hz) <= max(_TOLERANCE * nearest, _LEAST_TOLERANCE_HZ) else None


def _section(zero: float, pole: complex, sample_rate_hz: float) -> tuple[float, float, float, float, float]:
    """Second-order high-pass section ``b0, b1, b2, a1, a2``, gain 1 at half the sample rate.

    Parameters
    ----------
    zero
        Zero of the low-pass prototype, on the imaginary axis. [radians per second]
    pole
        Its pole. [radians per second]
    sample_rate_hz
        Rate that the section runs at.
    """
    # Low-pass to high-pass turns a root s into 1 / s; the bilinear transform is exact at the pass band's edge.
    edge = math.tan(math.pi * HIGH_PASS_HZ / sample_rate_hz)
    roots = [(1.0 + edge / root) / (1.0 - edge / root) for root in (1j * zero, pole)]
    (b1, b2), (a1, a2) = ((-2.0 * root.real, abs(root) ** 2) for root in roots)
    gain = (1.0 - a1 + a2) / (1.0 - b1 + b2)
    return gain, gain * b1, gain * b2, a1, a2
