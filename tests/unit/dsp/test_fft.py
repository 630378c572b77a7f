import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.dsp import fft
from app_core.dsp.fft import FrameFft, InverseFft, frame_cost_ns, largest_prime_factor, row_cost_ns, split
from tests.support.signals import complex_noise

# Split in two with fast rows, split with slow ones, a prime factor that only rows take, a prime, an odd size.
SIZES = [19_200, 4000, 1024, 5000, 18_240, 1009, 675]


@pytest.fixture(params=["installed", "scipy"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "scipy":
        monkeypatch.setattr(fft, "pyfftw", None)
    return str(request.param)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("library")
def test_every_bin_of_a_frame_stands_at_its_place(size: int) -> None:
    frame = complex_noise(size, 1.0, seed=1)
    transform = FrameFft(size)
    transform.frame[:] = frame
    wanted = np.fft.fft(frame.astype(np.complex128))
    for _ in range(2):
        got = transform.transform()[transform.places(np.arange(size))]
        np.testing.assert_allclose(got, wanted, atol=1e-6 * np.abs(wanted).max())
        np.testing.assert_array_equal(transform.frame, frame)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("library")
def test_rows_are_transformed_back_without_a_scale(size: int) -> None:
    n_rows = 5
    rows = complex_noise(n_rows * size, 1.0, seed=2).reshape(n_rows, size)
    inverse = InverseFft(size, n_rows)
    inverse.rows[:n_rows] = rows
    wanted = np.fft.ifft(rows.astype(np.complex128), axis=1) * size
    np.testing.assert_allclose(inverse.transform(n_rows), wanted, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("size", [192, 384, 171, 2048, 9000])
@pytest.mark.usefixtures("library")
def test_a_row_does_not_depend_on_its_place_or_on_the_others(size: int) -> None:
    row: NDArray[np.complex64] = complex_noise(size, 1.0, seed=3)
    single = InverseFft(size, 1)
    single.rows[0] = row
    alone = single.transform(1)[0]
    inverse = InverseFft(size, 100)
    for n_rows in (100, 37, 3):
        inverse.rows[:n_rows] = complex_noise(n_rows * size, 1.0, seed=4).reshape(n_rows, size)
        for place in {0, n_rows // 2, n_rows - 1}:
            inverse.rows[place] = row
        got = inverse.transform(n_rows)
        for place in {0, n_rows // 2, n_rows - 1}:
            np.testing.assert_array_equal(got[place], alone)


@pytest.mark.skipif(fft.LIBRARY != "FFTW", reason="only FFTW is given time")
def test_without_time_to_measure_every_plan_is_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fft, "PLANNING_S", 0.0)
    frame = complex_noise(30_030, 1.0, seed=6)
    wanted = np.fft.fft(frame.astype(np.complex128))
    spectra = []
    for _ in range(2):
        transform = FrameFft(30_030)
        transform.frame[:] = frame
        spectra.append(transform.transform()[transform.places(np.arange(30_030))])
        np.testing.assert_allclose(spectra[-1], wanted, atol=1e-6 * np.abs(wanted).max())
    np.testing.assert_array_equal(spectra[0], spectra[1])


def test_frames_are_split_into_what_is_fast() -> None:
    assert split(19_200) == 15
    assert split(1009) == 1
    assert frame_cost_ns(19_200) < frame_cost_ns(24_000) < frame_cost_ns(18_240)
    assert row_cost_ns(192) < row_cost_ns(216) < row_cost_ns(211)


@pytest.mark.parametrize(("number", "largest"), [(1, 1), (2, 2), (19_200, 5), (18_240, 19), (1009, 1009), (9797, 101)])
def test_largest_prime_factor(number: int, largest: int) -> None:
    assert largest_prime_factor(number) == largest
