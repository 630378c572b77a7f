"""What is dead air and what is not: by real modulation, real pauses and the verdict's own arithmetic."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.audio import dead_air_watch
from app_core.audio.broadcast_queue import BroadcastQueue
from app_core.audio.dead_air import AirJudge, DeadAirSettings, Kind, SourceAir, kind_of, read_air
from app_core.audio.dead_air_watch import DeadAirWatch
from app_core.base.blocks import IqBlock, PcmBlock
from app_core.demod.channel import ChannelBank
from app_core.demod.channel_config import ChannelConfig
from tests.support.programs import eventually

RATE_HZ = 24_000
SETTINGS = DeadAirSettings()
_RNG = np.random.default_rng(6)


def _noise(seconds: float, amplitude: float = 0.1, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    return (amplitude * np.random.default_rng(6).standard_normal(round(seconds * rate_hz))).astype(np.float32)


def _tone(seconds: float, frequency_hz: float = 1050.0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    cycles = frequency_hz / rate_hz * np.arange(round(seconds * rate_hz))
    return np.asarray(0.5 * np.sin(2 * np.pi * cycles), np.float32)


def _voice(seconds: float) -> NDArray[np.float32]:
    """A buzz of 120 Hz in syllables, four a second: what is steady neither in level nor in spectrum."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 120.0 * k * time_s) / k for k in range(1, 25))
    return np.asarray(0.1 * buzz * np.clip(np.sin(2 * np.pi * 2.0 * time_s), 0.0, None), np.float32)


def _fm_noise(seconds: int, mode: str = "nfm") -> tuple[NDArray[np.float32], dict[str, object]]:
    """What a channel without a carrier sounds like, and what the demodulator says of it."""
    bank = ChannelBank(
        [ChannelConfig.model_validate({"id": "a", "receiver_id": "r", "frequency_hz": 162.55e6, "mode": mode})]
    )
    iq = (0.01 * _RNG.standard_normal(2 * 250_000 * seconds, dtype=np.float32)).view(np.complex64)
    pcm = [
        audio.pcm
        for first in range(0, len(iq), 25_000)
        for _, audio in bank.push(
            IqBlock(iq[first : first + 25_000], 250_000.0, 162_487_500.0, first, first / 250_000, 1)
        )
    ]
    return np.concatenate(pcm), {"mode": mode, **bank.levels()["a"]}


def _kind(pcm: NDArray[np.float32], rate_hz: float = RATE_HZ, **entry: object) -> Kind:
    return kind_of(read_air(pcm, rate_hz), SETTINGS, **entry)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 22_050, 24_000, 48_000])
def test_each_kind_of_a_second_is_told_at_every_rate(rate_hz: int) -> None:
    assert _kind(_noise(1.0, rate_hz=rate_hz), rate_hz) == "noise"
    assert _kind(_tone(1.0, rate_hz=rate_hz), rate_hz) == "audio"
    assert _kind(np.zeros(rate_hz, np.float32), rate_hz) == "silence"
    assert _kind(_noise(1.0, 1e-4, rate_hz), rate_hz) == "silence"
    assert _kind(np.full(rate_hz, 0.3, np.float32), rate_hz) == "silence"


def test_a_tone_in_noise_and_a_voice_in_noise_are_audio() -> None:
    assert _kind(_tone(1.0) + _noise(1.0, 0.05)) == "audio"
    assert _kind(_voice(1.0) + _noise(1.0, 0.005)) == "audio"


@pytest.mark.parametrize("mode", ["nfm", "am", "usb"])
def test_a_channel_without_a_carrier_is_noise_in_every_mode(mode: str) -> None:
    pcm, _ = _fm_noise(4, mode)
    kinds = [_kind(pcm[first : first + RATE_HZ]) for first in range(RATE_HZ, 3 * RATE_HZ + 1, RATE_HZ)]
    assert set(kinds) == {"noise"}


def test_without_a_carrier_a_steady_whistle_is_noise_too() -> None:
    whistle = _tone(1.0)
    assert _kind(whistle, snr_db=-10.0, mode="nfm") == "noise"
    assert _kind(whistle, snr_db=30.0, mode="nfm") == "audio"
    assert _kind(whistle, snr_db=-10.0, mode="am") == "audio"


def test_stereo_is_judged_by_its_louder_side() -> None:
    one_sided = np.stack([np.zeros(RATE_HZ, np.float32), _noise(1.0)], axis=1)
    assert _kind(one_sided) == "noise"
    assert _kind(np.zeros((RATE_HZ, 2), np.float32)) == "silence"


def test_nan_and_nothing_are_silence() -> None:
    assert _kind(np.full(RATE_HZ, np.nan, np.float32)) == "silence"
    assert _kind(np.zeros(0, np.float32)) == "silence"


def _air(settings: DeadAirSettings = SETTINGS) -> SourceAir:
    return SourceAir("wx1", settings, 1000.0)


def _seconds(pcm: NDArray[np.float32]) -> Iterator[list[PcmBlock]]:
    """Cut audio as it comes from Redis, in blocks that do not divide a second, a list for each second or so."""
    size = 7_001
    blocks = [PcmBlock(pcm[i : i + size], float(RATE_HZ), i, 0.0, 1) for i in range(0, len(pcm), size)]
    for first in range(0, len(blocks), 3):
        yield blocks[first : first + 3]


def _hear(air: SourceAir, pcm: NDArray[np.float32], now: float) -> float:
    for blocks in _seconds(pcm):
        now += sum(len(block.pcm) for block in blocks) / RATE_HZ
        air.push(blocks, now)
    return now


def test_silence_is_a_fault_after_its_limit_and_clears_by_itself() -> None:
    air = _air()
    now = _hear(air, np.zeros(29 * RATE_HZ, np.float32), 1000.0)
    assert air.status(now)["fault"] is None
    now = _hear(air, np.zeros(3 * RATE_HZ, np.float32), now)
    assert air.fault == "silence"
    assert air.since == pytest.approx(1000.0, abs=1.5)
    status = air.status(now)
    assert status["fault"] == "silence"
    assert status["lasts_s"] == pytest.approx(32.0, abs=1.5)
    assert "nothing but silence at -120 dBFS for 3" in status["words"]
    now = _hear(air, _voice(2.0), now)
    assert air.fault == "silence", "one word is no programme"
    now = _hear(air, _voice(4.0), now)
    status = air.status(now)
    assert (status["fault"], status["since"], status["words"]) == (None, None, "")


def test_noise_without_a_carrier_is_named_with_its_snr() -> None:
    pcm, entry = _fm_noise(6)
    air = _air()
    air.entry = entry
    now = 1000.0
    for _ in range(11):
        now = _hear(air, pcm[RATE_HZ // 2 :], now)
    assert air.fault == "noise"
    assert re.search(r"nothing but noise at -\d+ dBFS .* SNR in the channel -\d+ dB: no carrier$", air.words(now))


def test_the_pauses_of_a_continuous_programme_are_no_fault() -> None:
    """Five minutes of messages with pauses of up to nine seconds, silent ones and hissing ones."""
    air = _air()
    now = 1000.0
    for number in range(20):
        now = _hear(air, _voice(6.0), now)
        pause_s = 1.0 + number % 9
        pause = _noise(pause_s, 0.005) if number % 2 else np.zeros(round(pause_s * RATE_HZ), np.float32)
        now = _hear(air, pause, now)
        assert air.fault is None


def test_a_click_does_not_end_a_silence() -> None:
    air = _air()
    click = np.zeros(20 * RATE_HZ, np.float32)
    click[::4000] = 0.0
    click[10 * RATE_HZ : 10 * RATE_HZ + 400] = 0.8
    now = _hear(air, click, 1000.0)
    _hear(air, click, now)
    assert air.fault == "silence"


def test_no_audio_at_all_is_a_fault_and_audio_ends_it() -> None:
    air = _air()
    now = 1000.0
    for _ in range(22):
        now += 0.5
        air.push([], now)
    assert air.fault == "no audio"
    assert air.since == pytest.approx(1000.0, abs=0.6)
    assert air.words(now) == "no audio at all for 11 s"
    _hear(air, _voice(4.5), now)
    assert air.fault is None


def test_blocks_without_audio_are_none() -> None:
    air = _air()
    empty = PcmBlock(np.zeros(0, np.float32), RATE_HZ, 0, 0.0, 0)
    now = 1000.0
    while air.fault is None and now < 1500.0:
        now += 1.0
        air.push([empty] * 10, now)
    assert air.fault == "no audio"
    assert air.reading is None


def test_a_closed_squelch_is_quiet_on_purpose() -> None:
    air = _air()
    air.entry = {"squelch_open": False}
    _hear(air, np.zeros(60 * RATE_HZ, np.float32), 1000.0)
    assert air.fault is None
    air.entry = {"squelch_open": True}
    _hear(air, np.zeros(60 * RATE_HZ, np.float32), 1060.0)
    assert air.fault == "silence"


def test_a_fault_that_becomes_another_keeps_no_old_name() -> None:
    judge = AirJudge(DeadAirSettings(silence_s=5, noise_s=5, no_audio_s=5))
    kinds: tuple[Kind, ...] = ("silence", "no audio", "noise")
    seen = [judge.fault for number in range(18) if judge.take(kinds[number // 6], float(number))]
    assert seen == ["silence", "no audio", "noise"]
    assert judge.fault_count == 3


class _Feed:
    def __init__(self) -> None:
        self.queues: dict[str, BroadcastQueue] = {}

    def queue(self, channel_id: str) -> BroadcastQueue:
        return self.queues.setdefault(channel_id, BroadcastQueue(channel_id))


class _Acknowledged:
    def __init__(self) -> None:
        self.seen: set[str] = set()

    def read(self, channel_ids: object) -> set[str]:
        return self.seen

    def forget(self, channel_id: str) -> None:
        self.seen.discard(channel_id)


def test_the_watch_follows_sources_logs_once_and_is_acknowledged(caplog: pytest.LogCaptureFixture) -> None:
    feed, acknowledged = _Feed(), _Acknowledged()
    entries: dict[str, dict[str, object]] = {"wx1": {}, "wx2": {}, "quiet": {}}
    settings = DeadAirSettings(silence_s=5, no_audio_s=600, ignore=("quiet",))
    watch = DeadAirWatch(feed, lambda: entries, settings, acknowledged)
    silent = PcmBlock(np.zeros(RATE_HZ, np.float32), float(RATE_HZ), 0, 0.0, 1)
    spoken = PcmBlock(_voice(1.0), float(RATE_HZ), 0, 0.0, 1)
    now = 1000.0
    watch.look(now)
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            now += 1.0
            feed.queue("wx1").put(silent)
            feed.queue("wx2").put(spoken)
            watch.look(now)
    assert [record.getMessage() for record in caplog.records] == [
        "wx1 is dead air (silence): nothing but silence at -120 dBFS for 5 s"
    ]
    status = watch.status()
    assert set(status) == {"wx1", "wx2"}
    assert (status["wx1"]["fault"], status["wx2"]["fault"]) == ("silence", None)
    assert status["wx1"]["acknowledged"] is False
    acknowledged.seen.add("wx1")
    watch.look(now)
    assert watch.status()["wx1"]["acknowledged"] is True
    for _ in range(4):
        now += 1.0
        feed.queue("wx1").put(spoken)
        watch.look(now)
    assert watch.status()["wx1"]["fault"] is None
    assert acknowledged.seen == set(), "the next fault is news"
    del entries["wx1"]
    watch.look(now)
    assert set(watch.status()) == {"wx2"}
    assert not feed.queue("wx1").status()


class _Clock(threading.Event):
    """A machine on which each wait passes at once, and whose wall clock is set while it runs."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self._step_s = step_s
        self.since_boot_s = 5000.0

    def wait(self, timeout: float | None = None) -> bool:
        self.since_boot_s += timeout or 0.0
        return self.since_boot_s > 5020.0

    def monotonic(self) -> float:
        return self.since_boot_s

    def time(self) -> float:
        return 1.7e9 + self.since_boot_s + (self._step_s if self.since_boot_s > 5003.0 else 0.0)


@pytest.mark.parametrize("step_s", [-3600.0, 0.0, 3600.0])
def test_a_step_of_the_wall_clock_changes_no_verdict(step_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(step_s)
    monkeypatch.setattr(dead_air_watch, "time", clock)
    watch = DeadAirWatch(_Feed(), lambda: {"wx1": {}}, DeadAirSettings(no_audio_s=5))
    watch.run(clock)
    status = watch.status()["wx1"]
    assert status["fault"] == "no audio"
    assert status["lasts_s"] == pytest.approx(20.0, abs=1.0)
    assert clock.time() - status["since"] == pytest.approx(20.0, abs=1.5), "for people it is in the present UTC"


def test_the_thread_looks_and_stops_and_lets_its_queues_go() -> None:
    feed = _Feed()
    with DeadAirWatch(feed, lambda: {"wx1": {}}, SETTINGS) as watch:
        eventually(lambda: "wx1" in watch.status(), "the first look")
        assert feed.queue("wx1").has_subscribers
    assert not feed.queue("wx1").status()
