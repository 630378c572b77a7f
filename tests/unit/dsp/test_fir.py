import numpy as np
import pytest

from app_core.dsp.fir import LowPass, equiripple_taps, kaiser_beta


def magnitude_db(taps: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    places = np.arange(taps.shape[0])
    response = np.abs(np.exp(-2j * np.pi * frequencies[:, None] * places) @ taps)
    return np.asarray(20.0 * np.log10(response + 1e-12))


@pytest.mark.parametrize("attenuation_db", [40.0, 60.0, 85.0])
@pytest.mark.parametrize(("passband", "stopband"), [(0.05, 0.1), (0.2, 0.25), (0.02, 0.03)])
def test_stop_band_is_as_deep_as_stated_and_pass_band_as_flat(
    passband: float, stopband: float, attenuation_db: float
) -> None:
    taps = LowPass.design(passband, stopband, attenuation_db).taps()
    assert magnitude_db(taps, np.linspace(stopband, 0.5, 2000)).max() < -attenuation_db + 1.0
    assert np.abs(magnitude_db(taps, np.linspace(0.0, passband, 200))).max() < 20.0 * 10.0 ** (-attenuation_db / 20.0)


def test_taps_are_symmetric_odd_and_sum_to_one() -> None:
    taps = LowPass.design(0.1, 0.15, 70.0).taps()
    assert taps.shape[0] % 2 == 1
    np.testing.assert_array_equal(taps, taps[::-1])
    assert taps.sum() == pytest.approx(1.0, abs=1e-12)


def test_response_is_zero_at_and_beyond_its_half_width() -> None:
    design = LowPass.design(0.1, 0.15, 70.0)
    outside = design.response(np.array([-design.half_width, design.half_width, design.half_width + 3.3]))
    np.testing.assert_array_equal(outside, 0.0)
    assert design.response(np.array([0.0]))[0] == pytest.approx(2.0 * design.cutoff)


@pytest.mark.parametrize(("passband", "stopband"), [(0.2, 0.2), (0.3, 0.2), (-0.1, 0.2), (float("nan"), 0.2)])
def test_edges_out_of_order_are_refused(passband: float, stopband: float) -> None:
    with pytest.raises(ValueError, match="pass band < stop band"):
        LowPass.design(passband, stopband, 60.0)


def test_a_stop_band_that_no_window_needs_is_refused() -> None:
    assert kaiser_beta(21.0) == 0.0
    assert kaiser_beta(50.0) == pytest.approx(kaiser_beta(50.001), abs=0.03)
    with pytest.raises(ValueError, match="21 dB"):
        kaiser_beta(20.0)


@pytest.mark.parametrize("attenuation_db", [80.0, 88.0])
@pytest.mark.parametrize(("passband", "stopband"), [(0.083, 0.125), (0.208, 0.281), (0.1, 0.4), (1e-5, 0.125)])
def test_the_shortest_filter_is_as_good_as_stated_and_shorter_than_kaiser(
    passband: float, stopband: float, attenuation_db: float
) -> None:
    taps = equiripple_taps(passband, stopband, 0.01, attenuation_db)
    assert magnitude_db(taps, np.linspace(stopband, 0.5, 5000)).max() < -attenuation_db + 0.1
    assert np.abs(magnitude_db(taps, np.linspace(0.0, passband, 500))).max() < 0.0101
    assert taps.shape[0] % 2 == 1
    assert taps.shape[0] <= 0.85 * LowPass.design(passband, stopband, attenuation_db).taps().shape[0]
    np.testing.assert_allclose(taps, taps[::-1], atol=1e-12)


def test_a_filter_too_long_to_be_the_shortest_is_kaisers() -> None:
    taps = equiripple_taps(0.001, 0.002, 0.01, 85.0)
    np.testing.assert_array_equal(taps, LowPass.design(0.001, 0.002, 85.0).taps())


def test_a_design_is_kept_and_cannot_be_written_to() -> None:
    assert equiripple_taps(0.1, 0.2, 0.01, 60.0) is equiripple_taps(0.1, 0.2, 0.01, 60.0)
    assert not equiripple_taps(0.1, 0.2, 0.01, 60.0).flags.writeable


@pytest.mark.parametrize(("stopband", "ripple_db"), [(0.5, 0.01), (0.2, 0.0), (0.05, 0.01)])
def test_a_filter_that_cannot_be_is_refused(stopband: float, ripple_db: float) -> None:
    with pytest.raises(ValueError, match=r"ripple|pass band"):
        equiripple_taps(0.1, stopband, ripple_db, 60.0)
