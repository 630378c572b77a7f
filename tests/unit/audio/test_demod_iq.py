"""One channel of IQ as sound: its loudness where that is asked for, and readings that take no room."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.audio import demod_iq
from app_core.audio.demod_iq import MAX_READINGS, IqDemodulation, Thinned
from tests.support.signals import audio_tone, complex_noise, fm_modulate

RATE_HZ = 48_000


class _Source:
    """IQ in memory."""

    sample_rate_hz = float(RATE_HZ)
    center_frequency_hz = 162.55e6
    duration_s: float | None = None

    def __init__(self, iq: NDArray[np.complex64]) -> None:
        self._iq = iq

    def read(self, n_samples: int) -> NDArray[np.complex64]:
        iq, self._iq = self._iq[:n_samples], self._iq[n_samples:]
        return iq


def _carrier(seconds: float, level: float = 0.3) -> NDArray[np.complex64]:
    n = round(seconds * RATE_HZ)
    return fm_modulate(audio_tone(1000.0, RATE_HZ, n, level), RATE_HZ, 5_000.0, 200.0, 0.3) + complex_noise(n, 1e-5, 1)


def _demodulated(iq: NDArray[np.complex64], **settings: Any) -> tuple[IqDemodulation, NDArray[np.float32]]:
    demodulation = IqDemodulation(_Source(iq), {"frequency_hz": 162.55e6, **settings})
    return demodulation, np.concatenate([pcm for _, pcm in demodulation.steps()])


def test_loudness_is_leveled_and_no_sample_is_lost() -> None:
    iq = _carrier(6.0)
    _, plain = _demodulated(iq)
    _, leveled = _demodulated(iq, loudness_lufs=-40.0)
    assert leveled.shape == plain.shape == (6 * 24_000, 1)
    end = slice(-24_000, -2_400)
    assert np.abs(leveled[end]).max() < 0.2 * np.abs(plain[end]).max()
    # The same samples, each with a gain: where one crosses zero, so does the other.
    assert np.corrcoef(plain[end, 0], leveled[end, 0])[0, 1] == pytest.approx(1.0, abs=1e-3)


def test_medians_are_those_of_the_whole_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demod_iq, "MAX_READINGS", 8)
    demodulation, _ = _demodulated(np.concatenate([_carrier(7.0), 0.01 * _carrier(3.0)]))
    assert len(demodulation._readings.kept) <= 8
    readings = demodulation.readings()
    assert readings["level_dbfs"] == pytest.approx(-10.5, abs=0.2)
    assert readings["frequency_error_hz"] == pytest.approx(200.0, abs=2.0)


def test_what_is_kept_of_a_long_series_is_spread_over_all_of_it() -> None:
    for n in (3, MAX_READINGS, MAX_READINGS + 1, 5 * MAX_READINGS + 7, 100_000):
        thinned = Thinned()
        for number in range(n):
            thinned.add((float(number),))
        places = [entry[0] for entry in thinned.kept]
        assert len(places) <= MAX_READINGS
        assert len(places) >= min(n, MAX_READINGS // 2)
        steps = np.diff(np.array(places, dtype=np.float64))
        assert steps.min() == steps.max()
        assert places[0] == 0.0
        assert n - 1 - np.float64(places[-1] or 0.0) < steps[0]
