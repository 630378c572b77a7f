"""Speech, spoken or imitated."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from app_core.synth.speech import SPEECH_LEVEL, imitate_speech, speak, speech_engine

TEXT = "This is a demonstration. It is not real, and nothing is to be done."


@pytest.fixture
def no_espeak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


def test_the_imitation_is_the_same_every_time_and_differs_with_text_and_voice() -> None:
    first = imitate_speech(TEXT, "en-us")
    np.testing.assert_array_equal(first, imitate_speech(TEXT, "en-us"))
    assert not np.array_equal(first, imitate_speech(TEXT, "en-gb")[: first.size])
    assert not np.array_equal(first, imitate_speech(TEXT.upper(), "en-us"))


def test_the_imitation_has_the_length_the_band_and_the_pauses_of_speech() -> None:
    pcm = imitate_speech(TEXT, "en-us")
    assert 2.0 < pcm.size / 8_000 < 8.0
    assert np.abs(pcm).max() < 1.0
    power = np.square(np.abs(np.fft.rfft(pcm)))
    frequency_hz = np.fft.rfftfreq(pcm.size, 1.0 / 8_000)
    assert power[(frequency_hz > 80.0) & (frequency_hz < 3_400.0)].sum() > 0.95 * power.sum()
    frames = np.sqrt(np.mean(np.square(pcm[: pcm.size // 160 * 160].reshape(-1, 160)), axis=1))
    assert 0.05 < np.mean(frames < 0.05 * frames.max()) < 0.6


@pytest.mark.usefixtures("no_espeak")
def test_without_espeak_the_imitation_speaks() -> None:
    assert speech_engine() == "imitation"
    pcm, rate_hz = speak(TEXT, "en-us")
    assert rate_hz == 8_000
    assert np.sqrt(np.mean(np.square(pcm[np.abs(pcm) > 0.02 * np.abs(pcm).max()]))) == pytest.approx(
        SPEECH_LEVEL, rel=0.05
    )


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_espeak_speaks_at_the_level() -> None:
    assert speech_engine() == "espeak-ng"
    pcm, rate_hz = speak(TEXT, "en-us+f3")
    assert rate_hz == 22_050
    assert 3.0 < pcm.size / rate_hz < 8.0
    assert np.sqrt(np.mean(np.square(pcm[np.abs(pcm) > 0.02 * np.abs(pcm).max()]))) == pytest.approx(
        SPEECH_LEVEL, rel=0.05
    )
