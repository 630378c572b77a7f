import logging
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import ConfigError
from app_core.demod.channel import ChannelBank, ChannelConfig
from tests.support.signals import (
    audio_tone,
    complex_noise,
    fm_modulate,
    preemphasis_gain,
    tone_amplitude,
    tone_frequency_hz,
)

CENTER_HZ = 162.475e6
RATE_HZ = 250e3


def channel(offset_hz: float = 0.0, audio_rate_hz: int = 24_000, name: str = "one") -> ChannelConfig:
    return ChannelConfig(id=name, receiver_id="r", frequency_hz=CENTER_HZ + offset_hz, audio_rate_hz=audio_rate_hz)


def block(iq: NDArray[np.complex64], first_sample: int = 0, rate_hz: float = RATE_HZ) -> IqBlock:
    return IqBlock(iq, rate_hz, CENTER_HZ, first_sample, 1e9 + first_sample / rate_hz, config_epoch=1)


def blocks(
    iq: NDArray[np.complex64], cuts: Iterable[int], rate_hz: float = RATE_HZ, start: int = 0
) -> Iterable[IqBlock]:
    for a, b in pairwise([0, *sorted(cuts), iq.shape[0]]):
        yield block(iq[a:b], start + a, rate_hz)


def run(bank: ChannelBank, stream: Iterable[IqBlock]) -> dict[str, list[PcmBlock]]:
    audio: dict[str, list[PcmBlock]] = {}
    for name, pcm in [pair for one in stream for pair in bank.push(one)] + bank.flush():
        audio.setdefault(name, []).append(pcm)
    return audio


def joined(pieces: list[PcmBlock]) -> NDArray[np.float32]:
    """Audio of an unbroken stream; fails if it is broken."""
    for before, after in pairwise(pieces):
        assert after.first_sample == before.first_sample + before.pcm.shape[0]
    return np.concatenate([piece.pcm for piece in pieces])


def transmission(
    offset_hz: float, seconds: float, rate_hz: float = RATE_HZ, frequency_hz: float = 1000.0, amplitude: float = 0.6
) -> NDArray[np.complex64]:
    audio = audio_tone(frequency_hz, rate_hz, int(seconds * rate_hz), amplitude)
    return fm_modulate(audio, rate_hz, 5000.0, offset_hz, amplitude=0.1)


@pytest.mark.parametrize("rate_hz", [240e3, 250e3, 256e3, 1.024e6, 2.4e6, 2.5e6])
@pytest.mark.parametrize("audio_rate_hz", [8_000, 16_000, 22_050, 24_000, 48_000])
def test_a_1_khz_tone_leaves_as_1_khz_at_every_rate(rate_hz: float, audio_rate_hz: int) -> None:
    iq = transmission(-25_000.0, 0.5, rate_hz)
    audio = run(
        ChannelBank([channel(-25_000.0, audio_rate_hz)]), blocks(iq, range(32_768, iq.shape[0], 32_768), rate_hz)
    )
    pcm = joined(audio["one"])
    assert pcm.dtype == np.float32
    assert pcm.shape[0] == audio_rate_hz // 2
    assert {piece.sample_rate_hz for piece in audio["one"]} == {float(audio_rate_hz)}
    settled = pcm[audio_rate_hz // 10 : -audio_rate_hz // 50]
    assert tone_frequency_hz(settled, audio_rate_hz) == pytest.approx(1000.0, rel=1e-3)
    assert tone_amplitude(settled, 1000.0, audio_rate_hz) == pytest.approx(0.6, rel=0.01)


@pytest.mark.parametrize("offset_hz", [0.0, 25_000.0, -75_000.0, 117_000.0, 1234.5, -31_250.001])
def test_every_offset_gives_the_same_audio(offset_hz: float) -> None:
    bank = ChannelBank([channel(offset_hz)])
    pcm = joined(run(bank, blocks(transmission(offset_hz, 0.5), [100_000]))["one"])[2400:-480]
    wanted = joined(run(ChannelBank([channel()]), blocks(transmission(0.0, 0.5), []))["one"])[2400:-480]
    np.testing.assert_allclose(pcm, wanted, atol=2e-3)
    assert bank.levels()["one"]["frequency_error_hz"] == pytest.approx(0.0, abs=20.0)


@pytest.mark.parametrize("frequency_hz", [300, 1000, 2083.3, 3400])
@pytest.mark.parametrize("audio_rate_hz", [8_000, 24_000])
def test_preemphasised_speech_comes_out_flat(frequency_hz: float, audio_rate_hz: int) -> None:
    iq = transmission(0.0, 0.5, RATE_HZ, frequency_hz, 0.2 * preemphasis_gain(frequency_hz))
    pcm = joined(run(ChannelBank([channel(0.0, audio_rate_hz)]), blocks(iq, []))["one"])
    amplitude = tone_amplitude(pcm[audio_rate_hz // 10 : -audio_rate_hz // 50], frequency_hz, audio_rate_hz)
    assert abs(20.0 * np.log10(amplitude / 0.2)) < 1.0


def test_a_neighbour_40_db_stronger_is_not_heard() -> None:
    wanted = transmission(0.0, 0.5)
    neighbour = transmission(25_000.0, 0.5, frequency_hz=700.0) * np.float32(100.0)
    pcm = joined(run(ChannelBank([channel()]), blocks(wanted + neighbour, []))["one"])[2400:-480]
    assert tone_amplitude(pcm, 1000.0, 24_000.0) == pytest.approx(0.6, rel=0.01)
    assert tone_amplitude(pcm, 700.0, 24_000.0) < 0.6 * 0.01


@pytest.mark.parametrize("error_hz", [-2000.0, 2000.0])
def test_a_mistuned_receiver_is_heard_and_measured(error_hz: float) -> None:
    bank = ChannelBank([channel()])
    iq = transmission(error_hz, 1.0) + complex_noise(250_000, 0.01 * 10**-2.0 * RATE_HZ / 16e3, seed=1)
    pcm = joined(run(bank, blocks(iq, range(30_000, 250_000, 30_000)))["one"])[2400:-480]
    assert tone_amplitude(pcm, 1000.0, 24_000.0) == pytest.approx(0.6, rel=0.02)
    assert abs(pcm.mean()) < 0.01
    levels = bank.levels()["one"]
    assert levels["frequency_error_hz"] == pytest.approx(error_hz, abs=100.0)
    assert levels["level_dbfs"] == pytest.approx(-20.0, abs=0.3)
    assert levels["snr_db"] == pytest.approx(19.0, abs=2.0)
    assert levels["deviation_hz"] == pytest.approx(3100.0, abs=200.0)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 20_000), max_size=10), start=st.integers(0, 10**13))
def test_cutting_the_input_changes_nothing(cuts: list[int], start: int) -> None:
    configs = [channel(0.0, 24_000, "a"), channel(30_123.4, 8_000, "b"), channel(-25_000.0, 22_050, "c")]
    iq = transmission(0.0, 0.08) + complex_noise(20_000, 1e-4, seed=2)
    wanted = run(ChannelBank(configs), blocks(iq, [], start=start))
    got = run(ChannelBank(configs), blocks(iq, cuts, start=start))
    for config in configs:
        assert got[config.id][0].first_sample == wanted[config.id][0].first_sample
        np.testing.assert_allclose(joined(got[config.id]), joined(wanted[config.id]), atol=1e-4)


def test_timestamps_are_those_of_the_capture() -> None:
    quiet = np.zeros(125_000, np.float64)
    audio = np.concatenate((quiet, audio_tone(1000.0, RATE_HZ, 25_000)))
    stream = blocks(fm_modulate(audio, RATE_HZ, 3000.0), range(7_777, 150_000, 7_777), start=777)
    pieces = run(ChannelBank([channel()]), stream)["one"]
    for piece in pieces:
        assert piece.timestamp == pytest.approx(1e9 + piece.first_sample / 24_000.0, abs=1e-6)
    pcm = joined(pieces)
    onset_s = pieces[0].timestamp + int(np.argmax(np.abs(pcm[1000:]) > 0.1) + 1000) / 24_000.0
    # 0.1 is passed a twentieth of the way up the first quarter of a 1 kHz wave, and the de-emphasis lags a little.
    assert onset_s - 1e9 == pytest.approx((777 + 125_000) / RATE_HZ, abs=2e-4)


@pytest.mark.parametrize("audio_rate_hz", [8_000, 22_050, 24_000, 48_000])
@pytest.mark.parametrize("lost", [1, 99, 25_000, 10**12 + 7])
def test_lost_samples_show_as_the_same_time_lost_in_the_audio(audio_rate_hz: int, lost: int) -> None:
    bank = ChannelBank([channel(0.0, audio_rate_hz)])
    iq = transmission(0.0, 0.2)
    resumed = 50_000 + lost
    pieces = [pcm for _, pcm in bank.push(block(iq)) + bank.push(block(iq, resumed)) + bank.flush()]
    ends = [(piece.first_sample, piece.first_sample + piece.pcm.shape[0]) for piece in pieces]
    wanted_start = round(resumed * audio_rate_hz / 250_000)
    starts = [a for (a, _), (_, before) in zip(ends[1:], ends, strict=False) if a != before]
    assert starts in ([wanted_start], [])
    assert wanted_start in [a for a, _ in ends]
    before = [b for a, b in ends if a < wanted_start]
    assert before[-1] == round(50_000 * audio_rate_hz / 250_000)
    resumed_piece = next(piece for piece in pieces if piece.first_sample == wanted_start)
    assert resumed_piece.timestamp == pytest.approx(1e9 + resumed / RATE_HZ, abs=1.0 / audio_rate_hz)
    assert ends[-1][1] == pytest.approx((resumed + 50_000) * audio_rate_hz / 250_000, abs=1.5)


def test_audio_behind_a_gap_is_as_from_a_fresh_start() -> None:
    iq = transmission(0.0, 0.2)
    bank = ChannelBank([channel()])
    bank.push(block(complex_noise(50_000, 1.0, seed=3)))
    pieces = [pcm for _, pcm in bank.push(block(iq, 100_000)) + bank.flush()][1:]
    fresh = run(ChannelBank([channel()]), [block(iq, 100_000)])["one"]
    np.testing.assert_array_equal(joined(pieces), joined(fresh))


def test_a_stream_that_starts_again_from_zero_is_followed() -> None:
    iq = transmission(0.0, 0.2)
    bank = ChannelBank([channel()])
    bank.push(block(iq, 10**9))
    restarted = replace(block(iq, 0), config_epoch=2)
    pieces = [pcm for _, pcm in bank.push(restarted)]
    assert [piece.config_epoch for piece in pieces] == [1, 2]
    assert pieces[1].first_sample == 0


def test_jitter_in_the_measured_rate_loses_nothing() -> None:
    iq = transmission(0.0, 0.4)
    steady = run(ChannelBank([channel()]), blocks(iq, range(10_000, 100_000, 10_000)))["one"]
    jittering = [
        replace(one, sample_rate_hz=RATE_HZ + (-1) ** i * 3.0, center_frequency_hz=CENTER_HZ + 0.1 * i)
        for i, one in enumerate(blocks(iq, range(10_000, 100_000, 10_000)))
    ]
    jittering[0] = replace(jittering[0], sample_rate_hz=RATE_HZ)
    np.testing.assert_array_equal(joined(run(ChannelBank([channel()]), jittering)["one"]), joined(steady))


@pytest.mark.parametrize("change", ["config_epoch", "sample_rate_hz", "center_frequency_hz"])
def test_a_real_change_builds_the_filters_again(change: str) -> None:
    bank = ChannelBank([channel()])
    bank.push(block(transmission(0.0, 0.2)))
    rate_hz = 1.024e6 if change == "sample_rate_hz" else RATE_HZ
    center_hz = CENTER_HZ - 20_000.0 if change == "center_frequency_hz" else CENTER_HZ
    epoch = 2 if change == "config_epoch" else 1
    iq = transmission(CENTER_HZ - center_hz, 0.2, rate_hz)
    changed = IqBlock(iq, rate_hz, center_hz, 50_000, 1e9, epoch)
    pieces = [pcm for _, pcm in bank.push(changed) + bank.flush()]
    fresh = run(ChannelBank([channel()]), [changed])["one"]
    assert len(pieces) > len(fresh)
    np.testing.assert_array_equal(joined(pieces[-len(fresh) :]), joined(fresh))


def test_channels_outside_the_capture_are_named_once_and_the_others_work(caplog: pytest.LogCaptureFixture) -> None:
    configs = [channel(0.0, name="in"), channel(120_000.0, name="edge"), channel(5e6, name="far")]
    bank = ChannelBank(configs)
    with caplog.at_level(logging.WARNING):
        first = bank.push(block(transmission(0.0, 0.2)))
        bank.push(replace(block(transmission(0.0, 0.2)), config_epoch=2))
    assert {name for name, _ in first} == {"in"}
    assert bank.out_of_band == ("edge", "far")
    assert len(caplog.records) == 1
    assert "edge" in caplog.text
    assert set(bank.levels()) == {"in"}


def test_a_capture_that_holds_no_channel_gives_no_audio() -> None:
    bank = ChannelBank([channel(5e6)])
    assert run(bank, [block(transmission(0.0, 0.2)), block(transmission(0.0, 0.2), 70_000)]) == {}
    assert ChannelBank([]).push(block(transmission(0.0, 0.1))) == []
    assert ChannelBank([]).flush() == []


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30, complex(0.0, np.nan)])
def test_broken_samples_do_no_lasting_harm(broken: complex) -> None:
    iq = transmission(0.0, 0.5)
    wanted = joined(run(ChannelBank([channel()]), blocks(iq, [50_000]))["one"])
    iq[20_000:20_010] = broken
    bank = ChannelBank([channel()])
    pcm = joined(run(bank, blocks(iq, [50_000]))["one"])
    assert np.isfinite(pcm).all()
    np.testing.assert_allclose(pcm[6000:], wanted[6000:], atol=1e-3)
    levels = bank.levels()["one"]
    assert np.isfinite([levels["level_dbfs"], levels["snr_db"], levels["frequency_error_hz"]]).all()
    assert np.isfinite(levels["deviation_hz"])


def test_the_block_given_is_not_written_to() -> None:
    iq = transmission(0.0, 0.1)
    iq[5] = np.nan
    iq.flags.writeable = False
    ChannelBank([channel()]).push(block(iq))


def test_levels_are_empty_before_the_first_audio() -> None:
    bank = ChannelBank([channel()])
    assert bank.levels() == {}
    bank.push(block(np.zeros(100, np.complex64)))
    assert bank.levels() == {}


def test_configuration_is_strict() -> None:
    with pytest.raises(ValidationError, match="extra"):
        ChannelConfig(id="a", receiver_id="r", frequency_hz=1e8, squelch=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="mode"):
        ChannelConfig.model_validate({"id": "a", "receiver_id": "r", "frequency_hz": 1e8, "mode": "wfm"})
    with pytest.raises(ConfigError, match="used twice: one"):
        ChannelBank([channel(), channel(25_000.0)])
    with pytest.raises(ConfigError, match="one receiver"):
        ChannelBank([channel(), channel(name="b").model_copy(update={"receiver_id": "other"})])
