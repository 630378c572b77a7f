"""The attention signals of EAS and of NOAA Weather Radio."""

from __future__ import annotations

import numpy as np
import pytest

from app_core.eas.attention import Attention, attention_tone


def strongest_hz(attention: Attention, count: int) -> list[float]:
    pcm = attention_tone(attention, 4.0, 16_000.0)
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    peaks = [k for k in range(1, spectrum.size - 1) if spectrum[k - 1] < spectrum[k] >= spectrum[k + 1]]
    return sorted(k / 4.0 for k in sorted(peaks, key=lambda k: -spectrum[k])[:count])


def test_weather_radio_sends_1050_hz() -> None:
    assert strongest_hz(Attention.NWR, 1) == [1050.0]


def test_eas_sends_853_and_960_hz_together() -> None:
    assert strongest_hz(Attention.EAS, 2) == [853.0, 960.0]


@pytest.mark.parametrize("attention", [Attention.NWR, Attention.EAS])
def test_the_peak_is_the_level_and_the_length_is_exact(attention: Attention) -> None:
    pcm = attention_tone(attention, 8.0, 22_050.0, level=0.5)
    assert pcm.dtype == np.float32
    assert pcm.size == 8 * 22_050
    assert np.abs(pcm).max() == pytest.approx(0.5, rel=0.01)


def test_the_tone_begins_and_ends_softly() -> None:
    pcm = attention_tone(Attention.NWR, 1.0, 8_000.0)
    assert np.abs(pcm[:3]).max() < 0.05
    assert np.abs(pcm[-3:]).max() < 0.05


def test_no_attention_signal_is_no_samples() -> None:
    assert attention_tone(Attention.NONE, 8.0, 8_000.0).size == 0


def test_impossible_tones_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot last"):
        attention_tone(Attention.NWR, -1.0, 8_000.0)
    with pytest.raises(ValueError, match="cannot carry"):
        attention_tone(Attention.NWR, 1.0, 2_000.0)
