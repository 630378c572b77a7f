from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.demod.agc import FLOOR_DBFS, TARGET, Agc
from tests.support.signals import audio_tone, tone_amplitude

RATE_HZ = 24_000


@pytest.mark.parametrize("level_dbfs", [0.0, -40.0, -90.0])
def test_a_tone_of_any_level_comes_out_at_the_target(level_dbfs: float) -> None:
    tone = audio_tone(1000.0, RATE_HZ, RATE_HZ, 10.0 ** (level_dbfs / 20.0)).astype(np.float32)
    agc = Agc(RATE_HZ)
    pcm = agc.push(tone)[RATE_HZ // 4 :]
    assert tone_amplitude(pcm, 1000.0, RATE_HZ) == pytest.approx(TARGET, rel=0.001)
    assert agc.gain_db == pytest.approx(20.0 * np.log10(TARGET) - level_dbfs, abs=0.1)


def test_a_jump_of_60_db_is_never_louder_than_the_target_and_soon_undistorted() -> None:
    tone = audio_tone(1000.0, RATE_HZ, RATE_HZ).astype(np.float32)
    tone[: RATE_HZ // 2] *= np.float32(1e-3)
    pcm = Agc(RATE_HZ, attack_s=0.002).push(tone)
    assert np.abs(pcm).max() <= TARGET
    settled = pcm[RATE_HZ // 2 + RATE_HZ // 20 :]
    np.testing.assert_allclose(settled, TARGET * tone[-settled.shape[0] :], atol=0.01)


def test_the_gain_hangs_and_then_rises_by_its_time_constant() -> None:
    tone = audio_tone(1000.0, RATE_HZ, 3 * RATE_HZ).astype(np.float32)
    tone[RATE_HZ:] *= np.float32(0.01)
    agc = Agc(RATE_HZ, attack_s=0.002, hang_s=0.5, decay_s=0.25)
    agc.push(tone[:RATE_HZ])
    at_once_db = agc.gain_db
    agc.push(tone[RATE_HZ : RATE_HZ + int(0.499 * RATE_HZ)])
    assert agc.gain_db == at_once_db
    agc.push(tone[RATE_HZ + int(0.499 * RATE_HZ) : RATE_HZ + int(0.751 * RATE_HZ)])
    assert agc.gain_db - at_once_db == pytest.approx(8.686, abs=0.1)
    agc.push(tone[RATE_HZ + int(0.751 * RATE_HZ) :])
    # A peak at nine tenths of the level holds it.
    assert 39.0 < agc.gain_db - at_once_db <= 40.1


def test_silence_stays_silent_and_the_gain_bounded() -> None:
    agc = Agc(RATE_HZ)
    np.testing.assert_array_equal(agc.push(np.zeros(10 * RATE_HZ, np.float32)), 0.0)
    assert agc.gain_db == pytest.approx(20.0 * np.log10(TARGET) - FLOOR_DBFS)
    assert agc.push(np.zeros(0, np.float32)).shape == (0,)


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_cutting_the_input_changes_nothing(cuts: list[int]) -> None:
    rng = np.random.default_rng(1)
    audio = (rng.standard_normal(5000) * np.repeat([1e-3, 1.0, 1e-3, 1e-5, 0.1], 1000)).astype(np.float32)
    whole, parts = (Agc(RATE_HZ, hang_s=0.01, decay_s=0.02) for _ in range(2))
    got = [parts.push(audio[a:b]) for a, b in pairwise([0, *sorted(cuts), 5000])]
    np.testing.assert_array_equal(np.concatenate(got), whole.push(audio))


def test_reset_forgets_the_past() -> None:
    audio = np.random.default_rng(2).standard_normal(1000).astype(np.float32)
    agc = Agc(RATE_HZ)
    first = agc.push(audio)
    agc.reset()
    np.testing.assert_array_equal(agc.push(audio), first)


@pytest.mark.parametrize("settings_s", [(0.0, 0.1, 0.1), (0.1, -0.1, 0.1), (0.1, 0.1, 0.0), (float("nan"), 0.1, 0.1)])
def test_impossible_times_are_refused(settings_s: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Agc(RATE_HZ, *settings_s)
