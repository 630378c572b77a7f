from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.demod.fm import FmDemodulator, FmStack
from tests.support.signals import audio_tone, complex_noise, fm_modulate, preemphasis_gain, tone_amplitude

RATE_HZ = 24_000


def transmit(
    frequency_hz: float, amplitude: float, deviation_hz: float = 5000.0, offset_hz: float = 0.0
) -> NDArray[np.complex64]:
    """One second of a tone on FM, sampled at `RATE_HZ`; the frequency moves within each sample, as on the air."""
    audio = audio_tone(frequency_hz, 10 * RATE_HZ, 10 * RATE_HZ, amplitude)
    return np.ascontiguousarray(fm_modulate(audio, 10 * RATE_HZ, deviation_hz, offset_hz)[::10])


def test_a_reference_tone_at_the_full_deviation_has_amplitude_one() -> None:
    iq = transmit(1000.0, 1.0) * np.float32(0.01)
    for deemphasis_hz in (300.0, None):
        pcm = FmDemodulator(RATE_HZ, deemphasis_hz=deemphasis_hz).push(iq)[2400:]
        assert tone_amplitude(pcm, 1000.0, RATE_HZ) == pytest.approx(1.0, rel=0.002)
    pcm = FmDemodulator(RATE_HZ, deviation_hz=2500.0).push(iq)[2400:]
    assert tone_amplitude(pcm, 1000.0, RATE_HZ) == pytest.approx(2.0, rel=0.002)


@pytest.mark.parametrize("frequency_hz", [300, 500, 1000, 1562.5, 2083.3, 3000, 3400])
def test_preemphasised_audio_comes_out_flat(frequency_hz: float) -> None:
    pcm = FmDemodulator(RATE_HZ).push(transmit(frequency_hz, 0.2 * preemphasis_gain(frequency_hz)))[2400:]
    gain_db = 20.0 * np.log10(tone_amplitude(pcm, frequency_hz, RATE_HZ) / 0.2)
    assert abs(gain_db) < 0.3


def test_without_deemphasis_the_audio_follows_the_frequency() -> None:
    pcm = FmDemodulator(RATE_HZ, deemphasis_hz=None).push(transmit(3000.0, 0.5))[2400:]
    assert tone_amplitude(pcm, 3000.0, RATE_HZ) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("error_hz", [-2000.0, 300.0, 2000.0])
def test_mistuning_is_measured_and_leaves_the_audio(error_hz: float) -> None:
    demodulator = FmDemodulator(RATE_HZ)
    iq = transmit(1000.0, 0.6, offset_hz=error_hz)
    pcm = demodulator.push(iq)[2400:]
    assert abs(pcm.mean()) < 1e-3
    assert tone_amplitude(pcm, 1000.0, RATE_HZ) == pytest.approx(0.6, rel=0.002)
    assert demodulator.frequency_error_hz == pytest.approx(error_hz, abs=2.0)
    assert demodulator.deviation_hz == pytest.approx(3000.0, rel=0.01)


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_cutting_the_input_changes_nothing(cuts: list[int]) -> None:
    iq = complex_noise(5000, 1.0, seed=1)
    demodulator = FmDemodulator(RATE_HZ)
    got = [demodulator.push(iq[a:b]) for a, b in pairwise([0, *sorted(cuts), 5000])]
    np.testing.assert_array_equal(np.concatenate(got), FmDemodulator(RATE_HZ).push(iq))


def test_noise_is_bounded_and_silence_is_silent() -> None:
    noise = FmDemodulator(RATE_HZ, deviation_hz=500.0, deemphasis_hz=None).push(complex_noise(RATE_HZ, 1.0, seed=2))
    assert np.abs(noise).max() == 4.0
    np.testing.assert_array_equal(FmDemodulator(RATE_HZ).push(np.zeros(100, np.complex64)), 0.0)
    assert FmDemodulator(RATE_HZ).push(np.zeros(0, np.complex64)).shape == (0,)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30])
def test_broken_samples_do_no_lasting_harm(broken: float) -> None:
    iq = transmit(1000.0, 0.6)
    iq[1000:1010] = broken
    demodulator = FmDemodulator(RATE_HZ)
    pcm = np.concatenate((demodulator.push(iq[:2000]), demodulator.push(iq[2000:])))
    assert np.isfinite(pcm).all()
    clean = FmDemodulator(RATE_HZ).push(transmit(1000.0, 0.6))
    np.testing.assert_allclose(pcm[5000:], clean[5000:], atol=1e-3)
    assert demodulator.frequency_error_hz == pytest.approx(0.0, abs=50.0)


def test_reset_forgets_the_past() -> None:
    iq = complex_noise(1000, 1.0, seed=3)
    demodulator = FmDemodulator(RATE_HZ)
    first = demodulator.push(iq)
    demodulator.reset()
    np.testing.assert_array_equal(demodulator.push(iq), first)


@pytest.mark.parametrize(
    ("rate_hz", "deviation_hz", "deemphasis_hz"),
    [(2000.0, 5000.0, 300.0), (24_000.0, 0.0, 300.0), (24_000.0, 5000.0, 0.0), (24_000.0, float("nan"), 300.0)],
)
def test_impossible_settings_are_refused(rate_hz: float, deviation_hz: float, deemphasis_hz: float) -> None:
    with pytest.raises(ValueError, match=r"positive|samples a second"):
        FmDemodulator(rate_hz, deviation_hz, deemphasis_hz)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=8), rows=st.lists(st.integers(0, 8), min_size=1, unique=True))
def test_a_channel_does_not_know_what_stands_beside_it(cuts: list[int], rows: list[int]) -> None:
    iq = complex_noise(9 * 3000, 1.0, seed=4).reshape(9, 3000)
    wanted = [FmDemodulator(RATE_HZ).push(row) for row in iq]
    stack = FmStack(RATE_HZ, 9)
    edges = [0, *sorted(cuts), 3000]
    half = len(edges) // 2
    parts = [stack.push(iq[:, a:b])[rows] for a, b in pairwise(edges[: half + 1])]
    fewer = stack.take(rows)
    parts += [fewer.push(iq[rows, a:b]) for a, b in pairwise(edges[half:])]
    for row, pcm in zip(rows, np.concatenate(parts, axis=1), strict=True):
        np.testing.assert_array_equal(pcm, wanted[row])


def test_every_channel_of_a_stack_has_its_own_readings() -> None:
    errors_hz = [-2000.0, 0.0, 500.0]
    stack = FmStack(RATE_HZ, 3)
    stack.push(np.stack([transmit(1000.0, 0.2 * (row + 1), offset_hz=error) for row, error in enumerate(errors_hz)]))
    np.testing.assert_allclose(stack.frequency_error_hz, errors_hz, atol=2.0)
    np.testing.assert_allclose(stack.deviation_hz, [1000.0, 2000.0, 3000.0], rtol=0.01)
    stack.push(np.zeros((3, 0), np.complex64))
    np.testing.assert_allclose(stack.take([2]).deviation_hz, [3000.0], rtol=0.01)


def test_a_demodulator_says_what_it_gives() -> None:
    demodulator = FmDemodulator(RATE_HZ)
    assert (demodulator.n_audio, demodulator.delay_s) == (1, 0.0)
    assert demodulator.readings() == {}
