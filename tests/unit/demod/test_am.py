from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.demod.am import DELAY_S, AmDemodulator, SynchronousAmDemodulator
from tests.support.signals import audio_tone, complex_noise, complex_tone, sinad_db, tone_amplitude

RATE_HZ = 24_000
BOTH = pytest.mark.parametrize("demodulator_class", [AmDemodulator, SynchronousAmDemodulator])
AnyAm = type[AmDemodulator] | type[SynchronousAmDemodulator]


def transmit(
    depth: float, amplitude: float = 1.0, offset_hz: float = 0.0, tone_hz: float = 1000.0, seconds: float = 1.0
) -> NDArray[np.complex64]:
    n = round(seconds * RATE_HZ)
    envelope = 1.0 + audio_tone(tone_hz, RATE_HZ, n, depth)
    return np.asarray(envelope * complex_tone(offset_hz, RATE_HZ, n, amplitude), dtype=np.complex64)


@BOTH
@pytest.mark.parametrize("level_dbfs", [0.0, -30.0, -60.0])
@pytest.mark.parametrize("offset_hz", [0.0, 700.0, -3000.0])
def test_a_tone_keeps_its_modulation_at_any_level_and_offset(
    demodulator_class: AnyAm, level_dbfs: float, offset_hz: float
) -> None:
    demodulator = demodulator_class(RATE_HZ)
    iq = transmit(0.8, 10.0 ** (level_dbfs / 20.0), offset_hz)
    pcm = demodulator.push(iq)[RATE_HZ // 2 :]
    assert tone_amplitude(pcm, 1000.0, RATE_HZ) == pytest.approx(0.8, rel=0.002)
    assert sinad_db(pcm, 1000.0, RATE_HZ) > 60.0
    assert abs(pcm.mean()) < 1e-3
    assert demodulator.frequency_error_hz == pytest.approx(offset_hz, abs=1.0)
    assert demodulator.readings()["gain_db"] == pytest.approx(-level_dbfs, abs=0.1)
    assert (demodulator.n_audio, demodulator.deviation_hz) == (1, 0.0)


@BOTH
@pytest.mark.parametrize("tone_hz", [100.0, 300.0, 4500.0])
def test_the_response_is_flat(demodulator_class: AnyAm, tone_hz: float) -> None:
    pcm = demodulator_class(RATE_HZ).push(transmit(0.8, 0.1, tone_hz=tone_hz))[RATE_HZ // 2 :]
    assert tone_amplitude(pcm, tone_hz, RATE_HZ) == pytest.approx(0.8, rel=0.005)
    assert sinad_db(pcm, tone_hz, RATE_HZ) > 45.0


def test_the_audio_is_late_by_what_is_stated() -> None:
    pcm = AmDemodulator(RATE_HZ).push(transmit(0.5, tone_hz=200.0))
    late = round(AmDemodulator(RATE_HZ).delay_s * RATE_HZ)
    assert late == round(DELAY_S * RATE_HZ)
    wanted = audio_tone(200.0, RATE_HZ, RATE_HZ, 0.5)
    np.testing.assert_allclose(pcm[12_000 + late :], wanted[12_000:-late], atol=0.01)


@BOTH
@pytest.mark.parametrize("step_db", [60.0, 20.0, 10.0, 6.0, 3.0, -3.0, -6.0, -10.0, -20.0, -60.0])
def test_a_step_of_the_carrier_is_settled_within_50_ms(demodulator_class: AnyAm, step_db: float) -> None:
    iq = transmit(0.8, 1e-3 if step_db > 0.0 else 1.0)
    iq[RATE_HZ // 2 :] *= np.float32(10.0 ** (step_db / 20.0))
    pcm = demodulator_class(RATE_HZ).push(iq)[RATE_HZ // 2 :]
    settled = pcm[RATE_HZ // 20 : RATE_HZ // 10]
    assert tone_amplitude(settled, 1000.0, RATE_HZ) == pytest.approx(0.8, rel=0.1)
    assert abs(settled.mean()) < 0.12


@BOTH
@pytest.mark.parametrize("step_db", [60.0, 20.0, 10.0])
def test_a_carrier_comes_and_goes_without_a_bang(demodulator_class: AnyAm, step_db: float) -> None:
    noise = complex_noise(RATE_HZ, 1e-4, seed=4)
    iq = noise + transmit(0.8, 10.0 ** (step_db / 20.0) * 0.01)
    iq[: RATE_HZ // 3] = noise[: RATE_HZ // 3]
    iq[2 * RATE_HZ // 3 :] = noise[2 * RATE_HZ // 3 :]
    demodulator = demodulator_class(RATE_HZ)
    pcm = demodulator.push(iq)
    late = round(demodulator.delay_s * RATE_HZ)
    for step in (RATE_HZ // 3, 2 * RATE_HZ // 3):
        around = pcm[step + late : step + late + RATE_HZ // 100]
        assert np.abs(around).mean() < 0.3
    assert np.abs(pcm[RATE_HZ // 3 + late : 2 * RATE_HZ // 3]).max() < 1.9


def test_noise_in_quadrature_is_heard_only_in_the_envelope() -> None:
    quadrature = np.random.default_rng(5).standard_normal(RATE_HZ) * 0.3
    iq = (transmit(0.8) + 1j * quadrature).astype(np.complex64)
    synchronous = SynchronousAmDemodulator(RATE_HZ).push(iq)[RATE_HZ // 2 :]
    envelope = AmDemodulator(RATE_HZ).push(iq)[RATE_HZ // 2 :]
    assert sinad_db(synchronous, 1000.0, RATE_HZ) > sinad_db(envelope, 1000.0, RATE_HZ) + 10.0


def test_the_loop_locks_at_3_db_in_the_whole_band() -> None:
    iq = transmit(0.8, 1.4, -1500.0, seconds=2.0) + complex_noise(2 * RATE_HZ, 1.0, seed=6)
    demodulator = SynchronousAmDemodulator(RATE_HZ)
    pcm = demodulator.push(iq)[RATE_HZ:]
    assert demodulator.is_locked
    assert demodulator.readings()["is_locked"] is True
    assert demodulator.frequency_error_hz == pytest.approx(-1500.0, abs=5.0)
    assert tone_amplitude(pcm, 1000.0, RATE_HZ) == pytest.approx(0.8, abs=0.04)


def test_a_carrier_that_fades_is_held_longer_than_it_takes_to_lock() -> None:
    # In noise of power 1, a carrier of 0.65 is in phase with 0.61 of the magnitude's mean.
    steps = ((0.1, False), (0.65, False), (3.0, True), (0.65, True), (0.1, False), (0.65, False))
    demodulator = SynchronousAmDemodulator(RATE_HZ)
    for seed, (amplitude, is_locked) in enumerate(steps):
        held = set()
        for iq in np.split(complex_noise(RATE_HZ, 1.0, seed) + np.float32(amplitude), 10):
            demodulator.push(iq)
            held.add(demodulator.is_locked)
        assert demodulator.is_locked is is_locked
        if amplitude == 0.65:
            assert held == {is_locked}


def test_without_a_carrier_the_loop_gives_the_envelope() -> None:
    noise = complex_noise(RATE_HZ, 1.0, seed=7)
    demodulator = SynchronousAmDemodulator(RATE_HZ)
    got = demodulator.push(noise)
    assert demodulator.is_locked is False
    np.testing.assert_allclose(got, AmDemodulator(RATE_HZ).push(noise), atol=1e-4)


@BOTH
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 6000), max_size=12))
def test_cutting_the_input_changes_nothing(demodulator_class: AnyAm, cuts: list[int]) -> None:
    iq = transmit(0.8, 0.5, 300.0, seconds=0.25) + complex_noise(6000, 0.01, seed=8)
    iq[2000:4000] *= np.float32(0.01)
    demodulator = demodulator_class(RATE_HZ)
    got = [demodulator.push(iq[a:b]) for a, b in pairwise([0, *sorted(cuts), 6000])]
    np.testing.assert_array_equal(np.concatenate(got), demodulator_class(RATE_HZ).push(iq))


@BOTH
@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30])
def test_broken_samples_do_no_lasting_harm(demodulator_class: AnyAm, broken: float) -> None:
    iq = transmit(0.8)
    iq[6000:6010] = broken
    demodulator = demodulator_class(RATE_HZ)
    pcm = np.concatenate((demodulator.push(iq[:8000]), demodulator.push(iq[8000:])))
    assert np.isfinite(pcm).all()
    np.testing.assert_allclose(pcm[12_000:], demodulator_class(RATE_HZ).push(transmit(0.8))[12_000:], atol=0.02)
    assert demodulator.frequency_error_hz == pytest.approx(0.0, abs=1.0)


@BOTH
def test_silence_is_silent_and_has_no_gain(demodulator_class: AnyAm) -> None:
    demodulator = demodulator_class(RATE_HZ)
    np.testing.assert_array_equal(demodulator.push(np.zeros(1000, np.complex64)), 0.0)
    assert demodulator.readings()["gain_db"] is None
    assert demodulator.push(np.zeros(0, np.complex64)).shape == (0,)


@BOTH
def test_reset_forgets_the_past(demodulator_class: AnyAm) -> None:
    iq = transmit(0.8, offset_hz=200.0)
    demodulator = demodulator_class(RATE_HZ)
    first = demodulator.push(iq)
    demodulator.reset()
    np.testing.assert_array_equal(demodulator.push(iq), first)


@BOTH
@pytest.mark.parametrize(("rate_hz", "level_s"), [(3999.0, 0.2), (float("nan"), 0.2), (RATE_HZ, 0.01)])
def test_impossible_settings_are_refused(demodulator_class: AnyAm, rate_hz: float, level_s: float) -> None:
    with pytest.raises(ValueError, match=r"samples a second|measured over"):
        demodulator_class(rate_hz, level_s)
