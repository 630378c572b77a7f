from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.demod.agc import TARGET, Agc
from app_core.demod.ssb import Sideband, SidebandFilter, SsbDemodulator
from tests.support.signals import complex_noise, complex_tone, tone_amplitude

RATE_HZ = 24_000
SIDEBANDS = pytest.mark.parametrize(("sideband", "sign"), [("usb", 1.0), ("lsb", -1.0)])


def constant_gain(sideband: Sideband, bandwidth_hz: float = 2800.0) -> SsbDemodulator:
    """A demodulator whose gain a full-scale sample has fixed for the time of a test."""
    agc = Agc(RATE_HZ, hang_s=1e6)
    demodulator = SsbDemodulator(RATE_HZ, sideband, bandwidth_hz, agc)
    agc.push(np.ones(RATE_HZ, np.float32))
    return demodulator


def response_db(sideband: Sideband, frequency_hz: float, bandwidth_hz: float = 2800.0) -> float:
    pcm = constant_gain(sideband, bandwidth_hz).push(complex_tone(frequency_hz, RATE_HZ, RATE_HZ))[2400:]
    return float(10.0 * np.log10(2.0 * np.square(pcm.astype(np.float64)).mean() / TARGET**2 + 1e-12))


@SIDEBANDS
@pytest.mark.parametrize("bandwidth_hz", [500.0, 2400.0, 2800.0, 6000.0])
def test_the_sideband_is_kept_and_all_else_suppressed(sideband: Sideband, sign: float, bandwidth_hz: float) -> None:
    for audio_hz in (300.0, (300.0 + bandwidth_hz) / 2.0, bandwidth_hz):
        assert response_db(sideband, sign * audio_hz, bandwidth_hz) == pytest.approx(0.0, abs=0.1)
    for audio_hz in (1.0, -300.0, -1000.0, -bandwidth_hz, bandwidth_hz + 300.0, 11_000.0):
        assert response_db(sideband, sign * audio_hz, bandwidth_hz) < -66.0


@SIDEBANDS
def test_a_suppressed_carrier_is_at_least_60_db_down(sideband: Sideband, sign: float) -> None:
    pcm = constant_gain(sideband).push(np.full(RATE_HZ, np.exp(1j), np.complex64))[2400:]
    assert np.abs(pcm).max() < 1e-3 * TARGET


@SIDEBANDS
@pytest.mark.parametrize("level_dbfs", [0.0, -60.0, -90.0])
def test_a_tone_of_any_level_is_clean(sideband: Sideband, sign: float, level_dbfs: float) -> None:
    iq = complex_tone(sign * 1000.0, RATE_HZ, RATE_HZ, 10.0 ** (level_dbfs / 20.0))
    demodulator = SsbDemodulator(RATE_HZ, sideband)
    pcm = demodulator.push(iq)[RATE_HZ // 2 :]
    assert tone_amplitude(pcm, 1000.0, RATE_HZ) == pytest.approx(TARGET, rel=0.001)
    turns = 2.0 * np.pi * 1000.0 / RATE_HZ * np.arange(pcm.shape[0])
    parts = np.stack((np.sin(turns), np.cos(turns)), axis=1)
    rest = pcm - parts @ np.linalg.lstsq(parts, pcm.astype(np.float64), rcond=None)[0]
    assert 10.0 * np.log10(pcm.var() / rest.var()) > 60.0
    assert demodulator.readings()["gain_db"] == pytest.approx(20.0 * np.log10(TARGET) - level_dbfs, abs=0.1)


@SIDEBANDS
def test_the_filter_keeps_its_sideband_as_it_is_wherever_the_stream_is_cut(sideband: Sideband, sign: float) -> None:
    late = round(SsbDemodulator(RATE_HZ, sideband).delay_s * RATE_HZ)
    wanted = complex_tone(sign * 1000.0, RATE_HZ, 6000, 0.5)
    iq = wanted + complex_tone(-sign * 1000.0, RATE_HZ, 6000, 0.5) + np.complex64(0.5)
    kept, cut = (SidebandFilter(RATE_HZ, sideband, 2800.0) for _ in range(2))
    got = kept.push(iq)
    np.testing.assert_allclose(got[1000 + late :], wanted[1000:-late], atol=1e-3)
    np.testing.assert_array_equal(np.concatenate([cut.push(part) for part in np.split(iq, [0, 7, 7, 3001])]), got)
    kept.reset()
    iq[10] = np.nan
    np.testing.assert_allclose(kept.push(iq)[1000 + late :], wanted[1000:-late], atol=1e-3)


def test_the_readings_of_a_mode_without_a_carrier() -> None:
    demodulator = SsbDemodulator(RATE_HZ, "usb", 2400.0)
    assert (demodulator.n_audio, demodulator.frequency_error_hz, demodulator.deviation_hz) == (1, 0.0, 0.0)
    assert demodulator.channel_bandwidth_hz == 4800.0


@SIDEBANDS
def test_the_audio_is_late_by_what_is_stated(sideband: Sideband, sign: float) -> None:
    demodulator = constant_gain(sideband)
    late = round(demodulator.delay_s * RATE_HZ)
    iq = complex_tone(sign * 500.0, RATE_HZ, 6000, 0.5) + complex_tone(sign * 1700.0, RATE_HZ, 6000, 0.5)
    np.testing.assert_allclose(demodulator.push(iq)[1000 + late :], TARGET * iq.real[1000:-late], atol=1e-3)


@settings(max_examples=30)
@given(cuts=st.lists(st.integers(0, 5000), max_size=12))
def test_cutting_the_input_changes_nothing(cuts: list[int]) -> None:
    iq = complex_noise(5000, 0.1, seed=1)
    demodulator = SsbDemodulator(RATE_HZ, "lsb")
    got = [demodulator.push(iq[a:b]) for a, b in pairwise([0, *sorted(cuts), 5000])]
    np.testing.assert_allclose(np.concatenate(got), SsbDemodulator(RATE_HZ, "lsb").push(iq), atol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30])
def test_broken_samples_count_as_nothing(broken: float) -> None:
    iq: NDArray[np.complex64] = complex_tone(1000.0, RATE_HZ, RATE_HZ)
    zeroed = iq.copy()
    iq[5000:5010], zeroed[5000:5010] = broken, 0.0
    np.testing.assert_array_equal(SsbDemodulator(RATE_HZ).push(iq), SsbDemodulator(RATE_HZ).push(zeroed))


def test_reset_forgets_the_past() -> None:
    iq = complex_noise(3000, 0.1, seed=2)
    demodulator = SsbDemodulator(RATE_HZ)
    first = demodulator.push(iq)
    demodulator.reset()
    np.testing.assert_array_equal(demodulator.push(iq), first)
    assert demodulator.push(iq[:0]).shape == (0,)


@pytest.mark.parametrize("bandwidth_hz", [499.0, 11_701.0, float("nan")])
def test_a_sideband_that_does_not_fit_is_refused(bandwidth_hz: float) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        SsbDemodulator(RATE_HZ, "usb", bandwidth_hz)


def test_a_sideband_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="usb or lsb"):
        SsbDemodulator(RATE_HZ, "am")  # type: ignore[arg-type]
