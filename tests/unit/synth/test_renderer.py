"""The generated station, as the tests' own receiver hears it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.base.errors import ConfigError
from app_core.eas.waveform import PREAMBLE
from app_core.synth.plan import (
    NWR_FREQUENCIES_HZ,
    ChannelPlan,
    Impairments,
    Recording,
    ScheduledAlert,
    Silence,
    Speech,
    StationPlan,
    Tone,
)
from app_core.synth.renderer import AiredAlert, StationRenderer
from tests.unit.synth.receive import deviation_hz, level_db, one_channel, read_bytes

RATE_HZ = 250_000.0
CENTER_HZ = 162_487_500.0
HEADER = "ZCZC-WXR-TOR-029095-020091-020209+0045-3241845-KEAX/NWS-"
QUIET = Impairments(noise_dbfs=-120.0)


def plain_plan(programme: Silence | Tone | Speech | Recording = Silence(), **changes: object) -> StationPlan:  # noqa: B008
    """Give one channel at 162.550 MHz and -30 dBFS, with hardly any noise, and what is to be different."""
    plan = StationPlan((ChannelPlan(162_550e3, 90.0, programme),), impairments=QUIET)
    return dataclasses.replace(plan, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole() -> NDArray[np.complex64]:
    """The first samples of a busy station, read at once."""
    return StationRenderer(busy_plan()).read(30_000)


def busy_plan() -> StationPlan:
    """Give seven channels with tones, an alert, and every impairment."""
    channels = tuple(ChannelPlan(hz, 30.0, Tone(400.0 + 100.0 * k)) for k, hz in enumerate(NWR_FREQUENCIES_HZ))
    impairments = Impairments(-60.0, 1.5, -40.0, 0.3, 2.0)
    return StationPlan(channels, (ScheduledAlert(162_400e3, 0.02, HEADER),), impairments=impairments, seed=5)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 9_000), max_size=8))
def test_samples_do_not_depend_on_how_they_are_read(whole: NDArray[np.complex64], sizes: list[int]) -> None:
    renderer = StationRenderer(busy_plan())
    pieces = [renderer.read(size) for size in sizes if size <= 30_000]
    read = np.concatenate((*pieces, np.zeros(0, np.complex64)))[: whole.size]
    rest = renderer.read(whole.size - read.size)
    np.testing.assert_array_equal(np.concatenate((read, rest)), whole)
    assert whole.dtype == read.dtype == rest.dtype == np.complex64


def test_another_seed_gives_other_noise() -> None:
    plan = busy_plan()
    first, second = (StationRenderer(dataclasses.replace(plan, seed=seed)).read(4_000) for seed in (5, 6))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("error_ppm", [0.0, 3.7, -20.0])
def test_every_carrier_is_at_its_frequency_and_level(error_ppm: float) -> None:
    levels_db = (36.0, 12.0, 22.0, 31.0, 17.0, 27.0, 40.0)
    channels = tuple(ChannelPlan(hz, db) for hz, db in zip(NWR_FREQUENCIES_HZ, levels_db, strict=True))
    plan = StationPlan(channels, impairments=Impairments(noise_dbfs=-52.0, frequency_error_ppm=error_ppm))
    iq = StationRenderer(plan).read(250_000)
    for channel in channels:
        expected_hz = channel.frequency_hz * (1.0 + 1e-6 * error_ppm) - CENTER_HZ
        spectrum = np.fft.fft(iq * np.exp(-2j * np.pi * expected_hz / RATE_HZ * np.arange(iq.size))) / iq.size
        near = np.abs(np.roll(spectrum, 2_000)[:4_001])
        assert abs(int(near.argmax()) - 2_000) <= 1
        carrier_dbfs = 20.0 * np.log10(np.abs(spectrum[0]))
        assert carrier_dbfs == pytest.approx(-52.0 + channel.cn_db, abs=0.5)


def test_noise_has_its_level_in_a_channels_width() -> None:
    plan = plain_plan(channels=(ChannelPlan(162_550e3, -30.0),), impairments=Impairments(noise_dbfs=-52.0))
    noise = one_channel(StationRenderer(plan).read(100_000), RATE_HZ, -50_000.0)
    assert level_db(noise) == pytest.approx(-52.0 + 3.01, abs=0.3)


def test_a_full_scale_tone_of_1_khz_has_the_full_deviation() -> None:
    heard_hz = deviation_hz(
        one_channel(StationRenderer(plain_plan(Tone(1_000.0, 1.0))).read(50_000), RATE_HZ, 62_500.0)
    )
    middle = heard_hz[500:-500]
    assert np.abs(middle).max() == pytest.approx(5_000.0, rel=0.05)
    assert np.sqrt(2.0 * np.mean(np.square(middle))) == pytest.approx(5_000.0, rel=0.02)


def test_a_channel_stays_within_its_25_khz() -> None:
    iq = StationRenderer(plain_plan(Tone(3_000.0, 1.0))).read(50_000)
    inside = level_db(one_channel(iq, RATE_HZ, 62_500.0))
    for neighbour_hz in (37_500.0, 87_500.0):
        assert level_db(one_channel(iq, RATE_HZ, neighbour_hz)) < inside - 55.0


def test_the_mixers_dc_and_image_have_their_levels() -> None:
    impairments = Impairments(noise_dbfs=-100.0, dc_dbfs=-30.0, iq_gain_db=0.5, iq_phase_deg=2.0)
    plan = plain_plan(channels=(ChannelPlan(162_550e3, 80.0),), impairments=impairments)
    spectrum = np.fft.fft(StationRenderer(plan).read(25_000)) / 25_000
    gain = 10.0 ** (0.5 / 20.0) * np.exp(-1j * np.deg2rad(2.0))
    image = spectrum[-6_250] / np.conj(spectrum[6_250])
    assert 20.0 * np.log10(abs(spectrum[0])) == pytest.approx(-30.0, abs=0.2)
    assert abs(image - (1.0 - gain) / (1.0 + gain)) < 0.002


def aired(plan: StationPlan, seconds: float) -> tuple[NDArray[np.float64], list[AiredAlert]]:
    """Demodulate the channel at 162.550 MHz."""
    alerts: list[AiredAlert] = []
    iq = StationRenderer(plan, on_alert=alerts.append).read(round(seconds * RATE_HZ))
    return deviation_hz(one_channel(iq, RATE_HZ, 62_500.0)), alerts


def test_an_alert_on_the_air_is_read_back_where_it_was_put() -> None:
    alert = ScheduledAlert(162_550e3, 1.0, HEADER, "This is a demonstration.", attention_s=8.0)
    plan = plain_plan(Tone(700.0), alerts=(alert,), impairments=Impairments(noise_dbfs=-60.0))
    plan = dataclasses.replace(plan, channels=(ChannelPlan(162_550e3, 30.0, Tone(700.0)),))
    audio, alerts = aired(plan, 24.0)
    assert [(entry.header.text, entry.start_sample, entry.frequency_hz) for entry in alerts] == [
        (HEADER, 250_000, 162_550e3)
    ]
    burst = PREAMBLE + HEADER.encode()
    n_burst = len(burst) * 8 * 48
    # The discriminator's first value is the step to sample 1.
    starts = [25_000 - 1 + k * (n_burst + 25_000) for k in range(3)]
    for start in starts:
        assert read_bytes(audio, start, len(burst)) == burst
        deviation = audio[start : start + n_burst]
        # Half of the bits are marks of 4 kHz, half spaces of 3 kHz; the changes between them overshoot.
        assert np.sqrt(2.0 * np.mean(np.square(deviation))) == pytest.approx(3_560.0, rel=0.05)
        assert np.abs(deviation).max() < 5_000.0
    tone_start = starts[-1] + n_burst + 25_000
    tone = audio[tone_start : tone_start + 8 * 25_000]
    assert np.abs(np.fft.rfft(tone)).argmax() / 8.0 == 1_050.0
    voice_start = tone_start + tone.size + 25_000
    end = alerts[0].start_sample // 10 + alerts[0].n_samples // 10 - 1
    last = PREAMBLE + b"NNNN"
    assert read_bytes(audio, end - len(last) * 8 * 48, len(last)) == last
    voice = audio[voice_start : end - 3 * len(last) * 8 * 48 - 3 * 25_000]
    assert voice.size > 10_000
    assert np.sqrt(np.mean(np.square(voice))) > 300.0
    programme = audio[end + 500 : end + 25_500]
    assert np.abs(np.fft.rfft(programme)).argmax() == 700


def test_two_alerts_for_one_time_follow_one_another() -> None:
    alerts = tuple(ScheduledAlert(162_550e3, 0.5, HEADER, attention_s=0.0) for _ in range(2))
    heard: list[AiredAlert] = []
    StationRenderer(plain_plan(alerts=alerts), on_alert=heard.append).read(250_000)
    assert heard[1].start_sample == heard[0].start_sample + heard[0].n_samples + 250_000


def test_tuning_moves_what_is_heard_and_away_from_the_station_is_noise() -> None:
    renderer = StationRenderer(plain_plan(impairments=Impairments(noise_dbfs=-110.0)))
    renderer.read(25_000)
    renderer.tune(162_500_300.0)
    renderer.read(25_000)
    spectrum = np.abs(np.fft.fft(renderer.read(25_000)))
    assert spectrum.argmax() * 10 == 49_700
    renderer.tune(100_000_000.0)
    renderer.read(25_000)
    assert level_db(one_channel(renderer.read(25_000), RATE_HZ, 0.0)) == pytest.approx(-107.0, abs=0.5)
    assert renderer.center_frequency_hz == 100_000_000.0


def test_gain_scales_signal_and_noise_but_not_the_dc_spike() -> None:
    plan = plain_plan(impairments=Impairments(noise_dbfs=-110.0, dc_dbfs=-40.0))
    renderer = StationRenderer(plan)
    renderer.set_gain_db(12.0)
    spectrum = np.fft.fft(renderer.read(25_000)) / 25_000
    assert 20.0 * np.log10(abs(spectrum[6_250])) == pytest.approx(-20.0 + 12.0, abs=0.1)
    assert 20.0 * np.log10(abs(spectrum[0])) == pytest.approx(-40.0, abs=0.1)


def test_a_correction_of_the_dongles_error_puts_carriers_right() -> None:
    renderer = StationRenderer(plain_plan(impairments=Impairments(noise_dbfs=-120.0, frequency_error_ppm=10.0)))
    renderer.set_correction_ppm(-10.0)
    renderer.read(8_000)
    assert np.abs(np.fft.fft(renderer.read(25_000))).argmax() == 6_250


def test_other_rates_hold_the_same_station() -> None:
    plan = plain_plan(Tone(1_000.0, 0.5), sample_rate_hz=1_000_000.0)
    audio = deviation_hz(one_channel(StationRenderer(plan).read(200_000), 1e6, 62_500.0))
    assert np.abs(audio[500:-500]).max() == pytest.approx(2_500.0, rel=0.05)


def test_an_alert_of_a_schedule_for_no_channel_is_refused() -> None:
    class Wrong:
        next_start_s = 0.0

        def take(self) -> ScheduledAlert:
            return ScheduledAlert(162_400e3, 0.0, HEADER)

    with pytest.raises(ConfigError, match=r"162400000.0 Hz, where no channel is"):
        StationRenderer(plain_plan(), schedule=Wrong()).read(8_000)


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read"):
        StationRenderer(plain_plan()).read(-1)


def test_a_recording_that_is_no_audio_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("no sound in here")
    with pytest.raises(ConfigError, match=r"notes\.wav cannot be read as audio"):
        StationRenderer(plain_plan(Recording(path)))
