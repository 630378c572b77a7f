import numpy as np
import pytest

from app_core.demod.noise_floor import LOW_DB, BandSpectrum, NoiseFloor
from tests.support.signals import complex_noise, complex_tone

RATE_HZ = 24_000
N_WINDOW = 480


def ratios(spectrum: BandSpectrum, iq: np.ndarray[tuple[int], np.dtype[np.complex64]]) -> list[float]:
    return [spectrum.push(window) for window in iq.reshape(-1, N_WINDOW)][1:]


@pytest.mark.parametrize(("bandwidth_hz", "center_hz"), [(24_000.0, 0.0), (10_000.0, 0.0), (6_000.0, 4_000.0)])
@pytest.mark.parametrize("level_db", [-180.0, 0.0, 120.0])
def test_a_tone_reads_its_ratio_to_the_noise_of_the_channel(
    bandwidth_hz: float, center_hz: float, level_db: float
) -> None:
    spectrum = BandSpectrum(RATE_HZ, bandwidth_hz, center_hz, N_WINDOW)
    amplitude = 10.0 ** (level_db / 20.0)
    noise = complex_noise(200 * N_WINDOW, amplitude**2, seed=1)
    assert np.mean(ratios(spectrum, noise)) == pytest.approx(0.0, abs=0.05)
    spectrum.reset()
    tone = complex_tone(center_hz + 700.0, RATE_HZ, 200 * N_WINDOW, amplitude)
    wanted = RATE_HZ / (0.9 * bandwidth_hz)
    assert np.mean(ratios(spectrum, noise + tone)) == pytest.approx(wanted, rel=0.1)


def test_what_is_outside_the_channel_is_not_seen() -> None:
    spectrum = BandSpectrum(RATE_HZ, 6_000.0, 4_000.0, N_WINDOW)
    iq = complex_noise(100 * N_WINDOW, 1.0, seed=2) + complex_tone(-4_000.0, RATE_HZ, 100 * N_WINDOW, 10.0)
    assert np.mean(ratios(spectrum, iq.astype(np.complex64))) == pytest.approx(0.0, abs=0.05)


def test_silence_and_a_tone_without_noise_read_as_numbers() -> None:
    spectrum = BandSpectrum(RATE_HZ, 10_000.0, 0.0, N_WINDOW)
    assert spectrum.push(np.zeros(N_WINDOW, np.complex64)) == 0.0
    assert 1e3 < spectrum.push(np.ones(N_WINDOW, np.complex64)) <= 1e8
    assert np.isfinite(BandSpectrum(RATE_HZ, 1.0, 5.0, 1).push(np.ones(1, np.complex64)))


def test_a_signal_that_was_there_first_is_not_learned_as_noise() -> None:
    floor = NoiseFloor(0.02)
    for _ in range(20):
        assert floor.measure(10.0, 200.0, 9.0, 8.0) == pytest.approx(9.54, abs=0.01)
    # The same level, in a spectrum that no longer shows it.
    assert floor.measure(10.0, 200.0, 0.4, 8.0) == pytest.approx(9.54, abs=0.01)


@pytest.mark.parametrize(("ratio", "is_learned"), [(0.1, True), (0.8, False)])
def test_only_a_flat_spectrum_is_learned_as_noise(ratio: float, is_learned: bool) -> None:
    floor = NoiseFloor(0.02)
    for _ in range(20):
        floor.measure(1.0, 2.0, 0.0, 8.0)
    for _ in range(260):
        reading_db = floor.measure(100.0, 20_000.0, ratio, 8.0)
    assert (reading_db < 0.0) is is_learned
    assert floor.measure(0.0, 0.0, 0.0, 8.0) == LOW_DB
