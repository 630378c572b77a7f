import numpy as np
import pytest

from app_core.dsp.measure import (
    FLOOR_DBFS,
    MAX_SNR_DB,
    channel_snr_db,
    clipping_share,
    constant_envelope_snr_db,
    level_dbfs,
    mean_power,
    power_dbfs,
)
from app_core.dsp.spectrum import SpectrumEstimator
from tests.support.signals import complex_noise, complex_tone

RATE_HZ = 250e3


@pytest.mark.parametrize("wanted_dbfs", [0.0, -37.5, -100.0])
def test_level_of_a_tone_is_its_amplitude(wanted_dbfs: float) -> None:
    iq = complex_tone(1234.0, RATE_HZ, 10_000, 10.0 ** (wanted_dbfs / 20.0))
    assert level_dbfs(iq) == pytest.approx(wanted_dbfs, abs=1e-3)
    assert level_dbfs(iq[::2]) == pytest.approx(wanted_dbfs, abs=1e-3)


def test_nothing_reads_the_floor() -> None:
    assert level_dbfs(np.zeros(10, np.complex64)) == FLOOR_DBFS
    assert level_dbfs(np.zeros(0, np.complex64)) == FLOOR_DBFS
    assert mean_power(np.zeros(0, np.complex64)) == 0.0
    assert power_dbfs(float("nan")) == FLOOR_DBFS


def test_clipping_counts_samples_and_not_components() -> None:
    iq = np.array([1 + 1j, -1.0, 1j, 0.98 + 0.98j, 0.0, 0.0, 0.0, 0.0], np.complex64)
    assert clipping_share(iq) == 3 / 8
    assert clipping_share(iq, 0.98) == 4 / 8
    assert clipping_share(iq[:0]) == 0.0


def averaged_spectrum(iq: np.ndarray) -> np.ndarray:
    estimator = SpectrumEstimator(2048)
    estimator.push(iq)
    spectrum = estimator.read()
    assert spectrum is not None
    return spectrum


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("offset_hz", [0.0, 75_000.0, -110_000.0])
def test_snr_is_over_the_noise_in_the_channel_alone(snr_db: float, offset_hz: float) -> None:
    n = 2048 * 32
    noise_power = 1e-4 * RATE_HZ / 16_000.0
    iq = complex_noise(n, noise_power, seed=3) + complex_tone(offset_hz, RATE_HZ, n, 10.0 ** ((snr_db - 40.0) / 20.0))
    wanted = 10.0 * np.log10(1.0 + 10.0 ** (snr_db / 10.0))
    got = channel_snr_db(averaged_spectrum(iq), RATE_HZ, offset_hz, 16_000.0)
    assert got == pytest.approx(wanted + 0.5, abs=0.6)
    elsewhere = channel_snr_db(averaged_spectrum(iq), RATE_HZ, 30_000.0, 16_000.0)
    assert elsewhere == pytest.approx(0.5, abs=0.6)


def test_strong_neighbours_do_not_raise_the_noise() -> None:
    n = 2048 * 32
    iq = complex_noise(n, 1e-4, seed=3)
    for i in range(7):
        iq = iq + complex_tone(-75e3 + 25e3 * i, RATE_HZ, n, 0.1)
    alone = complex_noise(n, 1e-4, seed=3) + complex_tone(0.0, RATE_HZ, n, 0.1)
    together_db = channel_snr_db(averaged_spectrum(iq), RATE_HZ, 0.0, 16_000.0)
    assert together_db == pytest.approx(channel_snr_db(averaged_spectrum(alone), RATE_HZ, 0.0, 16_000.0), abs=1.0)


def test_snr_has_limits_and_an_outside_channel_none() -> None:
    assert channel_snr_db(averaged_spectrum(np.zeros(2048, np.complex64)), RATE_HZ, 0.0, 16_000.0) == 0.0
    silence_and_tone = np.full(2048, FLOOR_DBFS, np.float32)
    silence_and_tone[1024] = 0.0
    assert channel_snr_db(silence_and_tone, RATE_HZ, 0.0, 1.0) == MAX_SNR_DB
    with pytest.raises(ValueError, match="outside"):
        channel_snr_db(silence_and_tone, RATE_HZ, 200_000.0, 16_000.0)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
def test_moments_of_a_carrier_in_noise_give_its_snr(snr_db: float) -> None:
    n = 200_000
    z = complex_tone(1000.0, RATE_HZ, n) + complex_noise(n, 10.0 ** (-snr_db / 10.0), seed=4)
    power = np.abs(z.astype(np.complex128)) ** 2
    assert constant_envelope_snr_db(power.mean(), (power**2).mean()) == pytest.approx(snr_db, abs=0.3)


def test_moments_of_noise_of_silence_and_of_a_clean_carrier_stay_within_limits() -> None:
    power = np.abs(complex_noise(100_000, 1.0, seed=5).astype(np.complex128)) ** 2
    assert constant_envelope_snr_db(power.mean(), (power**2).mean()) < -5.0
    assert constant_envelope_snr_db(0.0, 0.0) == -10.0
    assert constant_envelope_snr_db(float("nan"), 1.0) == -10.0
    assert constant_envelope_snr_db(1.0, 1.0) == MAX_SNR_DB
