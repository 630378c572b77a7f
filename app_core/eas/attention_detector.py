"""Hears attention signals: which, from when to when, at what frequency, how loud.

The audio is mixed down around 950 Hz and averaged in blocks of 1.25 ms, which costs next to nothing; then Hann windows
of 160 ms, half over each other, are transformed. A window holds a tone when one line (or EAS's two) has most of the
power between 650 and 1250 Hz, and enough of all power that it is no alias of the averaging. Neither voice nor noise has
such lines for seconds: a voice glides, noise has none. No level is asked for, so that the quietest signal counts too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.eas.attention import ATTENTION_TONES_HZ, Attention
from app_core.eas.events import AttentionHeard

SHORTEST_S = 2.0
"""A tone that lasts less is none: a note, a whistle. The rules ask for 8 s (47 CFR 11.31(c))."""

_CENTER_HZ = 950.0
_BLOCK_HZ = 800.0  # averages a second, about: a block is a whole number of samples
_WINDOW = 128  # averages
_HOP = _WINDOW // 2
_HOPS_PER_BATCH = 16
_BATCH = _HOP * _HOPS_PER_BATCH
_HISTORY = 2 * _BATCH  # reaches back from a decision to either edge of what was decided
_BAND_HZ = (650.0, 1250.0)
_TOLERANCE = 0.035  # of a sender's or a recorder's clock
_PURITY = 0.7  # of the band's power, in the tone: 4 dB above noise in the band, and above any other sound there
_PROMINENT = 0.15  # of the band's power, in one bin: without it the band cannot be pure; noise has 0.05
_SHARE = 0.1  # of all power; what the averaging folds into the band is damped by 17 dB at least
_FAINTER = 0.1  # share of the fainter of two tones in their power
_STEADY_HZ = 6.0  # a line of the window: drift of a tape or a stream, but no note that follows another
_LONGEST_FADE = 5  # windows without the tone that do not end it: 0.4 s
_EDGE = 15  # averages: two periods of the 107 Hz between EAS's tones, so that neither is seen in the other
_SETTLING_S = 2.0  # of silence decide everything
_LARGEST = 1e6  # beyond any PCM scale; larger samples would overflow when squared
_HANN_POWER = 1.5  # of a line in a Hann window, over its strongest bin's


@dataclass(slots=True)
class _Line:
    """One tone of a kind: where it is looked for, in bins of the ordered spectrum."""

    low: int
    high: int


@dataclass(slots=True)
class _Tones:
    """What the windows of a batch hold of one kind.

    Attributes
    ----------
    heard
        Shape (n_windows,).
    figures
        Shape (n_windows, n_tones + 1): frequencies [Hz], and the power of all tones.
    """

    heard: NDArray[np.bool_]
    figures: NDArray[np.float64]


@dataclass(slots=True)
class _Run:
    """A tone that goes on, or has just ceased.

    Attributes
    ----------
    begin
        Number of its first window.
    onset
        Averages around its beginning, shape (3 * _HOP,).
    last
        Number of the last window that holds it.
    pending
        Figures of that window, which may not be full.
    figures, n_windows
        Mean figures of the windows that are full, and their number; before there is one, those of the first.
    misses
        Windows since the last one.
    """

    begin: int
    onset: NDArray[np.complex128]
    last: int
    pending: NDArray[np.float64]
    figures: NDArray[np.float64]
    n_windows: int = 0
    misses: int = 0

    def extend(self, window: int, figures: NDArray[np.float64]) -> None:
        """Take another window that holds the tone."""
        if self.last > self.begin:
            # Only now the window before it: the first and the last one are not full.
            self.n_windows += 1
            self.figures = self.figures + (self.pending - self.figures) / self.n_windows
        self.pending, self.last, self.misses = figures, window, 0


class AttentionDetector:
    """Listens for attention signals in one audio stream.

    How the stream is cut into blocks changes no event.

    Parameters
    ----------
    sample_rate_hz
        Rate of the PCM, at least 8000.

    Raises
    ------
    ValueError
        If the rate is lower.
    """

    def __init__(self, sample_rate_hz: float) -> None:
        if not 8000.0 <= sample_rate_hz < np.inf:
            raise ValueError(f"sample_rate_hz must be 8000 at least, got {sample_rate_hz}")
        self._n = round(sample_rate_hz / _BLOCK_HZ)
        self._block_hz = sample_rate_hz / self._n
        self._max_zeros = int(_SETTLING_S * sample_rate_hz)
        turn = 2.0 * np.pi * _CENTER_HZ / sample_rate_hz * np.arange(self._n)
        self._mixer = (np.stack([np.cos(turn), -np.sin(turn)], axis=1) / self._n).astype(np.float32)
        # The mixer begins anew with each block; this is what its phase would have gone on to.
        self._phases = np.exp(-2j * np.pi * (_CENTER_HZ / self._block_hz * np.arange(_BATCH + 1) % 1.0))
        hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(_WINDOW) / _WINDOW)
        # With every other sign turned the transform has its bins in the order of their frequencies.
        self._window = hann * np.where(np.arange(_WINDOW) % 2, -1.0, 1.0)
        # Of the power of the sine that a line stands for, half is at negative frequencies.
        self._scale = 2.0 / (_HANN_POWER * hann.sum() ** 2)
        self._bin_hz = self._block_hz / _WINDOW
        self._band = slice(self._bin(_BAND_HZ[0]), self._bin(_BAND_HZ[1]) + 1)
        self._lines = {
            kind: [_Line(self._bin(hz * (1 - _TOLERANCE)), self._bin(hz * (1 + _TOLERANCE))) for hz in tones_hz]
            for kind, tones_hz in ATTENTION_TONES_HZ.items()
            if tones_hz
        }
        self._runs: dict[Attention, _Run] = {}
        self._average = np.zeros(_HISTORY, np.complex128)
        self._power = np.zeros(_HOP)
        self._parts: list[NDArray[np.float32]] = []
        self._n_parts = 0
        self._batches = 0
        self._phase = 1.0 + 0.0j
        self._origin = 0  # position in the input stream of the first sample that was ever taken
        self._skipped = 0

    def _bin(self, frequency_hz: float) -> int:
        """Nearest bin of the ordered spectrum."""
        return round((frequency_hz - _CENTER_HZ) / self._bin_hz) + _WINDOW // 2

    @property
    def samples_to_decision(self) -> int:
        """Samples that are missing for the next look at the spectrum; at least 1."""
        return self._n * _BATCH - self._n_parts

    def push(self, pcm: NDArray[np.float32]) -> list[AttentionHeard]:
        """Take the samples that follow, shape (n,), n >= 0; those that are not finite count as zero."""
        if len(pcm):
            self._origin += max(0, self._skipped - self._max_zeros)
            self._skipped = 0
        return self._feed(np.asarray(pcm, np.float32))

    def skip(self, n_samples: int) -> list[AttentionHeard]:
        """Let time go on by `n_samples` >= 0 samples that were lost; a tone bridges as little as any other fade."""
        n_zeros = min(n_samples, max(0, self._max_zeros - self._skipped))
        self._skipped += n_samples
        return self._feed(np.zeros(max(0, n_zeros), np.float32))

    def finish(self) -> list[AttentionHeard]:
        """Say that the stream has ended, and give a tone that did not. Samples pushed later follow the last ones."""
        self.push(np.zeros(0, np.float32))
        events = self._feed(np.zeros(self._max_zeros, np.float32))
        self._origin -= self._max_zeros
        return events

    def _feed(self, pcm: NDArray[np.float32]) -> list[AttentionHeard]:
        events: list[AttentionHeard] = []
        while len(pcm) >= self.samples_to_decision:
            n_taken = self.samples_to_decision
            whole = np.concatenate([*self._parts, pcm[:n_taken]])
            pcm = pcm[n_taken:]
            if not max(whole.max(), -whole.min()) < _LARGEST:
                whole = np.where(np.abs(whole) < _LARGEST, whole, np.float32(0.0))
            self._parts, self._n_parts = [], 0
            events += self._take_batch(whole.reshape(_BATCH, self._n))
        if len(pcm):
            self._parts.append(pcm.copy())
            self._n_parts += len(pcm)
        return events

    def _take_batch(self, blocks: NDArray[np.float32]) -> list[AttentionHeard]:
        mixed = (blocks @ self._mixer).astype(np.float64).view(np.complex128)[:, 0]
        mixed *= self._phases[:-1]
        mixed *= self._phase
        self._phase *= self._phases[-1] / abs(self._phase)
        self._average = np.concatenate([self._average[_BATCH:], mixed])
        power = np.einsum("ij,ij->i", blocks, blocks).astype(np.float64) / self._n
        halves = np.concatenate([self._power, power]).reshape(-1, _HOP).mean(axis=1)
        self._power = power[-_HOP:]
        self._batches += 1
        latest = self._average[-_BATCH - _HOP :]
        windows = np.lib.stride_tricks.as_strided(
            latest, (_HOPS_PER_BATCH, _WINDOW), (_HOP * latest.itemsize, latest.itemsize), writeable=False
        )
        line = np.fft.fft(windows * self._window)
        spectrum = (line.real**2 + line.imag**2) * self._scale
        total = (halves[1:] + halves[:-1]) / 2
        band = spectrum[:, self._band]
        if not self._runs and not (band.max(axis=1) > _PROMINENT * band.sum(axis=1)).any():
            return []
        events = []
        for kind, lines in self._lines.items():
            tones = self._measure(spectrum, total, lines)
            if kind in self._runs or tones.heard.any():
                events += self._follow(kind, tones)
        return events

    def _measure(self, spectrum: NDArray[np.float64], total: NDArray[np.float64], lines: list[_Line]) -> _Tones:
        """Look for lines in spectra, shape (n, n_bins), of audio with the power `total`, shape (n,)."""
        n = len(spectrum)
        row = np.arange(n)
        frequency_hz, power = np.empty((n, len(lines))), np.empty((n, len(lines)))
        for i, line in enumerate(lines):
            peak = line.low + spectrum[:, line.low : line.high + 1].argmax(axis=1)
            below, middle, above = (np.sqrt(spectrum[row, peak + step]) for step in (-1, 0, 1))
            # Of a Hann window the ratio of two neighbours is (1 + x) / (2 - x), x bins from the larger one.
            larger, sign = np.maximum(below, above), np.where(above >= below, 1.0, -1.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = np.nan_to_num(larger / middle)
            place = peak + sign * np.clip((2.0 * ratio - 1.0) / (ratio + 1.0), 0.0, 1.0)
            frequency_hz[:, i] = _CENTER_HZ + (place - _WINDOW // 2) * self._bin_hz
            power[:, i] = sum(spectrum[row, peak + step] for step in range(-2, 3))
        tone = power.sum(axis=1)
        heard = (tone > 0.0) & (tone >= _PURITY * spectrum[:, self._band].sum(axis=1)) & (tone >= _SHARE * total)
        heard &= power.min(axis=1) >= (_FAINTER * tone if len(lines) > 1 else 0.0)
        droop = np.sinc((frequency_hz - _CENTER_HZ) / self._block_hz)
        return _Tones(heard, np.column_stack([frequency_hz, (power / droop**2).sum(axis=1)]))

    def _follow(self, kind: Attention, tones: _Tones) -> list[AttentionHeard]:
        """Continue, begin or end the run of one kind, window by window."""
        events = []
        for i, (heard, figures) in enumerate(zip(tones.heard, tones.figures, strict=True)):
            window = (self._batches - 1) * _HOPS_PER_BATCH + i
            run = self._runs.get(kind)
            if run is not None:
                steady = np.abs(figures[:-1] - run.figures[:-1]).max() < _STEADY_HZ
                if heard and steady:
                    run.extend(window, figures)
                    continue
                run.misses += 1
                if run.misses <= _LONGEST_FADE and not heard:
                    continue
                del self._runs[kind]
                events += self._event(kind, run)
            if heard:
                self._runs[kind] = _Run(window, self._around(window, -1), window, figures, figures)
        return events

    def _around(self, window: int, n_hops: int) -> NDArray[np.complex128]:
        """Copy the averages of a window and of the hop before it (`n_hops` -1) or behind it (0), shape (3 * _HOP,)."""
        first = self._place(window) + n_hops * _HOP - (self._batches * _BATCH - _HISTORY)
        return self._average[first : first + 3 * _HOP].copy()

    @staticmethod
    def _place(window: int) -> int:
        """First average of a window, counted from the stream's start."""
        return (window - 1) * _HOP

    def _event(self, kind: Attention, run: _Run) -> list[AttentionHeard]:
        """Measure a run that has ended; nothing if it was too short."""
        onset = self._loud(run.onset, run.figures)
        end = self._loud(self._around(run.last, 0), run.figures)
        start = self._place(run.begin) - _HOP + (int(onset.argmax()) if onset.any() else _HOP)
        stop = self._place(run.last) + (len(end) - int(end[::-1].argmax()) if end.any() else _WINDOW)
        if stop - start < SHORTEST_S * self._block_hz:
            return []
        # A sine of full scale has the power 1/2.
        level_dbfs = 10.0 * np.log10(2.0 * run.figures[-1])
        first, last = (self._origin + max(0, place) * self._n for place in (start, stop))
        frequencies_hz = tuple(float(hz) for hz in run.figures[:-1])
        return [AttentionHeard(kind.value, first, last, frequencies_hz, float(level_dbfs))]

    def _loud(self, average: NDArray[np.complex128], figures: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where the tones have half of their amplitude at least, shape as `average`."""
        turns = (figures[:-1, None] - _CENTER_HZ) / self._block_hz * np.arange(len(average))
        parts = average * np.exp(-2j * np.pi * turns)
        even = np.full(_EDGE, 1.0 / _EDGE)
        envelope = sum(np.abs(np.convolve(part, even, mode="same")) ** 2 for part in parts)
        # Half of a tone's power is at negative frequencies; half its amplitude is a quarter of its power.
        return np.asarray(envelope >= 0.25 * figures[-1] / 2.0)
