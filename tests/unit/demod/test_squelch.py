from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.demod.squelch import LOW_DB, RAMP_S, GainRamp, Squelch, SquelchMode
from app_core.dsp._kernels import discriminate
from app_core.dsp.fir import LowPass
from tests.support.signals import audio_tone, complex_noise, fm_modulate

RATE_HZ = 24_000
BANDWIDTH_HZ = 16_000.0
NOISE_POWER = 1e-6
FM_MODES = pytest.mark.parametrize("mode", ["snr", "noise"])


def channel(iq: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Filter as the channelizer does."""
    taps = LowPass.design(BANDWIDTH_HZ / 2.0 / RATE_HZ, 0.5, 85.0).taps()
    return np.convolve(iq, taps, "same").astype(np.complex64)


def noise(seconds: float, seed: int, power: float = NOISE_POWER) -> NDArray[np.complex64]:
    """Noise with a power in the channel's bandwidth."""
    return channel(complex_noise(round(seconds * RATE_HZ), power * RATE_HZ / BANDWIDTH_HZ, seed))


def carrier(
    seconds: float, cn_db: float, tone_hz: float = 1000.0, deviation_hz: float = 5000.0
) -> NDArray[np.complex64]:
    n = round(seconds * RATE_HZ)
    amplitude = np.sqrt(NOISE_POWER) * 10.0 ** (cn_db / 20.0)
    return channel(fm_modulate(audio_tone(tone_hz, RATE_HZ, n), RATE_HZ, deviation_hz, amplitude=amplitude))


def am_carrier(seconds: float, cn_db: float) -> NDArray[np.complex64]:
    envelope = 1.0 + audio_tone(400.0, RATE_HZ, round(seconds * RATE_HZ), 0.9)
    return np.asarray(envelope * np.sqrt(NOISE_POWER) * 10.0 ** (cn_db / 20.0), dtype=np.complex64)


@FM_MODES
def test_noise_alone_keeps_it_closed(mode: SquelchMode) -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode)
    gains = [squelch.push(noise(10.0, seed)).max() for seed in range(6)]
    assert max(gains) == 0.0
    assert (squelch.n_opened, squelch.is_open) == (0, False)
    assert squelch.snr_db < 1.0


@FM_MODES
@pytest.mark.parametrize("tone_hz", [300.0, 1000.0, 3000.0])
@pytest.mark.parametrize("deviation_hz", [0.0, 5000.0])
def test_a_continuous_carrier_keeps_it_open(mode: SquelchMode, tone_hz: float, deviation_hz: float) -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode)
    gain = squelch.push(carrier(12.0, 12.0, tone_hz, deviation_hz) + noise(12.0, seed=1))
    assert gain[: RATE_HZ // 100].max() == 0.0
    np.testing.assert_array_equal(gain[RATE_HZ // 10 :], 1.0)
    assert squelch.n_opened == 1
    assert squelch.snr_db == pytest.approx(12.0, abs=1.0)


@FM_MODES
def test_it_opens_within_tens_of_ms_and_closes_after_its_tail(mode: SquelchMode) -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode, tail_s=0.5)
    iq = noise(3.0, seed=2)
    iq[RATE_HZ : 2 * RATE_HZ] += carrier(1.0, 20.0)
    is_heard = squelch.push(iq) > 0.5
    opened, closed = np.flatnonzero(np.diff(is_heard.astype(int))) / RATE_HZ - 1.0
    assert 0.0 < opened < 0.07
    assert 1.5 <= closed < 1.6


@pytest.mark.parametrize(("mode", "cn_db"), [("snr", 8.0), ("noise", 6.5)])
def test_the_thresholds_are_those_of_the_carrier_to_noise_ratio(mode: SquelchMode, cn_db: float) -> None:
    for offset_db, expected in ((-1.5, False), (1.5, True)):
        squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode)
        squelch.push(carrier(3.0, cn_db + offset_db) + noise(3.0, seed=3))
        assert squelch.is_open is expected
    # An open squelch holds 3 dB longer.
    for offset_db, expected in ((-1.5, True), (-5.0, False)):
        squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode)
        squelch.push(carrier(1.0, 20.0) + noise(1.0, seed=4))
        squelch.push(carrier(3.0, cn_db + offset_db) + noise(3.0, seed=5))
        assert squelch.is_open is expected


@FM_MODES
def test_a_weak_fading_carrier_does_not_chatter(mode: SquelchMode) -> None:
    seconds = 20.0
    n = round(seconds * RATE_HZ)
    # Rayleigh fading at 2 Hz about the threshold.
    slow = np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    rng = np.random.default_rng(6)
    parts = [np.fft.irfft(rng.standard_normal(slow.shape[0]) * (slow < 2.0), n) for _ in range(2)]
    fading = parts[0] + 1j * parts[1]
    fading /= np.sqrt(np.square(np.abs(fading)).mean())
    iq = (carrier(seconds, 10.0) * fading).astype(np.complex64) + noise(seconds, seed=7)
    counts = []
    for close_db, tail_s in ((8.0, 0.0), (5.0, 0.5)):
        squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode, 8.0, close_db, tail_s)
        squelch.push(iq)
        counts.append(squelch.n_opened)
    assert 1 <= counts[1] <= 0.5 * seconds
    assert counts[1] < 0.4 * counts[0]


def test_an_am_carrier_opens_it_by_its_level() -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr")
    gain = squelch.push(np.concatenate((noise(1.0, seed=8), noise(8.0, seed=9) + am_carrier(8.0, 12.0))))
    assert gain[:RATE_HZ].max() == 0.0
    np.testing.assert_array_equal(gain[RATE_HZ + RATE_HZ // 10 :], 1.0)
    # Of the carrier, and of the 0.41 of its power that 90 % of modulation adds.
    assert squelch.snr_db == pytest.approx(13.5, abs=1.0)
    assert squelch.push(noise(1.0, seed=10))[-1] == 0.0


def test_a_pause_of_the_modulation_teaches_the_floor_under_a_carrier_that_was_always_there() -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr")
    squelch.push(noise(1.0, seed=11) + am_carrier(1.0, 20.0))
    squelch.push(noise(0.2, seed=12) + carrier(0.2, 20.0, deviation_hz=0.0))
    squelch.push(noise(3.0, seed=13) + am_carrier(3.0, 20.0))
    assert (squelch.is_open, squelch.n_opened) == (True, 1)


def test_noise_that_grows_and_stays_is_learned() -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr")
    squelch.push(noise(2.0, seed=14))
    assert squelch.push(noise(2.0, seed=15, power=100.0 * NOISE_POWER))[-1] == 1.0
    assert squelch.push(noise(10.0, seed=16, power=100.0 * NOISE_POWER))[-1] == 0.0
    assert squelch.push(noise(1.0, seed=17)).max() == 0.0
    assert squelch.push(noise(1.0, seed=18) + am_carrier(1.0, 12.0))[-1] == 1.0


def beacon(seconds: float, duty: float) -> NDArray[np.complex64]:
    """A distress beacon 30 dB above the noise: a carrier keyed by a tone that sweeps down, three times a second."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    cycles = np.cumsum(1600.0 * (300.0 / 1600.0) ** (3.0 * time_s % 1.0)) / RATE_HZ
    keyed = (cycles % 1.0 < duty).astype(np.complex64)
    return channel(keyed * np.float32(np.sqrt(1000.0 * NOISE_POWER)))


@pytest.mark.parametrize("quiet_s", [0.0, 2.0])
@pytest.mark.parametrize("duty", [0.33, 0.45, 0.5, 0.55])
def test_a_distress_beacon_is_heard_for_as_long_as_it_sends(duty: float, quiet_s: float) -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr")
    n_quiet = round(quiet_s * RATE_HZ)
    iq = noise(14.0, seed=30)
    iq[n_quiet : 13 * RATE_HZ] += beacon(13.0 - quiet_s, duty)
    gain = squelch.push(iq)
    assert not gain[:n_quiet].any()
    np.testing.assert_array_equal(gain[n_quiet + RATE_HZ // 10 : 13 * RATE_HZ], 1.0)
    assert gain[-RATE_HZ // 2 :].max() == 0.0


@pytest.mark.parametrize("cn_db", [12.0, 30.0])
@pytest.mark.parametrize("depth", [0.85, 0.95, 1.0])
@pytest.mark.parametrize("from_the_start", [False, True])
def test_a_continuous_tone_on_am_is_heard_to_its_end(depth: float, cn_db: float, from_the_start: bool) -> None:
    carrier_alone = np.ones(0 if from_the_start else RATE_HZ)
    envelope = np.concatenate((carrier_alone, 1.0 + audio_tone(1050.0, RATE_HZ, 12 * RATE_HZ, depth)))
    iq = (np.sqrt(NOISE_POWER) * 10.0 ** (cn_db / 20.0) * envelope).astype(np.complex64)
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr")
    gain = squelch.push(iq + noise(iq.shape[0] / RATE_HZ, seed=31))
    np.testing.assert_array_equal(gain[RATE_HZ // 10 :], 1.0)
    assert squelch.n_opened == 1


def test_noise_of_any_level_under_a_slope_is_learned_as_noise() -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr")
    iq = np.concatenate([noise(7.0, seed=32 + k, power=10.0**k * NOISE_POWER) for k in range(2)])
    n = iq.shape[0]
    # 6 dB from one edge of the channel to the other.
    slope = 10.0 ** (6.0 / 20.0 * np.fft.fftfreq(n, 1.0 / RATE_HZ) / BANDWIDTH_HZ)
    gain = squelch.push(np.fft.ifft(np.fft.fft(iq) * slope).astype(np.complex64))
    assert not gain[: 7 * RATE_HZ].any()
    assert squelch.n_opened == 1
    assert gain[-RATE_HZ // 2 :].max() == 0.0


@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.parametrize(("before", "after"), [("snr", "snr"), ("noise", "noise"), ("snr", "noise"), ("noise", "snr")])
def test_other_settings_leave_what_is_heard_as_it_is(before: SquelchMode, after: SquelchMode, is_heard: bool) -> None:
    iq = noise(2.0, seed=35)
    if is_heard:
        iq[RATE_HZ // 2 :] += carrier(1.5, 20.0)
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, before)
    # At the end of a window, of which nothing is known above the audio if the mode did not look there.
    squelch.push(iq[: RATE_HZ + 470])
    squelch.change(after, 9.0, 6.0, 0.0)
    np.testing.assert_array_equal(squelch.push(iq[RATE_HZ + 470 :]), float(is_heard))
    assert squelch.n_opened == int(is_heard)
    anew = Squelch(RATE_HZ, BANDWIDTH_HZ, after)
    anew.push(iq)
    assert squelch.snr_db == pytest.approx(anew.snr_db, abs=0.2)
    if after == "noise":
        assert squelch.quieting_db == anew.quieting_db


def test_other_thresholds_and_tails_hold_from_the_next_window_on() -> None:
    iq = carrier(6.0, 12.0) + noise(6.0, seed=36)
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr")
    assert squelch.push(iq[:RATE_HZ])[-1] == 1.0
    squelch.change("snr", 20.0, 17.0, 0.5)
    gain = squelch.push(iq[RATE_HZ : 2 * RATE_HZ])
    assert gain[round(0.45 * RATE_HZ)] == 1.0
    assert gain[-1] == 0.0
    squelch.change("snr", 8.0, 5.0, 0.2)
    assert squelch.push(iq[2 * RATE_HZ : 3 * RATE_HZ])[-1] == 1.0
    squelch.change("snr", 30.0, 27.0, 0.0)
    assert squelch.push(iq[3 * RATE_HZ : 4 * RATE_HZ])[-1] == 0.0
    squelch.change("off", 30.0, 27.0, 0.0)
    gain = squelch.push(iq[4 * RATE_HZ :])
    assert gain[0] < 0.02
    np.testing.assert_array_equal(gain[round(RAMP_S * RATE_HZ) :], 1.0)
    with pytest.raises(ValueError, match="not above"):
        squelch.change("snr", 3.0, 4.0, 0.0)


@FM_MODES
@pytest.mark.parametrize("is_signal", [True, False])
def test_a_squelch_that_begins_open_closes_on_noise_alone(mode: SquelchMode, is_signal: bool) -> None:
    iq = noise(1.0, seed=37)
    if is_signal:
        iq += carrier(1.0, 20.0)
    gain = Squelch(RATE_HZ, BANDWIDTH_HZ, mode, is_open=True).push(iq)
    assert gain[0] == 1.0
    if is_signal:
        np.testing.assert_array_equal(gain, 1.0)
    else:
        assert not gain[RATE_HZ // 10 :].any()


def test_a_band_beside_the_centre_is_judged_by_what_it_holds() -> None:
    # Noise of 2.8 kHz above the carrier, as behind a sideband filter, and tones that only a spectrum shows.
    taps = LowPass.design(1_250.0 / RATE_HZ, 1_550.0 / RATE_HZ, 70.0).taps()
    turned = np.exp(2j * np.pi * 1_550.0 / RATE_HZ * np.arange(3 * RATE_HZ))
    hiss = np.convolve(complex_noise(3 * RATE_HZ, 1e-6, seed=38), taps, "same") * turned
    tones = sum(np.exp(2j * np.pi * hz / RATE_HZ * np.arange(3 * RATE_HZ)) for hz in (700.0, 1_500.0, 2_300.0))
    for iq, is_open in ((hiss, False), (hiss + 2e-3 * tones, True)):
        squelch = Squelch(RATE_HZ, 2_800.0, "snr", center_hz=1_550.0)
        assert (squelch.push(iq.astype(np.complex64))[RATE_HZ:] == float(is_open)).all()


def test_off_is_open_from_the_first_sample() -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, "off")
    np.testing.assert_array_equal(squelch.push(noise(1.0, seed=19)), 1.0)
    assert (squelch.is_open, squelch.n_opened) == (True, 0)


def test_a_wide_channel_is_judged_above_the_multiplex() -> None:
    rate_hz = 256_000
    squelch = Squelch(rate_hz, 200_000.0, "noise", decimation=5)
    audio = audio_tone(1000.0, rate_hz, rate_hz) * 0.5 + audio_tone(45_000.0, rate_hz, rate_hz) * 0.4
    hiss = complex_noise(rate_hz, 0.02, seed=21)
    assert squelch.push(hiss).max() == 0.0
    gain = squelch.push(fm_modulate(audio, rate_hz, 75_000.0) + hiss)
    assert gain[-1] == 1.0
    assert squelch.n_opened == 1
    # The carrier is 17 dB above the noise, and what the multiplex holds does not spoil it.
    assert squelch.quieting_db > 16.0


def test_the_discriminator_of_a_demodulator_serves_at_any_scale() -> None:
    iq = carrier(1.0, 10.0) + noise(1.0, seed=22)
    frequency = np.empty(iq.shape[0], np.float32)
    discriminate(iq, 0j, 0.76, frequency)
    own, given_scale = (
        Squelch(RATE_HZ, BANDWIDTH_HZ, "noise"),
        Squelch(RATE_HZ, BANDWIDTH_HZ, "noise", discriminator_scale=0.76),
    )
    np.testing.assert_array_equal(own.push(iq), given_scale.push(iq, frequency))
    assert own.quieting_db == pytest.approx(given_scale.quieting_db, abs=0.01)


@pytest.mark.parametrize("mode", ["off", "snr", "noise"])
@pytest.mark.parametrize("decimation", [1, 5])
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 12_000), max_size=12))
def test_cutting_the_input_changes_nothing(mode: SquelchMode, decimation: int, cuts: list[int]) -> None:
    iq = noise(0.5, seed=23)
    iq[3000:7000] += carrier(4000 / RATE_HZ, 15.0)
    whole, parts = (Squelch(RATE_HZ, BANDWIDTH_HZ, mode, tail_s=0.05, decimation=decimation) for _ in range(2))
    gain = whole.push(iq)
    assert gain.shape == (12_000 // decimation,)
    got = [parts.push(iq[a:b]) for a, b in pairwise([0, *sorted(cuts), 12_000])]
    np.testing.assert_array_equal(np.concatenate(got), gain)
    assert (parts.n_opened, parts.is_open) == (whole.n_opened, whole.is_open)
    if mode != "off":
        assert whole.n_opened == 1
        assert not whole.is_open


def test_the_gain_never_jumps() -> None:
    iq = noise(1.0, seed=24)
    iq[6000:12_000] += carrier(0.25, 20.0)
    gain = Squelch(RATE_HZ, BANDWIDTH_HZ, "snr", tail_s=0.0).push(iq)
    assert gain.max() == 1.0
    assert np.abs(np.diff(gain)).max() <= 1.001 / round(RAMP_S * RATE_HZ)


@pytest.mark.parametrize("broken", [np.nan, np.inf, 1e30])
@FM_MODES
def test_broken_samples_do_no_lasting_harm(mode: SquelchMode, broken: float) -> None:
    iq = noise(2.0, seed=25)
    iq[:1000] = broken
    iq[RATE_HZ:] += carrier(1.0, 12.0)
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode)
    gain = squelch.push(iq)
    assert np.isfinite(gain).all()
    assert gain[-1] == 1.0
    assert gain[RATE_HZ // 2 : RATE_HZ].max() == 0.0
    assert np.isfinite([squelch.snr_db, squelch.quieting_db]).all()


@FM_MODES
def test_silence_keeps_it_closed_and_reset_closes_it(mode: SquelchMode) -> None:
    squelch = Squelch(RATE_HZ, BANDWIDTH_HZ, mode)
    iq = np.zeros(RATE_HZ, np.complex64)
    assert squelch.push(iq).max() == 0.0
    # Single samples have no frequency, and so no noise of it.
    iq[::1000] = 0.001
    assert squelch.push(iq).max() == 0.0
    assert squelch.push(np.zeros(0, np.complex64)).shape == (0,)
    squelch.push(carrier(0.5, 20.0) + noise(0.5, seed=26))
    assert squelch.is_open
    squelch.reset()
    assert (squelch.is_open, squelch.n_opened, squelch.snr_db) == (False, 1, LOW_DB)
    assert squelch.push(noise(0.02, seed=27)).max() == 0.0


def test_a_ramp_turns_round_where_it_is() -> None:
    ramp = GainRamp(4)
    gain = np.empty(12, np.float32)
    ramp.fill(gain[:3], True)
    ramp.fill(gain[3:5], False)
    ramp.fill(gain[5:], True)
    np.testing.assert_array_equal(gain, [0.25, 0.5, 0.75, 0.5, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample_rate_hz": 0.0}, "needs a channel"),
        ({"decimation": 0}, "needs a channel"),
        ({"mode": "loud"}, "off, snr or noise"),
        ({"open_db": 3.0, "close_db": 4.0}, "not above"),
        ({"tail_s": -1.0}, "not above"),
        ({"mode": "noise", "bandwidth_hz": 9000.0}, "mode snr"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], words: str) -> None:
    settings_of = {"sample_rate_hz": RATE_HZ, "bandwidth_hz": BANDWIDTH_HZ, **change}
    with pytest.raises(ValueError, match=words):
        Squelch(**settings_of)  # type: ignore[arg-type]
