from fractions import Fraction

import pytest

from app_core.dsp.frame_plan import LONGEST_FRAME_S, MAX_FRAME_S, FramePlan, exact_rate

RATES = [240e3, 250e3, 256e3, 768e3, 912e3, 1.024e6, 2.048e6, 2.4e6, 2.5e6, 2.88e6, 3.2e6, 10e6, 20e6]


@pytest.mark.parametrize("rate_hz", RATES)
def test_frames_fit_the_rate_are_long_enough_and_not_wasteful(rate_hz: float) -> None:
    ratio = exact_rate(8_000) / exact_rate(rate_hz)
    reach = int(130 * rate_hz / 250e3)
    plan = FramePlan.find(rate_hz, [ratio], reach)
    assert plan.fits(ratio)
    assert plan.fits(3 * ratio)
    assert plan.guard >= reach
    assert plan.size - plan.hop - plan.guard >= reach
    assert plan.size <= MAX_FRAME_S * rate_hz
    assert plan.hop >= 0.75 * plan.size


def test_a_quarter_megasample_takes_frames_of_16_ms() -> None:
    assert FramePlan.find(250e3, [Fraction(4, 125)], 135) == FramePlan(size=4000, hop=3625)


@pytest.mark.parametrize("rate_hz", RATES)
def test_frames_are_folded_the_more_the_fewer_channels_there_are(rate_hz: float) -> None:
    ratios, reach = [exact_rate(8_000) / exact_rate(rate_hz)], int(130 * rate_hz / 250e3)
    assert FramePlan.find(rate_hz, ratios, reach).n_rows == 1
    folded = FramePlan.find(rate_hz, ratios, reach, load=0.01)
    assert FramePlan.find(rate_hz, ratios, reach, load=1.0).n_rows <= folded.n_rows
    # A frame moves on by whole columns.
    assert folded.size % folded.n_rows == folded.hop % folded.n_rows == 0
    assert folded.fits(ratios[0])
    assert folded.guard >= reach
    if rate_hz == 2.4e6:
        assert folded.n_rows == 30
        assert FramePlan.find(rate_hz, ratios, reach, load=1.0).n_rows == 1


def test_a_rate_that_fits_no_short_frame_may_have_a_longer_one() -> None:
    ratio = Fraction(1, 8192)
    plan = FramePlan.find(250e3, [ratio], 10)
    assert plan.fits(ratio)
    assert MAX_FRAME_S * 250e3 < plan.size <= LONGEST_FRAME_S * 250e3


@pytest.mark.parametrize("ratio", [Fraction(12_000, 1_041_667), Fraction(24_000, 1_000_001), Fraction(2, 101)])
def test_a_rate_that_no_fast_frame_fits_has_many_sizes_to_choose_from(ratio: Fraction) -> None:
    plan = FramePlan.find(1e6, [ratio], 500)
    assert not plan.fits(ratio)
    assert plan.guard >= 500
    sizes = plan.inverse_sizes(ratio)
    assert len(sizes) >= 8
    assert sizes[0] >= ratio * plan.size
    for size in sizes:
        assert plan.fits(Fraction(size, plan.size))


def test_filters_longer_than_a_short_frame_are_served() -> None:
    plan = FramePlan.find(250e3, [Fraction(1, 100)], 20_000)
    assert plan.guard >= 20_000
    assert plan.hop >= plan.size // 2


def test_frames_without_any_channel_exist() -> None:
    plan = FramePlan.find(1.0, [], 0)
    assert plan.size > plan.hop > 0


def test_rates_with_noise_in_their_last_digits_are_exact() -> None:
    assert exact_rate(2083333.3333333333) == Fraction(6250000, 3)
    assert exact_rate(250000.00000000003) == 250000
