import logging
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import typeof
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import ConfigError
from app_core.demod import chain, fm
from app_core.demod import channel as channel_module
from app_core.demod.channel import ChannelBank, ChannelConfig, misfit
from app_core.dsp import resampler
from app_core.dsp.frame_plan import exact_rate
from tests.support.signals import (
    audio_tone,
    complex_noise,
    complex_tone,
    fm_modulate,
    preemphasis_gain,
    sinad_db,
    tone_amplitude,
    tone_frequency_hz,
)

CENTER_HZ = 162.475e6
RATE_HZ = 250e3


def channel(offset_hz: float = 0.0, audio_rate_hz: int = 24_000, name: str = "one") -> ChannelConfig:
    return ChannelConfig.model_validate(
        {"id": name, "receiver_id": "r", "frequency_hz": CENTER_HZ + offset_hz, "audio_rate_hz": audio_rate_hz}
    )


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
        np.testing.assert_array_equal(joined(got[config.id]), joined(wanted[config.id]))


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
    assert "edge: " in caplog.text
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
    assert levels["frequency_error_hz"] is not None
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


def test_channels_of_one_bank_have_ids_of_their_own_and_one_receiver() -> None:
    with pytest.raises(ConfigError, match="used twice: one"):
        ChannelBank([channel(), channel(25_000.0)])
    with pytest.raises(ConfigError, match="one receiver"):
        ChannelBank([channel(), channel(name="b").model_copy(update={"receiver_id": "other"})])


def of_mode(mode: str, offset_hz: float, key: str, **settings: Any) -> ChannelConfig:
    table = {"id": key, "receiver_id": "r", "frequency_hz": CENTER_HZ + offset_hz, "mode": mode}
    return ChannelConfig.model_validate(table | settings)


STAYING = [
    of_mode("nfm", 0.0, "narrow", audio_rate_hz=48_000, squelch={"mode": "snr", "open_db": 10.0}),
    of_mode("nfm", 25_000.0, "beside", audio_rate_hz=48_000, squelch={"mode": "noise", "open_db": 40.0}),
    of_mode("nfm", -130_000.0, "wide", bandwidth_hz=25_000.0, audio_rate_hz=22_050),
    of_mode("am", 70_000.0, "am"),
    of_mode("usb", -60_000.0, "usb", audio_rate_hz=16_000),
    of_mode("wfm", 140_000.0, "wfm", stereo=True, audio_rate_hz=44_100),
]
GOING = [channel(-25_000.0, 48_000, "going"), of_mode("sam", 90_000.0, "sam", audio_rate_hz=8_000)]
COMING = [channel(-31_234.5, 48_000, "coming"), of_mode("lsb", -90_000.0, "lsb")]
WIDE_RATES_HZ = [1.024e6, 912e3, 1_000_001.0]


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=10), rate_hz=st.sampled_from(WIDE_RATES_HZ))
def test_cutting_the_input_changes_nothing_in_any_mode(cuts: list[int], rate_hz: float) -> None:
    configs = [*STAYING, *GOING]
    iq = complex_noise(60_000, 0.01, seed=5)
    wanted = run(ChannelBank(configs), blocks(iq, [], rate_hz, start=777))
    got = run(ChannelBank(configs), blocks(iq, cuts, rate_hz, start=777))
    for config in configs:
        assert got[config.id][0].first_sample == wanted[config.id][0].first_sample
        np.testing.assert_array_equal(joined(got[config.id]), joined(wanted[config.id]))


N_WIDE = 160_000


@settings(max_examples=15, deadline=None)
@given(
    # Some frames have been heard before the first change, and between the two.
    places=st.tuples(st.integers(25_000, 80_000), st.integers(100_000, 150_000)),
    cuts=st.lists(st.integers(0, N_WIDE), max_size=6),
    rate_hz=st.sampled_from(WIDE_RATES_HZ),
    start=st.sampled_from([0, 12_345, 10**12 + 7]),
)
def test_channels_that_come_and_go_leave_the_others_as_they_are(
    places: tuple[int, int], cuts: list[int], rate_hz: float, start: int
) -> None:
    # A carrier in every channel but one, each with another offset and level, so that no two read the same.
    iq = complex_noise(N_WIDE, 1e-4, seed=6)
    for number, config in enumerate(STAYING[:5]):
        offset_hz = config.frequency_hz - CENTER_HZ + 200.0 * (number + 1)
        iq += complex_tone(offset_hz, rate_hz, N_WIDE, 0.02 * (number + 1))
    alone = ChannelBank(STAYING, listen=True)
    wanted = run(alone, blocks(iq, sorted({*places, *cuts}), rate_hz, start))
    heard_alone = alone.take_listening()
    bank = ChannelBank([GOING[0], *STAYING, GOING[1]], listen=True)
    first, second = places
    audio: dict[str, list[PcmBlock]] = {}
    edges = sorted({0, *places, *cuts, N_WIDE})
    for a, b in pairwise(edges):
        pairs = []
        if a == first:
            pairs = bank.configure([*STAYING[::-1], *COMING])
        elif a == second:
            pairs = bank.configure([COMING[1], *STAYING])
        for name, pcm in pairs + bank.push(block(iq[a:b], start + a, rate_hz)):
            audio.setdefault(name, []).append(pcm)
    for name, pcm in bank.flush():
        audio.setdefault(name, []).append(pcm)
    heard = bank.take_listening()
    levels, wanted_levels = bank.levels(), alone.levels()
    for config in STAYING:
        np.testing.assert_array_equal(joined(audio[config.id]), joined(wanted[config.id]))
        assert levels[config.id] == wanted_levels[config.id]
        pieces, wanted_pieces = (
            [pcm for name, pcm in listening if name == config.id] for listening in (heard, heard_alone)
        )
        assert bool(wanted_pieces) is (config.squelch.mode != "off" or config.ctcss_hz is not None or config.stereo)
        if wanted_pieces:
            np.testing.assert_array_equal(joined(pieces), joined(wanted_pieces))
    # Whatever went away was heard up to the end of the last block, and whatever came, from there on.
    ends = {"going": first, "sam": first, "coming": second, "lsb": N_WIDE}
    for config in [*GOING, *COMING]:
        pieces = audio.get(config.id, [])
        end = round(Fraction(start + ends[config.id]) / exact_rate(rate_hz) * config.audio_rate_hz)
        if pieces:
            joined(pieces)
            assert pieces[-1].first_sample + pieces[-1].pcm.shape[0] == end
    for config in COMING:
        begin = (start + first) / rate_hz * config.audio_rate_hz
        for piece in audio.get(config.id, [])[:1]:
            assert piece.first_sample == pytest.approx(begin, abs=2.5)
            assert piece.timestamp == pytest.approx(1e9 + piece.first_sample / config.audio_rate_hz, abs=1e-4)


def test_a_channel_that_comes_is_in_time_with_the_others() -> None:
    iq = transmission(0.0, 0.8)
    bank = ChannelBank([channel(0.0, 48_000, "first")])
    pieces = [pcm for _, pcm in bank.push(block(iq[:50_003]))]
    bank.configure([channel(0.0, 48_000, "first"), channel(0.0, 48_000, "second")])
    later: list[PcmBlock] = []
    for name, pcm in bank.push(block(iq[50_003:], 50_003)) + bank.flush():
        (pieces if name == "first" else later).append(pcm)
    first, second = joined(pieces), joined(later)
    begin = later[0].first_sample
    assert begin == pytest.approx(50_003 / 250e3 * 48_000.0, abs=2.0)
    # 0.1 s after it began, it says the same as the one that was always there.
    np.testing.assert_allclose(second[4800:], first[begin + 4800 :], atol=1e-4)


def test_a_stereo_channel_can_end() -> None:
    stereo = STAYING[-1]
    assert stereo.stereo
    iq = complex_noise(200_000, 0.01, seed=10)
    wanted = joined(run(ChannelBank([stereo]), blocks(iq[:120_000], [], 1.024e6))[stereo.id])
    bank = ChannelBank([channel(), stereo])
    pieces = [pcm for name, pcm in bank.push(block(iq[:120_000], rate_hz=1.024e6)) if name == stereo.id]
    pieces += [pcm for _, pcm in bank.configure([channel()])]
    np.testing.assert_array_equal(joined(pieces), wanted)


def test_a_new_name_squelch_or_loudness_does_not_interrupt_a_channel() -> None:
    iq = transmission(0.0, 0.4)
    wanted = joined(run(ChannelBank([channel()]), blocks(iq, [40_000]))["one"])
    bank = ChannelBank([channel()])
    pieces = [pcm for _, pcm in bank.push(block(iq[:40_000]))]
    told = {"name": "Weather", "squelch": {"mode": "snr"}, "loudness_lufs": -20.0}
    assert bank.configure([of_mode("nfm", 0.0, "one", **told)]) == []
    pieces += [pcm for _, pcm in bank.push(block(iq[40_000:], 40_000)) + bank.flush()]
    np.testing.assert_array_equal(joined(pieces), wanted)


@pytest.mark.parametrize("change", [{"frequency_hz": CENTER_HZ + 25_000.0}, {"audio_rate_hz": 8_000}, {"mode": "am"}])
def test_any_other_change_ends_a_channel_and_begins_another(change: dict[str, Any]) -> None:
    iq = transmission(0.0, 0.4)
    bank = ChannelBank([channel()])
    before = [pcm for _, pcm in bank.push(block(iq[:40_000]))]
    changed = ChannelConfig.model_validate({"id": "one", "receiver_id": "r", "frequency_hz": CENTER_HZ} | change)
    last = [pcm for _, pcm in bank.configure([changed])]
    after = [pcm for _, pcm in bank.push(block(iq[40_000:], 40_000)) + bank.flush()]
    assert last[-1].first_sample + last[-1].pcm.shape[0] == round(40_000 * 24_000 / 250_000)
    joined([*before, *last])
    rate_hz = changed.audio_rate_hz
    assert after[0].first_sample == round(40_000 * rate_hz / 250_000)
    assert after[-1].first_sample + after[-1].pcm.shape[0] == round(100_000 * rate_hz / 250_000)


def test_channels_may_change_before_the_first_block_in_a_gap_and_at_a_retune() -> None:
    iq = transmission(0.0, 0.2)
    bank = ChannelBank([channel(name="early")])
    assert bank.configure([channel()]) == []
    assert {name for name, _ in bank.push(block(iq))} == {"one"}
    assert {name for name, _ in bank.flush()} == {"one"}
    # What ends in a gap has nothing more to say.
    assert bank.configure([channel(25_000.0, name="two")]) == []
    audio = [*bank.push(block(iq, 70_000)), *bank.flush()]
    assert {name for name, _ in audio} == {"two"}
    assert audio[0][1].first_sample == round(70_000 * 24_000 / 250_000)
    bank.configure([channel(name="two"), channel(4e6, name="far")])
    assert bank.out_of_band == ("far",)
    retuned = replace(block(iq, 0), config_epoch=2, center_frequency_hz=CENTER_HZ + 4e6)
    assert {name for name, _ in bank.push(retuned)} == {"far"}
    assert bank.out_of_band == ("two",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ""),
        ({"frequency_hz": 100.1e6}, ""),
        (
            {"frequency_hz": 100.12e6},
            "100.1200 MHz is so near the edge that a part of it lies outside the received band",
        ),
        ({"frequency_hz": 100.126e6}, "100.1260 MHz lies outside the received band, 99.8750 to 100.1250 MHz"),
        ({"mode": "wfm"}, "200 kHz with a filter's edges need 256000 samples a second, not 250000, wherever"),
        ({"mode": "wfm", "bandwidth_hz": 300_000}, "300 kHz are wider than all that is received, 250 kHz: it needs"),
        (
            {"mode": "wfm", "frequency_hz": 98e6},
            "need 256000 samples a second, not 250000, wherever the receiver is tuned to",
        ),
    ],
)
def test_why_a_capture_does_not_hold_a_channel_is_told(settings: dict[str, Any], words: str) -> None:
    config = ChannelConfig.model_validate({"id": "c", "receiver_id": "r", "frequency_hz": 100e6} | settings)
    reason = misfit(config, 250e3, 100e6)
    assert words in reason
    assert bool(words) == bool(reason)
    bank = ChannelBank([config])
    bank.push(IqBlock(np.zeros(1000, np.complex64), 250e3, 100e6, 0, 0.0, 1))
    assert bank.misfits == ({"c": reason} if reason else {})


def test_the_first_channel_of_a_stream_that_flows_already_is_in_time() -> None:
    iq = transmission(0.0, 0.8)
    wanted = joined(run(ChannelBank([channel()]), blocks(iq, []))["one"])
    bank = ChannelBank([])
    assert bank.push(block(iq[:77_777])) == []
    assert bank.configure([channel()]) == []
    pieces = [pcm for _, pcm in bank.push(block(iq[77_777:], 77_777)) + bank.flush()]
    begin = pieces[0].first_sample
    assert begin == pytest.approx(77_777 / 250e3 * 24_000.0, abs=1.0)
    np.testing.assert_allclose(joined(pieces)[2400:], wanted[begin + 2400 :], atol=1e-4)


def test_channels_that_cannot_be_leave_the_bank_as_it_was() -> None:
    iq = transmission(0.0, 0.4)
    wanted = joined(run(ChannelBank([channel()]), blocks(iq, [40_000]))["one"])
    bank = ChannelBank([channel()])
    pieces = [pcm for _, pcm in bank.push(block(iq[:40_000]))]
    with pytest.raises(ConfigError):
        bank.configure([channel(), channel()])
    pieces += [pcm for _, pcm in bank.push(block(iq[40_000:], 40_000)) + bank.flush()]
    np.testing.assert_array_equal(joined(pieces), wanted)


def test_audio_comes_in_the_order_of_the_configuration() -> None:
    iq = complex_noise(200_000, 0.01, seed=7)
    for configs in (STAYING, STAYING[::-1]):
        bank = ChannelBank(configs)
        assert [name for name, _ in bank.push(block(iq, rate_hz=1.024e6))] == [config.id for config in configs]


def test_a_long_block_comes_out_in_one_piece() -> None:
    iq = complex_noise(300_000, 0.01, seed=8)
    configs = [channel(0.0, 22_050, "a"), channel(25_000.0, 22_050, "b")]
    long, cut = ChannelBank(configs), ChannelBank(configs)
    whole = long.push(block(iq)) + long.flush()
    assert [name for name, _ in whole] == ["a", "b", "a", "b"]
    parts = run(cut, blocks(iq, range(7000, 300_000, 7000)))
    for name in "ab":
        np.testing.assert_array_equal(joined([pcm for key, pcm in whole if key == name]), joined(parts[name]))


@pytest.mark.parametrize("mode", ["nfm", "am", "sam", "usb"])
def test_audio_of_every_mode_stands_at_the_time_of_its_samples(mode: str) -> None:
    turns = 2.0 * np.pi * 1000.0 / RATE_HZ * np.arange(250_000)
    iq = {
        "nfm": np.exp(3j * np.sin(turns)),
        "usb": np.exp(1j * turns),
    }.get(mode, 1.0 + 0.8 * np.cos(turns))
    bank = ChannelBank(
        [of_mode(mode, 0.0, "one", audio_rate_hz=48_000, **({"deemphasis_us": 0} if mode == "nfm" else {}))]
    )
    pieces = run(bank, blocks((0.1 * iq).astype(np.complex64), range(9_999, 250_000, 9_999)))["one"]
    assert pieces[0].first_sample == 0
    pcm = joined(pieces)
    assert pcm.shape[0] == 48_000
    oscillator = np.exp(-2j * np.pi * 1000.0 / 48_000.0 * np.arange(48_000))
    delay_s = -np.angle((pcm * oscillator)[24_000:43_200].sum()) / (2.0 * np.pi * 1000.0)
    # Half a sample of IQ is the discriminator's.
    assert delay_s == pytest.approx(0.0, abs=25e-6)


def test_stereo_reaches_the_decoder_as_the_mean_of_both_sides() -> None:
    rate_hz = 1.024e6
    time_s = np.arange(600_000) / rate_hz
    left, right = (np.sin(2.0 * np.pi * frequency * time_s) for frequency in (1000.0, 1700.0))
    pilot = 2.0 * np.pi * 19_000.0 * time_s
    multiplex = 0.45 * (left + right) / 2.0 + 0.45 * (left - right) / 2.0 * np.sin(2.0 * pilot) + 0.1 * np.sin(pilot)
    iq = fm_modulate(multiplex, rate_hz, 75_000.0, amplitude=0.1)
    bank = ChannelBank([of_mode("wfm", 0.0, "one", stereo=True, deemphasis_us=0.0, audio_rate_hz=48_000)])
    pcm = joined(run(bank, blocks(iq, range(50_000, 600_000, 50_000), rate_hz))["one"])
    assert pcm.ndim == 1
    for frequency in (1000.0, 1700.0):
        assert tone_amplitude(pcm[14_400:-2400], frequency, 48_000.0) == pytest.approx(0.45 / 2.0, rel=0.02)
    levels = bank.levels()["one"]
    assert levels["is_stereo"] is True
    assert levels["pilot_level"] == pytest.approx(0.1, rel=0.1)


def test_the_sinad_of_a_tone_is_above_60_db() -> None:
    for audio_rate_hz in (8_000, 22_050, 48_000):
        iq = transmission(12_345.6, 1.0)
        pcm = joined(run(ChannelBank([channel(12_345.6, audio_rate_hz)]), blocks(iq, []))["one"])
        settled = pcm[audio_rate_hz // 5 : -audio_rate_hz // 50].astype(np.float64)
        assert sinad_db(settled, 1000.0, audio_rate_hz) > 60.0
        assert tone_frequency_hz(settled, audio_rate_hz) == pytest.approx(1000.0, abs=0.1)


def test_a_long_stream_leaves_the_counters_exact() -> None:
    rate_hz = 25_001.0
    bank = ChannelBank([channel(-4_000.0, 22_050)])
    zeros = np.zeros(1_000_003, np.complex64)
    audio = [pcm for number in range(12) for _, pcm in bank.push(block(zeros, number * zeros.shape[0], rate_hz))]
    audio += [pcm for _, pcm in bank.flush()]
    assert joined(audio).shape[0] == round(Fraction(12 * zeros.shape[0] * 22_050, 25_001))


def _form(argument: Any) -> str:
    """Type of an argument, as numba compiles for it."""
    return str(typeof(argument))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("rate_hz", "n_channels", "frame_loops"),
    [
        (250e3, 3, ("copy_sane",)),
        (1.024e6, 3, ("deal_sane", "unfold_bins")),
        (2.4e6, 1, ("zoom_samples", "copy_sane")),
    ],
)
def test_a_kernel_is_compiled_for_one_form_of_its_arrays(
    rate_hz: float, n_channels: int, frame_loops: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another form would be compiled in the middle of the stream, and the stream would wait for it.
    forms: dict[str, set[tuple[str, ...]]] = {}

    def note(module: ModuleType, name: str) -> None:
        kernel = getattr(module, name)

        def noted(*arguments: Any) -> Any:
            forms.setdefault(name, set()).add(tuple(_form(argument) for argument in arguments))
            return kernel(*arguments)

        monkeypatch.setattr(module, name, noted)

    kernels: dict[ModuleType, tuple[str, ...]] = {
        channel_module: (*frame_loops, "turn_rows"),
        chain: ("track_moments",),
        fm: ("discriminate_stack", "level_and_deemphasize_stack", "mean_and_peak"),
        resampler: ("fir", "interpolate_half_band"),
    }
    for module, names in kernels.items():
        for name in names:
            note(module, name)
    configs = [channel(25_000.0 * number, 48_000, str(number)) for number in range(n_channels)]
    bank = ChannelBank(configs)
    iq = complex_noise(120_000, 0.1, seed=9)
    bank.push(block(iq[:25_000], 0, rate_hz))
    read_only = iq[25_000:40_000].copy()
    read_only.flags.writeable = False
    bank.push(block(read_only, 25_000, rate_hz))
    bank.configure([*configs[1:], channel(-25_000.0, 48_000, "new"), channel(-50_000.0, 48_000, "newer")])
    bank.push(block(iq[40_000:60_000], 40_000, rate_hz))
    bank.push(block(iq[::2], 90_000, rate_hz))
    bank.flush()
    assert set(forms) == {name for names in kernels.values() for name in names}
    assert {name: len(of_kernel) for name, of_kernel in forms.items()} == dict.fromkeys(forms, 1)
