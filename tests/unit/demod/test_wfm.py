from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.demod.wfm import AUDIO_HZ, HISS_DBFS, LOCK_LEVEL, PILOT_HZ, WfmDemodulator
from app_core.dsp.channelizer import Channelizer, ChannelSpec
from tests.support.signals import audio_tone, complex_noise, fm_modulate, sinad_db, tone_amplitude

RATE_HZ = 256_000
STEP = 4
"""The transmitter runs at so many times the rate, so that the frequency moves within each sample, as on the air."""

DURATION_S = 1.2
SETTLED_S = 0.8
F64 = NDArray[np.float64]


def multiplex(left: F64, right: F64, pilot_hz: float = PILOT_HZ, pilot: float = 0.1) -> F64:
    """The signal of a stereo transmitter, at ``STEP * RATE_HZ``."""
    turns = 2.0 * np.pi * pilot_hz / (STEP * RATE_HZ) * np.arange(left.shape[0])
    difference = 0.45 * (left - right) * np.sin(2.0 * turns)
    return np.asarray(0.45 * (left + right) + pilot * np.sin(turns) + difference)


def tone(frequency_hz: float, amplitude: float = 1.0, seconds: float = DURATION_S) -> F64:
    return audio_tone(frequency_hz, STEP * RATE_HZ, round(seconds * STEP * RATE_HZ), amplitude)


def transmit(signal: F64, offset_hz: float = 0.0) -> NDArray[np.complex64]:
    """IQ at `RATE_HZ`, without a channel filter."""
    return np.ascontiguousarray(fm_modulate(signal, STEP * RATE_HZ, 75_000.0, offset_hz)[::STEP])


def transmit_through_a_channel(signal: F64, bandwidth_hz: float = 200_000.0) -> NDArray[np.complex64]:
    """IQ at `RATE_HZ`, through the filter that stands in front of the demodulator."""
    channelizer = Channelizer(float(STEP * RATE_HZ), [ChannelSpec(0.0, bandwidth_hz, float(RATE_HZ))])
    iq = fm_modulate(signal, STEP * RATE_HZ, 75_000.0)
    return np.concatenate((channelizer.push(iq)[0], channelizer.flush()[0]))


def settled(demodulator: WfmDemodulator, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
    return demodulator.push(iq)[round(SETTLED_S * demodulator.audio_rate_hz) :]


@pytest.mark.parametrize("frequency_hz", [100.0, 1000.0, 5000.0, 10_000.0])
@pytest.mark.parametrize("deemphasis_us", [0.0, 75.0])
def test_left_and_right_are_40_db_apart_behind_the_channel_filter(frequency_hz: float, deemphasis_us: float) -> None:
    silence = tone(frequency_hz, 0.0)
    for side in (0, 1):
        sides = (tone(frequency_hz, 0.9), silence)
        demodulator = WfmDemodulator(RATE_HZ, deemphasis_us=deemphasis_us)
        pcm = settled(demodulator, transmit_through_a_channel(multiplex(*(sides if side == 0 else sides[::-1]))))
        levels = [tone_amplitude(pcm[:, k], frequency_hz, demodulator.audio_rate_hz) for k in (side, 1 - side)]
        assert 20.0 * np.log10(levels[0] / levels[1]) > 50.0
        wanted = 0.81 / np.sqrt(1.0 + (2e-6 * np.pi * frequency_hz * deemphasis_us) ** 2)
        assert 20.0 * np.log10(levels[0] / wanted) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("deemphasis_us", [50.0, 75.0])
@pytest.mark.parametrize("frequency_hz", [30.0, 400.0, 2122.0, 7000.0, 15_000.0])
def test_the_deemphasis_follows_the_analogue_curve(deemphasis_us: float, frequency_hz: float) -> None:
    demodulator = WfmDemodulator(RATE_HZ, deemphasis_us=deemphasis_us, stereo=False)
    pcm = settled(demodulator, transmit(tone(frequency_hz, 0.3)))
    gain = tone_amplitude(pcm, frequency_hz, demodulator.audio_rate_hz) / 0.3
    wanted = 1.0 / np.sqrt(1.0 + (2e-6 * np.pi * frequency_hz * deemphasis_us) ** 2)
    assert 20.0 * np.log10(gain / wanted) == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("stereo", [True, False])
def test_a_tone_at_full_deviation_is_clean(stereo: bool) -> None:
    demodulator = WfmDemodulator(RATE_HZ, stereo=stereo)
    signal = multiplex(tone(1000.0), tone(1000.0)) if stereo else tone(1000.0)
    pcm = settled(demodulator, transmit_through_a_channel(signal))
    one = pcm[:, 0] if stereo else pcm
    assert sinad_db(one, 1000.0, demodulator.audio_rate_hz, AUDIO_HZ) > (60.0 if stereo else 90.0)


def test_a_mono_transmitter_gives_both_sides_the_same_clean_tone() -> None:
    demodulator = WfmDemodulator(RATE_HZ)
    noisy = transmit_through_a_channel(tone(1000.0)) + complex_noise(round(DURATION_S * RATE_HZ), 1e-3, seed=1)
    pcm = settled(demodulator, noisy)
    np.testing.assert_array_equal(pcm[:, 0], pcm[:, 1])
    assert sinad_db(pcm[:, 0], 1000.0, demodulator.audio_rate_hz, AUDIO_HZ) > 60.0
    assert demodulator.readings()["is_stereo"] is False


@pytest.mark.parametrize("pilot_hz", [18_990.0, 19_000.0, 19_004.0])
@pytest.mark.parametrize("offset_hz", [0.0, 5000.0])
def test_the_pilot_is_followed_and_measured(pilot_hz: float, offset_hz: float) -> None:
    demodulator = WfmDemodulator(RATE_HZ)
    iq = transmit(multiplex(tone(1000.0, 0.5), tone(1000.0, 0.0), pilot_hz, 0.08), offset_hz)
    pcm = settled(demodulator, iq)
    assert demodulator.is_stereo
    # The discriminator's average over a sample takes 0.8 % at the pilot.
    assert demodulator.pilot_level == pytest.approx(0.08, rel=0.02)
    levels = [tone_amplitude(pcm[:, k], 1000.0, demodulator.audio_rate_hz) for k in (0, 1)]
    assert levels[0] > 100.0 * levels[1]
    assert demodulator.frequency_error_hz == pytest.approx(offset_hz, abs=20.0)
    assert np.abs(pcm.mean(axis=0)).max() < 1e-3


def test_the_pilot_and_all_above_are_60_db_down() -> None:
    for frequency_hz in (19_000.0, 23_000.0, 38_000.0, 57_000.0):
        demodulator = WfmDemodulator(RATE_HZ, deemphasis_us=0.0, stereo=False)
        pcm = settled(demodulator, transmit(tone(frequency_hz, 0.5)))
        assert 20.0 * np.log10(np.abs(pcm).max() / 0.5) < -60.0
    demodulator = WfmDemodulator(RATE_HZ, deemphasis_us=0.0)
    pcm = settled(demodulator, transmit(multiplex(tone(1000.0, 0.0), tone(1000.0, 0.0))))
    assert demodulator.is_stereo
    assert 20.0 * np.log10(np.abs(pcm).max() / 0.1) < -60.0


def test_the_pilot_comes_and_goes_without_a_click() -> None:
    demodulator = WfmDemodulator(RATE_HZ, deemphasis_us=0.0)
    # The transmitter fades its stereo part in and out within 10 ms, so that the signal itself has no step.
    source = tone(500.0, 0.8, seconds=1.8)
    place_s = np.arange(source.shape[0]) / (STEP * RATE_HZ)
    fade = np.clip((0.3 - np.abs(place_s - 0.9)) / 0.01, 0.0, 1.0)
    stereo = multiplex(source, np.zeros_like(source)) - 0.45 * source
    iq = transmit(0.45 * source + stereo * fade)
    pcm = demodulator.push(iq)
    third = pcm.shape[0] // 3
    for part, is_stereo in ((0, False), (1, True), (2, False)):
        left, right = (pcm[(part + 1) * third - third // 4 : (part + 1) * third - 100, k] for k in (0, 1))
        assert (np.abs(left - right).max() > 0.1) == is_stereo
    smoothest = 2.0 * np.pi * 500.0 / demodulator.audio_rate_hz * 0.72
    assert np.abs(np.diff(pcm[third // 4 :], axis=0)).max() < 1.02 * smoothest
    assert demodulator.is_stereo is False


def weak(signal: F64, cn_db: float) -> NDArray[np.complex64]:
    """IQ with noise, `cn_db` below the carrier within 200 kHz."""
    iq = transmit_through_a_channel(signal)
    noise = complex_noise(iq.shape[0], 10.0 ** (-cn_db / 10.0) * RATE_HZ / 200_000.0, seed=1)
    return np.asarray(iq + noise, dtype=np.complex64)


def test_stereo_fades_to_mono_as_the_station_weakens_and_its_hiss_stays_the_same() -> None:
    blends, hisses_dbfs = [], []
    for cn_db in (50.0, 40.0, 35.0, 25.0, 20.0, 15.0, 10.0):
        demodulator = WfmDemodulator(RATE_HZ)
        pcm = demodulator.push(weak(multiplex(tone(400.0, 0.0, 2.5), tone(400.0, 0.0, 2.5)), cn_db))
        last = pcm[2 * pcm.shape[0] // 5 :].astype(np.float64)
        assert demodulator.is_stereo
        blends.append(demodulator.stereo_blend)
        hisses_dbfs.append(20.0 * np.log10((last[:, 0] - last[:, 1]).std() / 2.0))
    assert blends[:3] == [1.0, 1.0, 1.0]
    assert blends == sorted(blends, reverse=True)
    assert blends[-1] < 0.2
    np.testing.assert_allclose(hisses_dbfs[3:], HISS_DBFS, atol=2.0)
    # Without the blend, it would be 5 dB louder for each 5 dB.
    assert hisses_dbfs[0] < HISS_DBFS - 15.0


def test_a_faded_station_keeps_its_sum_and_as_much_of_its_difference_as_is_said() -> None:
    demodulator = WfmDemodulator(RATE_HZ, deemphasis_us=0.0)
    pcm = demodulator.push(weak(multiplex(tone(1000.0, 0.9, 2.5), tone(1000.0, 0.0, 2.5)), 20.0))
    last = pcm[3 * pcm.shape[0] // 5 :]
    left, right = (tone_amplitude(last[:, k], 1000.0, demodulator.audio_rate_hz) for k in (0, 1))
    assert 0.1 < demodulator.stereo_blend < 0.6
    assert (left + right) / 2.0 == pytest.approx(0.405, rel=0.02)
    assert (left - right) / (left + right) == pytest.approx(demodulator.stereo_blend, rel=0.2)


@pytest.mark.parametrize("frequency_hz", [3_000.0, 7_000.0, 11_000.0, 12_345.0])
def test_programme_is_not_taken_for_noise(frequency_hz: float) -> None:
    demodulator = WfmDemodulator(RATE_HZ)
    demodulator.push(transmit_through_a_channel(multiplex(tone(frequency_hz, 0.5, 1.2), tone(440.0, 0.4, 1.2))))
    assert demodulator.stereo_blend == 1.0
    assert demodulator.readings()["stereo_blend"] == 1.0


def test_a_pilot_that_fades_is_held_longer_than_it_takes_to_find_one() -> None:
    left, right = tone(1000.0, 0.5), tone(1000.0, 0.0)
    strong, faint, gone = (transmit(multiplex(left, right, pilot=level)) for level in (0.08, 0.032, 0.015))
    demodulator = WfmDemodulator(RATE_HZ)
    for iq, is_stereo in ((faint, False), (strong, True), (faint, True), (gone, False), (faint, False)):
        # Its level is a mean over 0.1 s.
        demodulator.push(iq)
        demodulator.push(iq)
        assert demodulator.is_stereo is is_stereo


def test_noise_is_not_taken_for_a_pilot() -> None:
    demodulator = WfmDemodulator(RATE_HZ)
    for seed in range(10):
        pcm = demodulator.push(complex_noise(RATE_HZ // 2, 1.0, seed))
        np.testing.assert_array_equal(pcm[:, 0], pcm[:, 1])
        assert demodulator.pilot_level < LOCK_LEVEL / 1.5


@pytest.mark.parametrize("rate_hz", [120_000, 192_000, 240_000, 250_000, 256_000, 300_000, 384_000, 288_888.5])
def test_the_audio_rate_is_a_whole_fraction_of_any_rate(rate_hz: float) -> None:
    demodulator = WfmDemodulator(rate_hz, deemphasis_us=0.0, stereo=False)
    assert demodulator.audio_rate_hz == rate_hz / demodulator.decimation
    assert 48_000 <= demodulator.audio_rate_hz < 96_000
    if rate_hz in (240_000, 250_000, 256_000):
        assert demodulator.decimation == 5
    n = round(DURATION_S * rate_hz)
    pcm = settled(demodulator, fm_modulate(audio_tone(1000.0, rate_hz, n, 0.4), rate_hz, 75_000.0))
    assert tone_amplitude(pcm, 1000.0, demodulator.audio_rate_hz) == pytest.approx(0.4, rel=0.01)


def test_the_audio_is_late_by_what_is_stated() -> None:
    demodulator = WfmDemodulator(RATE_HZ, deemphasis_us=0.0, stereo=False)
    pcm = settled(demodulator, transmit(tone(1000.0, 0.5)))
    heard_s = np.arange(pcm.shape[0]) / demodulator.audio_rate_hz + SETTLED_S - demodulator.delay_s
    # The removal of the mean turns 1 kHz by its corner over 1 kHz: 5 mrad.
    np.testing.assert_allclose(pcm, 0.5 * np.sin(2.0 * np.pi * 1000.0 * heard_s + 0.005), atol=2e-3)


@pytest.mark.parametrize("stereo", [True, False])
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 80_000), max_size=10))
def test_cutting_the_input_changes_nothing(stereo: bool, cuts: list[int]) -> None:
    iq = fm_modulate(0.1 * np.sin(2.0 * np.pi * 19_000.0 / RATE_HZ * np.arange(80_000)), RATE_HZ, 75_000.0)
    iq = iq + complex_noise(80_000, 0.05, seed=2)
    whole, parts = (WfmDemodulator(RATE_HZ, stereo=stereo) for _ in range(2))
    pcm = whole.push(iq)
    assert pcm.shape == ((16_000, 2) if stereo else (16_000,))
    ends = list(pairwise([0, *sorted(cuts), 80_000]))
    got = [parts.push(iq[a:b]) for a, b in ends]
    for piece, (a, b) in zip(got, ends, strict=True):
        assert piece.shape[0] == -(-b // 5) - -(-a // 5)
    np.testing.assert_allclose(np.concatenate(got), pcm, atol=1e-6)
    assert parts.is_stereo == whole.is_stereo
    assert parts.pilot_level == pytest.approx(whole.pilot_level, abs=1e-7)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30])
def test_broken_samples_do_no_lasting_harm(broken: float) -> None:
    iq = transmit(multiplex(tone(1000.0, 0.5), tone(1000.0, 0.0)))
    clean = WfmDemodulator(RATE_HZ).push(iq)
    iq[20_000:20_010] = broken
    demodulator = WfmDemodulator(RATE_HZ)
    pcm = np.concatenate((demodulator.push(iq[:50_000]), demodulator.push(iq[50_000:])))
    assert np.isfinite(pcm).all()
    np.testing.assert_allclose(pcm[45_000:], clean[45_000:], atol=1e-3)
    assert demodulator.is_stereo


def test_silence_is_silent_and_reset_forgets_the_past() -> None:
    demodulator = WfmDemodulator(RATE_HZ)
    np.testing.assert_array_equal(demodulator.push(np.zeros(1001, np.complex64)), 0.0)
    assert demodulator.push(np.zeros(0, np.complex64)).shape == (0, 2)
    iq = transmit(multiplex(tone(1000.0, 0.5), tone(1000.0, 0.0)))
    demodulator.reset()
    first = demodulator.push(iq)
    demodulator.reset()
    assert (demodulator.is_stereo, demodulator.pilot_level) == (False, 0.0)
    np.testing.assert_array_equal(demodulator.push(iq), first)
    assert demodulator.deviation_hz == pytest.approx(np.sqrt(0.225**2 * 1.5 + 0.1**2) * 75_000.0, rel=0.02)


@pytest.mark.parametrize(
    ("rate_hz", "deviation_hz", "deemphasis_us"),
    [(100_000.0, 75_000.0, 75.0), (RATE_HZ, 0.0, 75.0), (RATE_HZ, 75_000.0, -1.0), (RATE_HZ, 75_000.0, float("nan"))],
)
def test_impossible_settings_are_refused(rate_hz: float, deviation_hz: float, deemphasis_us: float) -> None:
    with pytest.raises(ValueError, match=r"samples a second|positive|negative"):
        WfmDemodulator(rate_hz, deviation_hz, deemphasis_us)
