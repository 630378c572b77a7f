from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.demod.fm import FmDemodulator
from app_core.demod.tone_squelch import CTCSS_HZ, WINDOW_S, ToneFilter, ToneSquelch
from app_core.synth.speech import imitate_speech
from tests.support.signals import audio_tone, complex_noise, fm_modulate, tone_amplitude

RATE_HZ = 24_000
TEXT = "A severe thunderstorm capable of producing a tornado was located near Moore, moving northeast. " * 2


def noise(n: int, rms: float, seed: int) -> NDArray[np.float32]:
    return np.asarray(rms * np.random.default_rng(seed).standard_normal(n), dtype=np.float32)


def speech(voice: str) -> NDArray[np.float32]:
    """Speech at `RATE_HZ`, straight lines between its samples."""
    pcm = imitate_speech(TEXT, voice)
    places = np.arange(3 * pcm.shape[0]) / 3.0
    spoken = np.interp(places, np.arange(pcm.shape[0]), pcm)
    return np.asarray(0.2 * spoken / np.sqrt(np.square(spoken).mean()), dtype=np.float32)


def test_there_are_fifty_standard_tones_in_order() -> None:
    assert len(CTCSS_HZ) == 50
    assert list(CTCSS_HZ) == sorted(set(CTCSS_HZ))


@pytest.mark.parametrize("tone_hz", CTCSS_HZ)
def test_each_tone_is_told_from_its_neighbours_within_half_a_second(tone_hz: float) -> None:
    n = RATE_HZ // 2
    for error in (-0.004, 0.0, 0.004):
        squelch = ToneSquelch(RATE_HZ)
        tone = audio_tone(tone_hz * (1.0 + error), RATE_HZ, n, 0.1).astype(np.float32)
        found = {squelch.ctcss_hz for part in np.split(tone + noise(n, 0.03, 1), 50) if squelch.push(part) is not None}
        assert found <= {None, tone_hz}
        assert squelch.ctcss_hz == tone_hz


def test_noise_has_no_tone() -> None:
    squelch = ToneSquelch(RATE_HZ)
    for seed in range(12):
        for part in np.split(noise(10 * RATE_HZ, 0.3, seed), 100):
            squelch.push(part)
            assert squelch.ctcss_hz is None


def test_an_empty_channel_has_no_tone() -> None:
    demodulator, squelch = FmDemodulator(RATE_HZ), ToneSquelch(RATE_HZ)
    for part in np.split(complex_noise(30 * RATE_HZ, 1.0, seed=2), 300):
        squelch.push(demodulator.push(part))
        assert squelch.ctcss_hz is None


@pytest.mark.parametrize("voice", ["en-us", "en-us+m3", "en-us+f3"])
def test_speech_has_no_tone_and_hides_none(voice: str) -> None:
    pcm = speech(voice)
    alone, beside = ToneSquelch(RATE_HZ), ToneSquelch(RATE_HZ)
    tone = audio_tone(131.8, RATE_HZ, pcm.shape[0], 0.1).astype(np.float32)
    for k in range(0, pcm.shape[0], 2400):
        alone.push(pcm[k : k + 2400])
        assert alone.ctcss_hz is None
        beside.push(ToneFilter(RATE_HZ).push(pcm[k : k + 2400]) + tone[k : k + 2400])
        assert beside.ctcss_hz == (131.8 if k >= RATE_HZ // 2 else beside.ctcss_hz)


def test_a_tone_through_fm_is_found() -> None:
    audio = audio_tone(88.5, RATE_HZ, RATE_HZ, 0.12) + audio_tone(1000.0, RATE_HZ, RATE_HZ, 0.5)
    iq = fm_modulate(audio, RATE_HZ, 5000.0) + complex_noise(RATE_HZ, 0.05, seed=3)
    squelch = ToneSquelch(RATE_HZ)
    squelch.push(FmDemodulator(RATE_HZ).push(iq))
    assert squelch.ctcss_hz == 88.5


@pytest.mark.parametrize("frequency_hz", [50.0, 60.0, 120.0, 270.0, 300.0])
def test_other_tones_are_none(frequency_hz: float) -> None:
    squelch = ToneSquelch(RATE_HZ)
    for part in np.split(audio_tone(frequency_hz, RATE_HZ, 2 * RATE_HZ, 0.1).astype(np.float32), 20):
        squelch.push(part)
        assert squelch.ctcss_hz is None


def test_a_tone_that_dies_away_is_none() -> None:
    # Half as strong after each half of a window, as a bell or the thump of a relay in a resonant loudspeaker.
    place_s = np.arange(2 * RATE_HZ) / RATE_HZ
    pcm = (audio_tone(100.0, RATE_HZ, 2 * RATE_HZ, 0.3) * 0.5 ** (place_s / (WINDOW_S / 2.0))).astype(np.float32)
    squelch = ToneSquelch(RATE_HZ)
    for part in np.split(pcm, 40):
        squelch.push(part)
        assert squelch.ctcss_hz is None


def test_the_hum_of_the_mains_is_no_tone() -> None:
    squelch = ToneSquelch(RATE_HZ)
    lines = [audio_tone(60.0 * k, RATE_HZ, 2 * RATE_HZ, 0.1 if k == 3 else 0.08) for k in range(1, 8)]
    for part in np.split(np.sum(lines, axis=0).astype(np.float32), 20):
        squelch.push(part)
        assert squelch.ctcss_hz is None


def test_the_gate_waits_for_its_tone_and_closes_behind_it() -> None:
    n = 3 * RATE_HZ
    place = np.arange(n)
    pcm = noise(n, 0.02, 4)
    pcm += np.where(place < RATE_HZ, audio_tone(97.4, RATE_HZ, n, 0.1), 0.0).astype(np.float32)
    middle = (place >= RATE_HZ) & (place < 2 * RATE_HZ)
    pcm += np.where(middle, audio_tone(100.0, RATE_HZ, n, 0.1), 0.0).astype(np.float32)
    squelch = ToneSquelch(RATE_HZ, 100.0)
    gain = squelch.push(pcm)
    is_heard = gain > 0.5
    opened, closed = np.flatnonzero(np.diff(is_heard.astype(int))) / RATE_HZ
    assert 1.3 < opened < 1.75
    assert 2.1 < closed < 2.4
    assert np.abs(np.diff(gain)).max() < 0.01
    assert (squelch.n_opened, squelch.is_open) == (1, False)


def test_without_a_tone_to_wait_for_the_gate_is_open() -> None:
    squelch = ToneSquelch(RATE_HZ)
    np.testing.assert_array_equal(squelch.push(noise(RATE_HZ, 0.1, 5)), 1.0)
    assert (squelch.is_open, squelch.n_opened) == (True, 0)


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 30_000), max_size=12))
def test_cutting_the_input_changes_nothing(cuts: list[int]) -> None:
    pcm = noise(30_000, 0.02, 6)
    pcm[:18_000] += audio_tone(162.2, RATE_HZ, 18_000, 0.1).astype(np.float32)
    whole, parts = (ToneSquelch(RATE_HZ, 162.2) for _ in range(2))
    filters = [ToneFilter(RATE_HZ) for _ in range(2)]
    ends = list(pairwise([0, *sorted(cuts), 30_000]))
    gain = whole.push(pcm)
    assert 0.0 < gain.mean() < 1.0
    np.testing.assert_array_equal(np.concatenate([parts.push(pcm[a:b]) for a, b in ends]), gain)
    filtered = np.concatenate([filters[0].push(pcm[a:b]) for a, b in ends])
    np.testing.assert_array_equal(filtered, filters[1].push(pcm))


@pytest.mark.parametrize("rate_hz", [8000, 24_000, 48_000])
def test_the_filter_takes_every_tone_out_and_keeps_the_voice(rate_hz: int) -> None:
    impulse = np.zeros(2 * rate_hz, np.float32)
    impulse[0] = 1.0
    gain_db = 20.0 * np.log10(np.abs(np.fft.rfft(ToneFilter(rate_hz).push(impulse))) + 1e-12)
    frequencies_hz = np.arange(gain_db.shape[0]) / 2.0
    assert gain_db[frequencies_hz <= 255.0].max() < -42.9
    voice = gain_db[(frequencies_hz >= 300.0) & (frequencies_hz <= 3400.0)]
    assert voice.min() > -0.51
    assert voice.max() < 0.01


def test_tones_are_taken_out_of_audio() -> None:
    pcm = audio_tone(254.1, RATE_HZ, RATE_HZ, 0.5) + audio_tone(1000.0, RATE_HZ, RATE_HZ, 0.5)
    filtered = ToneFilter(RATE_HZ).push(pcm.astype(np.float32))[RATE_HZ // 4 :]
    assert tone_amplitude(filtered, 254.1, RATE_HZ) < 0.005
    assert tone_amplitude(filtered, 1000.0, RATE_HZ) == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_broken_samples_do_no_lasting_harm(broken: float) -> None:
    pcm = audio_tone(123.0, RATE_HZ, 2 * RATE_HZ, 0.1).astype(np.float32)
    pcm[:100] = broken
    squelch = ToneSquelch(RATE_HZ)
    squelch.push(pcm)
    assert squelch.ctcss_hz == 123.0
    assert np.isfinite(ToneFilter(RATE_HZ).push(pcm)).all()


def test_reset_forgets_the_tone() -> None:
    pcm = audio_tone(123.0, RATE_HZ, RATE_HZ, 0.1).astype(np.float32)
    squelch = ToneSquelch(RATE_HZ, 123.0)
    first = squelch.push(pcm)
    squelch.reset()
    assert (squelch.ctcss_hz, squelch.is_open, squelch.n_opened) == (None, False, 1)
    np.testing.assert_array_equal(squelch.push(pcm), first)


@pytest.mark.parametrize(("rate_hz", "tone_hz"), [(3999.0, None), (RATE_HZ, 68.0), (RATE_HZ, float("nan"))])
def test_impossible_settings_are_refused(rate_hz: float, tone_hz: float | None) -> None:
    with pytest.raises(ValueError, match=r"samples a second|CTCSS"):
        ToneSquelch(rate_hz, tone_hz)
    if rate_hz < RATE_HZ:
        with pytest.raises(ValueError, match="samples a second"):
            ToneFilter(rate_hz)
