from __future__ import annotations

import numpy as np
import pytest

from app_core.eas.waveform import BIT_S, MARK_HZ, SPACE_HZ
from benchmarks.campaigns.conditions import CONDITIONS, make_trial
from benchmarks.campaigns.impairments import (
    CODECS,
    as_16_bits,
    clipped,
    echo,
    hum,
    impulses,
    played_at,
    speech_beneath,
    through_codec,
    twist,
    white_noise,
    wow_and_flutter,
)
from benchmarks.campaigns.judge import judge
from benchmarks.campaigns.radio_path import IQ_RATE_HZ, narrow_fm, rayleigh
from benchmarks.campaigns.transmissions import RATE_HZ, Pcm, Rng, message, random_header
from tests.support.programs import require_program

HEADER = "ZCZC-WXR-TOR-029095-020091+0045-1231200-KEAX/NWS-"


@pytest.fixture
def rng() -> Rng:
    return np.random.default_rng(7)


def tone(frequency_hz: float, seconds: float = 4.0) -> Pcm:
    return np.sin(2.0 * np.pi * frequency_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype(np.float32)


def level_of(pcm: Pcm, frequency_hz: float) -> float:
    turn = np.exp(-2j * np.pi * frequency_hz * np.arange(len(pcm)) / RATE_HZ)
    return float(2.0 * np.abs(np.mean(pcm * turn)))


def test_white_noise_has_the_energy_that_eb_n0_asks_for(rng: Rng) -> None:
    noise = white_noise(np.zeros(200_000, np.float32), 7.0, rng, RATE_HZ)
    density = float(np.mean(noise.astype(np.float64) ** 2)) / (RATE_HZ / 2.0)
    assert 10.0 * np.log10(0.5 * BIT_S / density) == pytest.approx(7.0, abs=0.05)


@pytest.mark.parametrize("speed", [0.97, 1.0, 1.02])
def test_played_at_another_speed_tones_and_length_change(speed: float) -> None:
    played = played_at(tone(MARK_HZ), speed)
    assert len(played) == pytest.approx(4.0 * RATE_HZ / speed, abs=2)
    assert level_of(played, MARK_HZ * speed) == pytest.approx(1.0, abs=0.01)


def test_wow_and_flutter_leave_the_mean_speed_and_swing_by_their_peaks(rng: Rng) -> None:
    played = wow_and_flutter(tone(2000.0, 10.0), 2.0, 0.0, rng, RATE_HZ)
    turn = np.exp(-2j * np.pi * 2000.0 * np.arange(len(played)) / RATE_HZ)
    mixed = (played * turn)[: len(played) // 147 * 147].reshape(-1, 147).mean(axis=1)
    error_hz = np.diff(np.unwrap(np.angle(mixed))) * (RATE_HZ / 147) / (2.0 * np.pi)
    assert np.mean(error_hz) == pytest.approx(0.0, abs=1.0)
    assert np.max(error_hz) == pytest.approx(40.0, abs=3.0)
    assert np.min(error_hz) == pytest.approx(-40.0, abs=3.0)


@pytest.mark.parametrize("twist_db", [-12.0, 6.0, 12.0])
def test_twist_makes_one_tone_stronger_by_so_much(twist_db: float) -> None:
    levels = [level_of(twist(tone(hz), twist_db, RATE_HZ), hz) for hz in (MARK_HZ, SPACE_HZ)]
    assert 20.0 * np.log10(levels[0] / levels[1]) == pytest.approx(twist_db, abs=0.1)
    assert max(levels) == pytest.approx(1.0, abs=0.03)


def test_an_echo_comes_later_and_fainter() -> None:
    pulse = np.zeros(2000, np.float32)
    pulse[100] = 1.0
    heard = echo(pulse, 5e-3, -0.5, RATE_HZ)
    assert list(np.flatnonzero(heard)) == [100, 100 + round(5e-3 * RATE_HZ)]
    assert heard[100 + round(5e-3 * RATE_HZ)] == -0.5


def test_hum_and_speech_have_their_level_over_a_burst(rng: Rng) -> None:
    silence = np.zeros(5 * RATE_HZ, np.float32)
    assert np.abs(hum(silence, 6.0, rng, RATE_HZ)).max() == pytest.approx(10 ** (6.0 / 20.0), rel=0.01)
    voice = speech_beneath(np.zeros(120 * RATE_HZ, np.float32), -12.0, rng, RATE_HZ)
    assert np.abs(voice).max() == pytest.approx(10 ** (-12.0 / 20.0), rel=0.01)


def test_impulses_strike_the_header_of_each_burst_named_and_no_preamble(rng: Rng) -> None:
    aired = message(HEADER)
    struck = impulses(aired.pcm, aired.bursts, [2, 0], rng, RATE_HZ)
    changed = np.flatnonzero(struck != aired.pcm)
    preamble = round(128 * BIT_S * RATE_HZ)
    for number, (start, end) in enumerate(aired.bursts):
        within = changed[(changed >= start) & (changed < end)]
        if number == 1:
            assert within.size == 0
        else:
            assert within.size == pytest.approx(0.04 * RATE_HZ, abs=5)
            assert within.min() >= start + preamble


def test_clipping_and_rounding() -> None:
    pcm = tone(1000.0)
    assert np.abs(clipped(pcm, 20.0)).max() == pytest.approx(0.1)
    rounded = as_16_bits(np.array([2.0, -2.0, 0.3], np.float32))
    assert rounded.tolist() == pytest.approx([32767 / 32768, -1.0, round(0.3 * 32768) / 32768])


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_gives_the_sound_back_at_its_rate(codec: str) -> None:
    require_program("ffmpeg")
    pcm = 0.5 * tone(1000.0)
    coded = through_codec(pcm, codec, 24, RATE_HZ)
    assert len(coded) == pytest.approx(len(pcm), rel=0.05)
    assert level_of(coded[RATE_HZ : 3 * RATE_HZ], 1000.0) == pytest.approx(0.5, rel=0.1)
    assert not np.array_equal(coded[: len(pcm)], pcm[: len(coded)])


def test_fading_is_complex_gaussian_of_mean_power_1(rng: Rng) -> None:
    gain = rayleigh(2_000_000, 1.0, rng, 10_000.0)
    power = np.abs(gain.astype(np.complex128)) ** 2
    assert power.mean() == pytest.approx(1.0, abs=1e-4)
    # The power of a Rayleigh amplitude is exponential: one in ten of it lies below -ln 0.9.
    assert np.mean(power < -np.log(0.9)) == pytest.approx(0.1, abs=0.03)
    turns_hz = np.diff(gain.astype(np.complex128)) * 10_000.0 / (2.0 * np.pi)
    assert np.sqrt(np.mean(np.abs(turns_hz) ** 2)) == pytest.approx(1.0, abs=0.2)


def test_fm_brings_bursts_to_the_receiver_at_their_places(rng: Rng) -> None:
    aired = message(HEADER)
    heard = narrow_fm(aired.pcm, 30.0, rng, RATE_HZ)
    assert len(heard) == pytest.approx(len(aired.pcm), abs=0.02 * RATE_HZ)
    start, end = aired.bursts[0]
    match = np.correlate(heard[start - 50 : end + 50], aired.pcm[start:end], "valid")
    assert abs(int(np.argmax(np.abs(match))) - 50) <= 2


def test_fm_has_the_noise_that_c_n_asks_for(rng: Rng) -> None:
    """Above threshold SNR rises with C/N, decibel by decibel."""
    pcm = 0.5 * tone(1000.0, 6.0)
    snrs_db = []
    for c_n_db in (20.0, 30.0):
        heard = narrow_fm(pcm, c_n_db, rng, RATE_HZ)[RATE_HZ : 5 * RATE_HZ]
        amplitude = level_of(heard, 1000.0)
        snrs_db.append(10.0 * np.log10(0.5 * amplitude**2 / (np.mean(heard**2) - 0.5 * amplitude**2)))
    assert snrs_db[1] - snrs_db[0] == pytest.approx(10.0, abs=1.0)


def test_fm_noise_is_that_of_its_bandwidth(monkeypatch: pytest.MonkeyPatch, rng: Rng) -> None:
    """C/N counts the noise in 12.5 kHz: of IQ at 50 kS/s that is a quarter of it."""
    received: list[np.ndarray[tuple[int], np.dtype[np.complex64]]] = []

    def keep(iq: np.ndarray[tuple[int], np.dtype[np.complex64]], rate_hz: int) -> Pcm:
        received.append(iq)
        return np.zeros(1, np.float32)

    monkeypatch.setattr("benchmarks.campaigns.radio_path.receive", keep)
    narrow_fm(np.zeros(5 * RATE_HZ, np.float32), 6.0, rng, RATE_HZ)
    carrier = abs(np.mean(received[0])) ** 2
    noise = np.var(received[0]) * 12_500.0 / IQ_RATE_HZ
    assert 10.0 * np.log10(carrier / noise) == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_trial_of_every_condition_is_sound_and_the_same_each_time(name: str) -> None:
    condition = CONDITIONS[name]
    if name.startswith("codec"):
        require_program("ffmpeg")
    level = condition.levels[-1]
    trial = make_trial(name, level, 2)
    assert trial.pcm.dtype == np.float32 and trial.pcm.ndim == 1
    assert np.all(np.isfinite(trial.pcm)) and 0.0 < np.abs(trial.pcm).max() <= 1.0
    assert all(0 <= start < end <= len(trial.pcm) for start, end in trial.bursts)
    assert trial.headers[0] == random_header(np.random.default_rng([1, 2])), "the header depends on the seed alone"
    assert np.array_equal(trial.pcm, make_trial(name, level, 2).pcm)
    assert trial.headers != make_trial(name, level, 3).headers


@pytest.mark.parametrize("name", ["speed", "twist", "hum", "level", "eighth bit", "rate", "pause", "two messages"])
def test_what_is_demanded_can_be_decoded(name: str) -> None:
    outcome = judge(make_trial(name, CONDITIONS[name].levels[0], 1))
    assert outcome.verified and not outcome.wrong


def test_nothing_is_left_of_a_transmission_far_below_the_cliff() -> None:
    outcome = judge(make_trial("awgn", -6.0, 1))
    assert not outcome.guessed and not outcome.wrong
