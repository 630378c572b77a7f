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


AUDIO_RATES_HZ = [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
IQ_RATES_HZ = [24_000, 32_000, 85_333]


def voice_resampler(iq_rate_hz: int, audio_rate_hz: int, n_rows: int | None = None) -> Resampler[np.float32]:
    """As a channel's audio is filtered."""
    passband_hz = min(5000.0, 0.425 * audio_rate_hz)
    ratio = Fraction(audio_rate_hz, iq_rate_hz)
    return Resampler(ratio, passband_hz / iq_rate_hz, 1.35 * passband_hz / iq_rate_hz, np.float32, n_rows)


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


@pytest.mark.parametrize("audio_rate_hz", AUDIO_RATES_HZ)
@pytest.mark.parametrize("iq_rate_hz", IQ_RATES_HZ)
def test_images_at_every_audio_rate_are_80_db_down_and_voice_is_flat(iq_rate_hz: int, audio_rate_hz: int) -> None:
    for frequency_hz in (300.0, 1000.0, 3000.0, 3400.0):
        tone = audio_tone(frequency_hz, iq_rate_hz, iq_rate_hz // 2).astype(np.float32)
        edge = audio_rate_hz // 20
        got = voice_resampler(iq_rate_hz, audio_rate_hz).push(tone)[edge:-edge].astype(np.float64)
        at_s = np.arange(got.shape[0]) / audio_rate_hz
        turns = 2.0 * np.pi * frequency_hz * at_s
        parts = np.stack((np.cos(turns), np.sin(turns)), axis=1)
        found, *_ = np.linalg.lstsq(parts, got, rcond=None)
        assert np.hypot(*found) == pytest.approx(1.0, abs=0.003)
        # All that is not the tone: images, aliases, rounding.
        spectrum = np.abs(np.fft.rfft((got - parts @ found) * np.blackman(got.shape[0])))
        assert spectrum.max() / (np.blackman(got.shape[0]).sum() / 2.0) < 1e-4


@pytest.mark.parametrize("audio_rate_hz", AUDIO_RATES_HZ)
def test_what_no_audio_rate_can_hold_is_80_db_down(audio_rate_hz: int) -> None:
    stopband_hz = 1.35 * min(5000.0, 0.425 * audio_rate_hz)
    for frequency_hz in (1.001 * stopband_hz, 0.5 * (stopband_hz + 12_000.0), 11_900.0):
        tone = audio_tone(frequency_hz, 24_000, 12_000).astype(np.float32)
        got = voice_resampler(24_000, audio_rate_hz).push(tone)
        edge = audio_rate_hz // 20
        assert np.abs(got[edge:-edge]).max() < 1e-4


def test_narrow_audio_takes_the_short_way() -> None:
    resampler = voice_resampler(24_000, 48_000)
    assert resampler._smoother is not None
    assert resampler._interpolator is not None
    assert resampler._interpolator._half_band_taps is not None
    # Half a filter of 55 taps, and half an interpolator of 16.
    assert resampler.latency == 27 + 8
    assert voice_resampler(24_000, 8_000)._smoother is None


@settings(max_examples=40, deadline=None)
@given(
    rates=st.tuples(st.sampled_from(IQ_RATES_HZ), st.sampled_from(AUDIO_RATES_HZ)),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
    rows=st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
)
def test_a_signal_does_not_know_what_stands_beside_it(rates: tuple[int, int], cuts: list[int], rows: list[int]) -> None:
    samples = np.random.default_rng(4).standard_normal((5, 3000)).astype(np.float32)
    alone = [voice_resampler(*rates) for _ in range(5)]
    wanted = [np.concatenate((one.push(row), one.flush())) for one, row in zip(alone, samples, strict=True)]
    together = voice_resampler(*rates, n_rows=5)
    edges = [0, *sorted(cuts), 3000]
    half = len(edges) // 2
    parts = [together.push(samples[:, a:b])[rows] for a, b in pairwise(edges[: half + 1])]
    # Some of the signals go on alone, in another order.
    fewer = together.take(rows)
    parts += [fewer.push(samples[rows, a:b]) for a, b in pairwise(edges[half:])]
    got = np.concatenate((*parts, fewer.flush()), axis=1)
    for row, one in zip(rows, got, strict=True):
        np.testing.assert_array_equal(one, wanted[row])


def test_complex_signals_stand_side_by_side_too() -> None:
    def make(n_rows: int | None) -> Resampler[np.complex64]:
        return Resampler(Fraction(641, 1283), 0.2, 0.29, np.complex64, n_rows)

    iq = np.stack([complex_tone(0.05 * (row + 1), 1.0, 2000) for row in range(3)])
    together = make(3).push(iq)
    for row in range(3):
        np.testing.assert_array_equal(together[row], make(None).push(iq[row]))
    np.testing.assert_array_equal(make(3).take([2]).push(iq[2:])[0], together[2])


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("first_input", [1, 1000, 123_457])
def test_a_stream_that_begins_later_keeps_its_place(ratio: Fraction, first_input: int) -> None:
    frequency = 0.1 * min(1.0, float(ratio))
    resampler = audio_resampler(ratio)
    resampler.reset(first_input)
    samples = np.sin(2.0 * np.pi * frequency * (first_input + np.arange(3000))).astype(np.float32)
    got = np.concatenate((resampler.push(samples), resampler.flush()))
    first_output = -(-first_input * ratio.numerator // ratio.denominator)
    last_output = -(-(first_input + 3000) * ratio.numerator // ratio.denominator)
    assert got.shape[0] == last_output - first_output
    wanted = np.sin(2.0 * np.pi * frequency * (first_output + np.arange(got.shape[0])) / float(ratio))
    edge = int(resampler.latency * float(ratio)) + 1
    np.testing.assert_allclose(got[edge:-edge], wanted[edge:-edge], atol=3e-4)
