from fractions import Fraction

import pytest

from app_core.dsp.frame_plan import MAX_FRAME_S, FramePlan, exact_rate, power_of_two_decimation


@pytest.mark.parametrize("rate_hz", [240e3, 250e3, 256e3, 912e3, 1.024e6, 2.048e6, 2.4e6, 2.5e6, 3.2e6, 10e6])
def test_frames_are_whole_at_both_ends_long_enough_and_not_wasteful(rate_hz: float) -> None:
    ratio = exact_rate(24_000) / exact_rate(rate_hz)
    reach = int(170 * rate_hz / 250e3)
    plan = FramePlan.find([ratio] * 7, reach, rate_hz)
    assert plan is not None
    assert (plan.size * ratio).denominator == 1
    assert (plan.guard * ratio).denominator == 1
    assert plan.guard >= reach
    assert plan.size <= MAX_FRAME_S * rate_hz
    assert plan.hop >= 0.75 * plan.size


def test_a_quarter_megasample_needs_no_resampler() -> None:
    assert FramePlan.find([Fraction(12, 125)], 168, 250e3) == FramePlan(size=4000, guard=250)


def test_different_output_rates_share_one_frame() -> None:
    ratios = [Fraction(12, 125), Fraction(8, 125), Fraction(1, 1)]
    plan = FramePlan.find(ratios, 168, 250e3)
    assert plan is not None
    assert all((plan.size * ratio).denominator == 1 for ratio in ratios)


def test_a_ratio_that_no_frame_fits_has_no_plan() -> None:
    assert FramePlan.find([Fraction(12000, 1041667)], 1400, 2_083_334.0) is None


@pytest.mark.parametrize(
    ("ratio", "decimation"), [(Fraction(1), 1), (Fraction(2, 3), 1), (Fraction(1, 2), 2), (Fraction(1, 87), 64)]
)
def test_power_of_two_stays_at_or_above_the_ratio(ratio: Fraction, decimation: int) -> None:
    assert power_of_two_decimation(ratio) == Fraction(1, decimation)


def test_rates_with_noise_in_their_last_digits_are_exact() -> None:
    assert exact_rate(2083333.3333333333) == Fraction(6250000, 3)
    assert exact_rate(250000.00000000003) == 250000
