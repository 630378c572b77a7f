from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.dsp.resampler import Resampler
from tests.support.signals import audio_tone, complex_tone, tone_amplitude, tone_frequency_hz

RATIOS = [
    Fraction(1),
    Fraction(1, 3),
    Fraction(2),
    Fraction(147, 160),
    Fraction(2, 3),
    Fraction(1, 40),
    Fraction(1044000, 1041667),
    Fraction(641, 1283),
]


def audio_resampler(ratio: Fraction) -> Resampler[np.float32]:
    passband = 0.4 * min(1.0, float(ratio))
    return Resampler(ratio, passband, min(1.0, float(ratio)) - passband, np.float32)


@pytest.mark.parametrize("ratio", RATIOS)
def test_output_count_is_the_length_times_the_ratio(ratio: Fraction) -> None:
    resampler = audio_resampler(ratio)
    for n in (1000, 1, 777):
        got = resampler.push(np.zeros(n, np.float32)).shape[0] + resampler.flush().shape[0]
        assert got == -(-n * ratio.numerator // ratio.denominator)


@pytest.mark.parametrize("ratio", RATIOS)
def test_output_stands_at_the_time_of_its_input(ratio: Fraction) -> None:
    frequency = 0.1 * min(1.0, float(ratio))
    n = 4000
    resampler = audio_resampler(ratio)
    samples = audio_tone(frequency, 1.0, n).astype(np.float32)
    got = np.concatenate((resampler.push(samples), resampler.flush()))
    wanted = np.sin(2.0 * np.pi * frequency * np.arange(got.shape[0]) / float(ratio))
    edge = int(resampler.latency * float(ratio)) + 1
    np.testing.assert_allclose(got[edge:-edge], wanted[edge:-edge], atol=2e-4)


@pytest.mark.parametrize("ratio", RATIOS)
def test_images_and_aliases_are_80_db_down(ratio: Fraction) -> None:
    narrow = min(1.0, float(ratio))
    for frequency, wanted in ((0.35 * narrow, 1.0), (0.62 * narrow, None)):
        if wanted is None and narrow > 0.75:
            continue  # above the input's Nyquist frequency
        resampler = Resampler(ratio, 0.4 * narrow, 0.6 * narrow, np.complex64)
        n = int(40_000 / narrow)
        got = resampler.push(complex_tone(frequency, 1.0, n))[400:]
        kept = tone_amplitude(got, frequency, float(ratio))
        if wanted is None:
            assert np.abs(got).max() < 1e-4
            continue
        assert kept == pytest.approx(wanted, rel=2e-4)
        n_got = got.shape[0]
        spectrum = np.abs(np.fft.fft(got * np.blackman(n_got))) / np.blackman(n_got).sum()
        spectrum = np.roll(spectrum, n_got // 2 - int(np.argmax(spectrum)))
        others = np.delete(spectrum, np.s_[n_got // 2 - 40 : n_got // 2 + 41])
        assert others.max() < 1e-4


def test_a_constant_keeps_its_value_in_every_phase() -> None:
    resampler = audio_resampler(Fraction(147, 160))
    got = resampler.push(np.ones(2000, np.float32))[100:]
    np.testing.assert_allclose(got, 1.0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(ratio=st.sampled_from(RATIOS), cuts=st.lists(st.integers(0, 1500), max_size=12))
def test_cutting_the_input_changes_nothing(ratio: Fraction, cuts: list[int]) -> None:
    samples = np.random.default_rng(3).standard_normal(1500).astype(np.float32)
    whole, cut = audio_resampler(ratio), audio_resampler(ratio)
    wanted = np.concatenate((whole.push(samples), whole.flush()))
    edges = [0, *sorted(cuts), 1500]
    parts = [cut.push(samples[a:b]) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate((*parts, cut.flush())), wanted)


def test_reset_forgets_the_past() -> None:
    resampler = audio_resampler(Fraction(2, 3))
    samples = np.random.default_rng(3).standard_normal(500).astype(np.float32)
    first = resampler.push(samples)
    resampler.reset()
    np.testing.assert_array_equal(resampler.push(samples), first)


def test_audio_rates_keep_the_pitch() -> None:
    resampler = audio_resampler(Fraction(22050, 24000))
    got = resampler.push(audio_tone(1000.0, 24_000.0, 24_000).astype(np.float32))
    assert tone_frequency_hz(got[200:], 22_050.0) == pytest.approx(1000.0, rel=1e-4)


@pytest.mark.parametrize(
    ("ratio", "passband", "stopband"), [(Fraction(0), 0.1, 0.2), (Fraction(-1), 0.1, 0.2), (Fraction(1, 3), 0.1, 0.3)]
)
def test_what_would_alias_is_refused(ratio: Fraction, passband: float, stopband: float) -> None:
    with pytest.raises(ValueError, match=r"positive|folds"):
        Resampler(ratio, passband, stopband, np.float32)
