"""Noise told by the side tones alone."""

import numpy as np
import pytest

from app_core.eas.noise import LEVELS, fit_side_noise, refreshed, regimes, side_power, tone_noise

N = 800


def tones(seed: int, upper: float = 1.0, lower: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    both = (rng.standard_normal((N, 2)) + 1j * rng.standard_normal((N, 2))) * np.sqrt(0.5)
    return np.asarray(both * np.sqrt([upper, lower]))


VALID = np.ones(N, np.bool_)


@pytest.mark.parametrize(("upper", "lower"), [(1.0, 1.0), (0.2, 1.8)])
def test_side_tones_of_unlike_noise_count_alike(upper: float, lower: float) -> None:
    power = side_power(tones(1, upper, lower), VALID, N)
    # The sum of two equal exponential variables: variance half the squared mean.
    assert power.var() / power.mean() ** 2 == pytest.approx(0.5, abs=0.1)


def test_silence_has_no_power() -> None:
    assert not side_power(np.zeros((N, 2), complex), VALID, N).any()
    assert not side_power(tones(1)[:0], VALID[:0], 0).any()


def test_white_noise_has_one_level() -> None:
    noise = fit_side_noise(side_power(tones(2), VALID, N), VALID, N)
    assert noise.base == pytest.approx(1.0, rel=0.15)
    assert noise.regime is regimes()[0]
    assert noise.weight.min() > 0.5


def test_an_impulse_is_louder_than_its_surroundings() -> None:
    both = tones(3)
    both[300:321] *= 30.0
    noise = fit_side_noise(side_power(both, VALID, N), VALID, N)
    assert noise.base == pytest.approx(1.0, rel=0.2)
    assert noise.weight[302:319].max() < 0.02
    assert np.median(noise.weight[:290]) > 0.8
    assert noise.usual(LEVELS)[310] > 50.0


def test_lost_bits_have_no_weight() -> None:
    valid = VALID.copy()
    valid[100:110] = False
    noise = fit_side_noise(side_power(tones(4), valid, N), valid, N)
    assert not noise.weight[100:110].any()
    assert np.all(noise.power[100:110] == -1.0)
    nothing = fit_side_noise(np.ones(N), np.zeros(N, np.bool_), N)
    assert not nothing.weight.any()


def test_refreshed_noise_keeps_its_base() -> None:
    power = side_power(tones(5), VALID, N)
    noise = fit_side_noise(power, VALID, N)
    again = refreshed(noise, power, VALID)
    assert again.base == noise.base
    np.testing.assert_allclose(again.weight, noise.weight)


def test_a_tone_s_noise_has_a_part_of_its_own() -> None:
    rng = np.random.default_rng(6)
    both = tones(6)
    both[::4] *= 4.0
    noise = fit_side_noise(side_power(both, VALID, N), VALID, N)
    level = np.where(np.arange(N) % 4 == 0, 16.0, 1.0)
    left = (2.0 + 0.5 * level) * rng.exponential(size=N)
    expected = tone_noise(left, noise, 0.0)
    assert expected[0] == pytest.approx(2.5, rel=0.3)
    # The level of each bit is told by two tones only: within a factor of two.
    assert 5.0 < np.interp(16.0, LEVELS, expected) < 20.0
    assert tone_noise(left, noise, 100.0).min() >= 100.0
