"""One receiver's decoder: its channels come, change and go between two blocks, and the others do not notice."""

from __future__ import annotations

import queue
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.audio.receiver_decoder import ReceiverDecoder, frequency_correction_ppm
from app_core.audio.redis_sdr_adapter import RedisSDRSourceAdapter
from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import ConfigError, LifecycleError
from app_core.bridge import keys
from app_core.bridge.pcm_frame import decode_pcm, encode_pcm
from app_core.demod.channel import ChannelBank
from app_core.demod.channel_config import ChannelConfig
from app_core.eas.events import CarrierLost, HeaderDecoded, SameEvent
from tests.support.programs import eventually
from tests.support.signals import complex_noise, fm_modulate
from tests.unit.audio.recordings import IQ_CENTER_HZ, IQ_RATE_HZ, TEST, TORNADO, broadcast

BLOCK = 5_000
FIRST_HZ, SECOND_HZ = 162_475_000.0, 162_500_000.0


def _channel(channel_id: str, frequency_hz: float, **settings: Any) -> ChannelConfig:
    return ChannelConfig.model_validate(
        {"id": channel_id, "receiver_id": "rx", "frequency_hz": frequency_hz} | settings
    )


FIRST, SECOND = _channel("first", FIRST_HZ), _channel("second", SECOND_HZ)


class _Adapter:
    """Where the IQ comes from: what a test puts into it."""

    receiver_id = "rx"
    lateness_s = 0.0
    has_begun = True

    def __init__(self, channels: list[ChannelConfig]) -> None:
        self.bank = ChannelBank(channels, listen=True)
        self.blocks: queue.Queue[IqBlock] = queue.Queue()
        self.n_put = 0
        self.n_read = 0

    def put(self, iq: NDArray[np.complex64]) -> None:
        for start in range(0, len(iq), BLOCK):
            at = self.n_put * BLOCK
            block = IqBlock(iq[start : start + BLOCK], IQ_RATE_HZ, IQ_CENTER_HZ, at, 1e9 + at / IQ_RATE_HZ, 1)
            self.blocks.put(block)
            self.n_put += 1

    def read(self, timeout_s: float) -> list[tuple[str, PcmBlock]]:
        try:
            audio = self.bank.push(self.blocks.get(timeout=0.01))
        except queue.Empty:
            return []
        self.n_read += 1
        return audio

    def close(self) -> None:
        pass


class _Keeper:
    """Notes the headers that it is told of."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str]] = []
        self.ended: list[str] = []
        self.lost_carriers: list[str] = []

    def end_channel(self, channel_id: str) -> None:
        self.ended.append(channel_id)

    def on_pcm(self, channel_id: str, block: PcmBlock) -> None:
        pass

    def on_events(
        self, channel_id: str, receiver_id: str, events: list[SameEvent], to_utc: Callable[[int], float]
    ) -> None:
        self.headers += [(channel_id, event.header.text) for event in events if isinstance(event, HeaderDecoded)]
        self.lost_carriers += [channel_id for event in events if isinstance(event, CarrierLost)]


class _Station:
    def __init__(self, *channels: ChannelConfig) -> None:
        self.adapter = _Adapter(list(channels))
        self.keeper = _Keeper()
        self.pcm: dict[str, list[PcmBlock]] = {}
        adapter = cast(RedisSDRSourceAdapter, self.adapter)
        self.decoder = ReceiverDecoder(adapter, self.keeper, channels, self._publish)

    def _publish(self, channel: str, frame: bytes) -> None:
        self.pcm.setdefault(channel.removeprefix(keys.pcm("")), []).append(decode_pcm(frame))

    def play(self, iq: NDArray[np.complex64]) -> None:
        self.adapter.put(iq)
        eventually(lambda: self.adapter.n_read == self.adapter.n_put, "that all is read")

    def change(self, *channels: ChannelConfig) -> None:
        self.decoder.configure(channels).result(20.0)

    def audio(self, name: str) -> NDArray[np.float32]:
        """All audio of a channel; it must be without a gap."""
        blocks = self.pcm[name]
        for before, after in pairwise(blocks):
            assert after.first_sample == before.first_sample + len(before.pcm)
        return np.concatenate([block.pcm for block in blocks])


def test_a_channel_that_stays_is_heard_as_if_nothing_had_happened_beside_it() -> None:
    iq = broadcast((TEST, FIRST_HZ), (TORNADO, SECOND_HZ))
    iq = iq[: len(iq) // BLOCK * BLOCK]
    station, third = _Station(FIRST), len(iq) // BLOCK // 3 * BLOCK
    with station.decoder:
        station.play(iq[:third])
        station.change(FIRST, SECOND)
        station.play(iq[third : 2 * third])
        station.change(FIRST)
        station.play(iq[2 * third :])
    alone = ChannelBank([FIRST])
    expected = [
        decode_pcm(encode_pcm(block)).pcm
        for number in range(len(iq) // BLOCK)
        for _, block in alone.push(
            IqBlock(iq[number * BLOCK :][:BLOCK], IQ_RATE_HZ, IQ_CENTER_HZ, number * BLOCK, 0.0, 1)
        )
    ]
    assert np.array_equal(station.audio("first"), np.concatenate(expected))
    assert station.keeper.headers[0] == ("first", TEST)
    assert len(station.audio("second")) > 0
    assert list(station.decoder.monitors) == ["first"]


def test_a_channel_that_is_added_hears_what_comes_from_then_on() -> None:
    station = _Station(FIRST)
    with station.decoder:
        station.play(broadcast((TEST, FIRST_HZ))[: 10 * BLOCK])
        station.change(FIRST, SECOND)
        station.play(broadcast((TORNADO, SECOND_HZ)))
        assert station.decoder.channel_status([SECOND])["second"]["running"]
    assert ("second", TORNADO) in station.keeper.headers


def test_what_a_removed_channel_had_heard_is_decided_when_it_goes() -> None:
    iq = broadcast((TORNADO, SECOND_HZ))
    station = _Station(FIRST, SECOND)
    # Up to the second burst, in which the header could still get another form.
    heard_s = 0.5 + 2 * (len(TORNADO) + 16) * 8 / 520.83 + 1.0
    with station.decoder:
        station.play(iq[: round(heard_s * IQ_RATE_HZ) // BLOCK * BLOCK])
        station.change(FIRST)
        assert station.keeper.headers == [("second", TORNADO)]


def test_another_frequency_is_another_channel_but_another_name_is_not() -> None:
    station = _Station(FIRST, SECOND)
    with station.decoder:
        first, second = station.decoder.monitors.values()
        listeners_only = {"name": "Kansas City", "squelch": {"mode": "snr"}, "loudness_lufs": -20.0}
        station.change(_channel("first", FIRST_HZ, **listeners_only), SECOND)
        assert station.decoder.monitors["first"] is first
        station.change(_channel("first", FIRST_HZ + 5_000.0), SECOND)
        assert station.decoder.monitors["first"] is not first
        assert station.decoder.monitors["second"] is second


def test_people_hear_silence_and_the_decoder_hears_the_alert_behind_a_closed_squelch() -> None:
    # A squelch that no signal opens: 80 dB are asked for.
    shut = _channel("first", FIRST_HZ, squelch={"mode": "snr", "open_db": 80.0, "close_db": 70.0})
    station = _Station(shut)
    with station.decoder:
        station.play(broadcast((TEST, FIRST_HZ)))
        station.change()
    assert station.keeper.headers == [("first", TEST)]
    assert not station.audio("first").any()


def test_loudness_is_leveled_for_people_and_not_for_the_decoder() -> None:
    iq = broadcast((TEST, FIRST_HZ))
    plain, leveled = _Station(FIRST), _Station(_channel("first", FIRST_HZ, loudness_lufs=-40.0))
    for station in (plain, leveled):
        with station.decoder:
            station.play(iq)
        assert station.keeper.headers == [("first", TEST)]
    end = slice(-24_000, None)
    ratio = np.abs(leveled.audio("first")[end]).max() / np.abs(plain.audio("first")[end]).max()
    assert ratio < 0.5, "what is too loud is lowered"


def test_a_carrier_that_goes_within_a_message_is_lost_and_one_that_stays_or_was_never_there_is_not() -> None:
    # Both messages break off behind their headers; the first one's carrier goes with it, the second one's stays.
    headers_s = 0.5 + 3 * ((len(TORNADO) + 16) * 8 / 520.83 + 1.0)
    n_headers, n_after = (round(length_s * IQ_RATE_HZ) // BLOCK * BLOCK for length_s in (headers_s, 6.0))
    quiet_hz = 162_450_000.0
    iq = broadcast((TORNADO, FIRST_HZ), (TEST, SECOND_HZ))[:n_headers]
    silent = fm_modulate(np.zeros(n_after, np.float32), IQ_RATE_HZ, 5_000.0, SECOND_HZ - IQ_CENTER_HZ, 0.3)
    station = _Station(FIRST, SECOND, _channel("empty", quiet_hz))
    with station.decoder:
        station.play(iq)
        assert station.keeper.lost_carriers == []
        station.play(silent + complex_noise(n_after, 1e-4, seed=2))
    assert {name for name, _ in station.keeper.headers} == {"first", "second"}
    assert station.keeper.lost_carriers == ["first"]


LEVELED = _channel("first", FIRST_HZ, loudness_lufs=-40.0)


def test_a_change_beside_it_leaves_a_leveled_channel_its_gain() -> None:
    iq = broadcast((TEST, FIRST_HZ))
    undisturbed, changed = _Station(LEVELED), _Station(LEVELED)
    with undisturbed.decoder, changed.decoder:
        undisturbed.play(iq)
        changed.play(iq[: 60 * BLOCK])
        changed.change(LEVELED, SECOND)
        changed.play(iq[60 * BLOCK :])
    assert np.array_equal(changed.audio("first"), undisturbed.audio("first"))


def test_another_target_is_reached_without_a_break() -> None:
    iq = broadcast((TEST, FIRST_HZ))[: 140 * BLOCK]
    kept, changed = _Station(LEVELED), _Station(LEVELED)
    with kept.decoder, changed.decoder:
        for station, last in ((kept, LEVELED), (changed, _channel("first", FIRST_HZ, loudness_lufs=-10.0))):
            station.play(iq[: 60 * BLOCK])
            station.change(last)
            station.play(iq[60 * BLOCK :])
    loud, soft = (np.abs(station.audio("first")[-24_000:]).max() for station in (changed, kept))
    assert loud > 2.0 * soft


def test_what_a_leveler_holds_is_heard_when_it_is_turned_off() -> None:
    iq = broadcast((TEST, FIRST_HZ))[: 120 * BLOCK]
    plain, turned_off = _Station(FIRST), _Station(LEVELED)
    with plain.decoder, turned_off.decoder:
        plain.play(iq)
        turned_off.play(iq[: 60 * BLOCK])
        turned_off.change(FIRST)
        turned_off.play(iq[60 * BLOCK :])
    # `audio` finds every gap.
    assert turned_off.audio("first").shape == plain.audio("first").shape


def test_audio_that_comes_late_or_may_have_been_played_is_decoded_and_not_published() -> None:
    iq = broadcast((TEST, FIRST_HZ))
    late, not_begun = _Station(FIRST), _Station(FIRST)
    late.adapter.lateness_s = 3.0
    not_begun.adapter.has_begun = False
    for station in (late, not_begun):
        with station.decoder:
            station.play(iq)
        assert station.keeper.headers == [("first", TEST)]
        assert station.pcm == {}


def test_a_change_that_the_bank_refuses_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    station = _Station(FIRST)

    def refuse(*_: object) -> None:
        station.adapter.bank.push(IqBlock(np.zeros(BLOCK, np.complex64), 50_000.0, IQ_CENTER_HZ, 0, 0.0, 2))
        raise ConfigError("not at this rate")

    with station.decoder:
        station.play(broadcast((TEST, FIRST_HZ))[: 4 * BLOCK])
        monkeypatch.setattr(station.adapter.bank, "configure", refuse)
        with pytest.raises(ConfigError, match="not at this rate"):
            station.change(FIRST, SECOND)
        assert list(station.decoder.monitors) == ["first"]
        station.play(broadcast((TEST, FIRST_HZ)))
    assert ("first", TEST) in station.keeper.headers


def test_a_change_that_breaks_the_decoder_is_answered_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    station = _Station(FIRST)

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(station.adapter.bank, "configure", broken)
    with station.decoder:
        with pytest.raises(LifecycleError, match="Decoder-rx failed"):
            station.change(FIRST, SECOND)
        eventually(lambda: station.decoder.failure is not None, "the end of the decoder")


def test_only_the_last_of_several_wishes_is_carried_out() -> None:
    station = _Station(FIRST)
    forgotten = station.decoder.configure([FIRST, SECOND])
    done = station.decoder.configure([SECOND])
    with station.decoder:
        done.result(20.0)
        assert forgotten.cancelled()
        assert list(station.decoder.monitors) == ["second"]


def test_a_decoder_that_was_replaced_says_so_to_who_waits() -> None:
    station = _Station(FIRST)
    done = station.decoder.configure([FIRST, SECOND])
    station.decoder.resign()
    assert done.result(0.0) is None


def test_the_status_of_a_channel_tells_its_mode_and_how_far_its_carrier_is_off() -> None:
    station = _Station(FIRST)
    pending = station.decoder.channel_status([FIRST, SECOND])
    assert (pending["second"]["running"], pending["second"]["mode"]) == (False, "nfm")
    assert "frequency_error_ppm" not in pending["second"]
    with station.decoder:
        station.play(broadcast((TEST, FIRST_HZ + 800.0)))
        status = station.decoder.channel_status([FIRST])["first"]
    assert status["frequency_error_hz"] == pytest.approx(800.0, abs=20.0)
    assert status["frequency_error_ppm"] == pytest.approx(800.0 / 162.475, abs=0.2)


def _entry(ppm: float | None, snr_db: float = 30.0, mode: str = "nfm", *, running: bool = True) -> dict[str, Any]:
    return {"frequency_error_ppm": ppm, "snr_db": snr_db, "mode": mode, "running": running}


def test_a_receivers_correction_is_the_median_of_its_strong_carriers() -> None:
    assert frequency_correction_ppm([_entry(-2.0), _entry(-3.0), _entry(40.0)]) == 2.0
    assert frequency_correction_ppm([_entry(-2.0), _entry(7.0, snr_db=14.0)]) == 2.0
    assert frequency_correction_ppm([_entry(-2.0), _entry(0.0, mode="usb"), _entry(None)]) == 2.0
    assert frequency_correction_ppm([_entry(-2.0), _entry(9.0, running=False), {"running": True, "mode": "am"}]) == 2.0
    assert frequency_correction_ppm([_entry(1.0, snr_db=3.0)]) is None
