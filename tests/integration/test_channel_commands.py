"""Channels changed while the decode job runs, through a real Redis, with IQ that goes on all the while."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from app_core.alerts.alert import Alert
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from app_core.audio.channel_plan import ChannelOverlay, ChannelPlan, digest_of
from app_core.audio.decode_job import DecodeJob
from app_core.base.blocks import IqBlock, PcmBlock
from app_core.bridge import keys
from app_core.bridge.audio_commands import make_channel_command
from app_core.bridge.commands import CommandResultMessage, new_command_id, send_command, wait_for_result
from app_core.bridge.outbox import Outbox
from app_core.bridge.pcm_frame import decode_pcm
from app_core.bridge.pubsub import Subscriber
from app_core.bridge.sample_codec import encode_samples
from app_core.demod.channel import ChannelBank
from app_core.demod.channel_config import ChannelConfig
from app_core.dsp import fft
from services.decode_service import channel_of
from services.presets import expand_channel
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer
from tests.support.station import herald
from tests.unit.audio.recordings import IQ_CENTER_HZ, IQ_RATE_HZ, TEST, TORNADO, broadcast

FIRST_HZ, SECOND_HZ = 162_475_000, 162_500_000
STATION = [{"id": "first", "receiver_id": "rx", "frequency_hz": FIRST_HZ}]
SECOND = {"id": "second", "receiver_id": "rx", "frequency_hz": SECOND_HZ}
BLOCK = 5_000


class _Antenna:
    """Sends IQ in real time, as the SDR service does, over and over; what was sent can be had again."""

    def __init__(self, outbox: Outbox, receiver_id: str, iq: NDArray[np.complex64]) -> None:
        self._outbox = outbox
        self._receiver_id = receiver_id
        self._iq = iq[: len(iq) // BLOCK * BLOCK]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self.began_s = time.time()
        self.n_sent = 0
        self.correction_ppm: float | None = None

    def block(self, number: int) -> IqBlock:
        start = number * BLOCK
        iq = self._iq[start % len(self._iq) :][:BLOCK]
        return IqBlock(iq, IQ_RATE_HZ, IQ_CENTER_HZ, start, self.began_s + start / IQ_RATE_HZ, int(self.began_s * 1e9))

    def _send(self) -> None:
        while not self._stopping.wait(max(0.0, self.began_s + self.n_sent * BLOCK / IQ_RATE_HZ - time.time())):
            block = replace(self.block(self.n_sent), frequency_correction_ppm=self.correction_ppm)
            payload = encode_samples(block, self._receiver_id, self.n_sent)
            self._outbox.put(keys.samples(self._receiver_id), payload)
            self.n_sent += 1

    def __enter__(self) -> _Antenna:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


class _Station:
    """A decode job with its keeper, and the loop that looks after it."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        self._folder = folder
        self.redis = redis
        self.link = redis.link()
        self.published: list[Alert] = []
        self.pcm: dict[str, list[PcmBlock]] = {}

    @contextmanager
    def running(self, **corrections_ppm: float) -> Iterator[_Station]:
        """Run the job for the length of a block."""
        self.pcm.clear()
        overlay = ChannelOverlay(self._folder / "channels.json", digest_of(STATION))
        self.plan = ChannelPlan(STATION, overlay, channel_of, expand_channel)
        keeper = AlertKeeper(
            self._folder / "alerts", self.published.append, settings=KeeperSettings(lost_after_s=1.0, record=True)
        )
        outbox = Outbox(self.redis.settings)
        stopping = threading.Event()
        with ExitStack() as cleanup:
            cleanup.enter_context(keeper)
            cleanup.enter_context(outbox)
            self.job = DecodeJob(
                self.redis.settings, None, keeper, outbox, plan=self.plan, corrections_ppm=corrections_ppm
            )
            self.job.start()
            cleanup.callback(self.job.stop)
            watcher = threading.Thread(target=self._watch, args=(stopping,))
            watcher.start()
            cleanup.callback(watcher.join)
            cleanup.callback(stopping.set)
            ids = ["first", "second", "third"]
            cleanup.enter_context(Subscriber(self.redis.settings, [keys.pcm(name) for name in ids], self._take_pcm))
            yield self

    def _watch(self, stopping: threading.Event) -> None:
        while not stopping.wait(0.05):
            self.job.watch()

    def _take_pcm(self, channel: str, payload: bytes) -> None:
        self.pcm.setdefault(channel.removeprefix(keys.pcm("")), []).append(decode_pcm(payload))

    def do(self, action: str, **fields: Any) -> CommandResultMessage:
        command = make_channel_command({"action": action, "command_id": new_command_id(), **fields})
        send_command(self.link, command, keys.TO_AUDIO)
        result = wait_for_result(self.link, command.command_id, 30.0, keys.TO_AUDIO)
        assert result is not None, f"no result of {action}"
        return result

    def metrics(self) -> dict[str, Any]:
        text = self.redis.cli("GET", "audio:metrics")
        return dict(orjson.loads(text)) if text else {}

    def alert_of(self, channel_id: str, state: str) -> Alert | None:
        """Give the first alert of a channel that was published in a state."""
        found = (alert for alert in self.published if alert.state == state and channel_id in alert.channels)
        return next(found, None)

    def hears(self, name: str, n_blocks: int = 3) -> None:
        heard = len(self.pcm.get(name, []))
        eventually(lambda: len(self.pcm.get(name, [])) >= heard + n_blocks, f"audio of {name}")


@pytest.fixture(name="station")
def make_station(redis_server: RedisServer, tmp_path: Path) -> Iterator[_Station]:
    station = _Station(redis_server, tmp_path)
    yield station
    station.link.close()


@pytest.fixture(name="antenna")
def make_antenna(redis_server: RedisServer) -> Iterator[_Antenna]:
    iq = broadcast((TEST, FIRST_HZ), (TORNADO, SECOND_HZ))
    with Outbox(redis_server.settings) as outbox, _Antenna(outbox, "rx", iq) as antenna:
        yield antenna


def test_a_channel_comes_and_goes_and_the_others_audio_is_the_very_same(station: _Station, antenna: _Antenna) -> None:
    with station.running():
        station.hears("first")
        added = station.do("add_channel", channel=SECOND)
        assert (added.success, added.message) == (True, "channel second (162.5 MHz, nfm) added")
        station.hears("second")
        assert station.do("set_channel", channel_id="second", channel={"bandwidth_hz": 12_500}).success
        station.hears("second")
        assert station.do("remove_channel", channel_id="second").success
        n_second = len(station.pcm["second"])
        station.hears("first", 10)
        assert len(station.pcm["second"]) <= n_second + 1, "what had been on its way"
        eventually(lambda: list(station.metrics()["channels"]) == ["first"], "the metrics without it")
    heard = station.pcm["first"]
    for before, after in pairwise(heard):
        assert after.first_sample == before.first_sample + len(before.pcm)
    # The same IQ through a bank that was never changed, from the block on at which this one had begun.
    rate_hz = heard[0].sample_rate_hz
    begin = max(0, round(heard[0].first_sample / rate_hz * IQ_RATE_HZ / BLOCK) - 20)
    bank = ChannelBank([ChannelConfig.model_validate(STATION[0])])
    alone = [block for number in range(begin, antenna.n_sent) for _, block in bank.push(antenna.block(number))]
    expected = np.concatenate([block.pcm for block in alone])
    skipped = heard[0].first_sample - alone[0].first_sample
    audio = np.concatenate([block.pcm for block in heard])
    settled = slice(round(0.2 * rate_hz), None)
    assert np.abs(audio - expected[skipped:][: len(audio)])[settled].max() < 2e-3


def test_commands_pushed_with_redis_cli_are_answered_nonsense_too(station: _Station, antenna: _Antenna) -> None:
    redis = station.redis
    pushed = {
        "a": '{"command_id":"a","action":"get_channels"}',
        "b": '{"command_id":"b","action":"remove_channel","channel_id":"wx9"}',
        "c": '{"command_id":"c","action":',
        "d": '{"command_id":"d","action":"get_channels","expires_at":5}',
        "e": '{"command_id":"e","action":"add_channel","channel":{"id":"x y","receiver_id":"rx","frequency_hz":1e8}}',
        "f": '{"command_id":"f","action":"add_channel","channel":{"id":"x","receiver_id":"rx","frequency_hz":162.5}}',
    }
    with station.running():
        for payload in pushed.values():
            redis.cli("LPUSH", "audio:commands", payload)
        eventually(lambda: redis.cli("GET", "audio:command_result:f") != "", "the last result")
        results = {name: orjson.loads(redis.cli("GET", f"audio:command_result:{name}")) for name in pushed}
        assert results["a"]["message"] == "1 channel, as in station.toml"
        assert results["b"] == {
            "command_id": "b",
            "success": False,
            "message": "unknown channel 'wx9'; known are first",
        }
        assert "not JSON" in results["c"]["message"]
        assert results["d"]["message"] == "expired"
        assert "not an id" in results["e"]["message"]
        assert results["f"]["message"].startswith("channel.frequency_hz: frequency_hz is in hertz; 162.5 MHz")
        assert 25 <= int(redis.cli("TTL", "audio:command_result:f")) <= 30
        eventually(lambda: redis.cli("EXISTS", "audio:commands:under_way") == "0", "the end of all")
        eventually(lambda: station.metrics()["commands"]["failed"] == 3, "the counts")
        assert station.metrics()["commands"]["malformed"] == 1


def test_changes_outlive_a_restart_until_they_are_taken_back(station: _Station, antenna: _Antenna) -> None:
    with station.running():
        assert station.do("add_channel", channel=SECOND).success
    with station.running():
        station.hears("second")
        listed = station.do("get_channels")
        assert listed.message == "2 channels, changed by command"
        assert station.do("reset_channels").success
    with station.running():
        station.hears("first")
        assert station.do("get_channels").message == "1 channel, as in station.toml"


def test_a_receiver_that_nobody_had_listened_to_is_subscribed_to_and_let_go_again(
    station: _Station, antenna: _Antenna, redis_server: RedisServer
) -> None:
    iq = broadcast((TORNADO, SECOND_HZ))
    third = {"id": "third", "receiver_id": "ry", "frequency_hz": SECOND_HZ}
    with Outbox(redis_server.settings) as outbox, _Antenna(outbox, "ry", iq), station.running():
        station.hears("first")
        assert station.do("add_channel", channel=third).success
        station.hears("third")
        eventually(lambda: "decoder of ry" in station.metrics()["workers"], "its decoder")
        assert station.do("remove_channel", channel_id="third").success
        eventually(
            lambda: redis_server.cli("PUBSUB", "NUMSUB", "sdr:samples:ry").split()[-1] == "0",
            "the end of the subscription",
        )
        eventually(lambda: list(station.metrics()["receivers"]) == ["rx"], "the metrics without it")
        assert not [thread.name for thread in threading.enumerate() if thread.name == "Decoder-ry"]
        station.hears("first")


def test_a_channel_outside_the_band_is_taken_and_named(station: _Station, antenna: _Antenna) -> None:
    with station.running():
        station.hears("first")
        added = station.do("add_channel", channel=SECOND | {"frequency_hz": 98_500_000, "preset": "fm_broadcast"})
        assert added.success
        width = "200 kHz are wider than all that is received, 100 kHz: it needs 256000 samples a second"
        assert f"; it is not heard now: {width}" in added.message
        assert added.result is not None
        assert added.result["channel"]["stereo"] is True
        eventually(lambda: station.metrics()["channels"].get("second", {}).get("out_of_band") is True, "the metrics")
        assert station.metrics()["channels"]["second"]["misfit"].startswith(width)
        station.hears("first")


def test_the_open_message_of_a_removed_channel_is_ended_and_its_recording_closed(
    station: _Station, antenna: _Antenna
) -> None:
    with station.running():
        assert station.do("add_channel", channel=SECOND).success
        eventually(lambda: station.alert_of("second", "begun") is not None, "the alert")
        assert station.do("remove_channel", channel_id="second").success
        eventually(lambda: station.alert_of("second", "ended") is not None, "the end of the alert")
    alert = station.alert_of("second", "ended")
    assert alert is not None
    assert alert.recording is not None
    assert alert.recording_complete


def test_a_command_that_was_under_way_in_a_dead_process_is_answered(station: _Station, antenna: _Antenna) -> None:
    station.redis.cli("LPUSH", "audio:commands:under_way", '{"command_id":"left","action":"reset_channels"}')
    with station.running():
        result = wait_for_result(station.link, "left", 20.0, keys.TO_AUDIO)
    assert result is not None
    assert result.message.startswith("the audio service ended while this was under way")


def test_herald_command_sends_a_person_s_words_and_shows_the_result(
    redis_server: RedisServer, antenna: _Antenna, tmp_path: Path
) -> None:
    config = tmp_path / "station.toml"
    config.write_text(
        f"[redis]\nport = {redis_server.port}\n"
        '[[receivers]]\nid = "rx"\ndriver = "rtl_tcp"\n'
        f'[[channels]]\nid = "first"\nreceiver_id = "rx"\nfrequency_hz = {FIRST_HZ}\n'
    )
    decode = ["audio", "--role", "decode", "--config", str(config)]

    def command(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "command", *words, "--config", str(config), "--timeout-s", "60"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    with herald(*decode, folder=tmp_path) as program:
        code, shown, _ = command("add_channel", "second", "--receiver", "rx", "--frequency", "162.5 MHz")
        assert (code, shown.splitlines()[0]) == (0, "channel second (162.5 MHz, nfm) added")
        assert "  bandwidth_hz: 16000.0" in shown
        code, shown, _ = command("set_channel", "second", "--set", "name=Kansas City", "--squelch", "snr")
        assert (code, shown.splitlines()[0]) == (0, "channel second (162.5 MHz, nfm) changed")
        code, shown, _ = command("add_channel", "--id", "x", "--receiver", "roof", "--frequency", "162.4M")
        assert (code, shown) == (1, "unknown receiver 'roof'; known are rx\n")
        code, shown, _ = command("add_channel", "x", "--receiver", "rx", "--frequency", "98.5M", "--mode", "wfm",
                                 "--bandwidth", "16k")  # fmt: skip
        assert code == 1
        assert shown.startswith("channel: bandwidth_hz of broadcast FM (mode wfm) must be 100000 to 400000, not 16000")
        program.process.kill()
        program.process.wait(20)
    with herald(*decode, folder=tmp_path):
        code, shown, _ = command("get_channels")
        assert shown.splitlines() == [
            "2 channels, changed by command",
            "  changed: true",
            "  first  162.475 MHz  nfm  of rx",
            "  second  162.5 MHz  nfm  of rx  Kansas City",
        ]
        code, shown, _ = command("reset_channels", "--json")
        assert orjson.loads(shown)["message"] == "the channels are those of station.toml again: first"


def test_a_decoder_that_dies_comes_back_with_the_channels_of_now(station: _Station, antenna: _Antenna) -> None:
    with station.running():
        assert station.do("add_channel", channel=SECOND).success
        station.hears("second")
        decoder = station.job._decoders["rx"]

        def broken(*_: object) -> list[tuple[str, PcmBlock]]:
            raise RuntimeError("a defect")

        decoder.adapter.bank.push = broken  # type: ignore[method-assign,assignment]
        eventually(lambda: decoder.failure is not None, "its death")
        station.hears("second")
        station.hears("first")
        assert station.do("remove_channel", channel_id="first").success
        eventually(lambda: list(station.metrics()["channels"]) == ["second"], "the metrics without it")


def test_a_receiver_off_its_frequency_is_told_what_to_set(station: _Station, redis_server: RedisServer) -> None:
    # 800 Hz at 162 MHz are 4.9 ppm: carriers seem too high, so the crystal is slower than the correction says.
    iq = broadcast((TEST, FIRST_HZ + 800.0))
    with Outbox(redis_server.settings) as outbox, _Antenna(outbox, "rx", iq), station.running(rx=10.0):
        eventually(lambda: bool(station.metrics().get("receivers", {}).get("rx", {}).get("frequency_advice")), "advice")
        receiver = station.metrics()["receivers"]["rx"]
        channel = station.metrics()["channels"]["first"]
    assert receiver["frequency_correction_ppm"] == pytest.approx(-4.92, abs=0.3)
    assert receiver["frequency_advice"] == "set frequency_correction_ppm = 5"
    assert channel["frequency_error_ppm"] == pytest.approx(4.92, abs=0.3)
    assert channel["mode"] == "nfm"
    assert station.metrics()["fft_library"] == fft.LIBRARY


def test_the_advice_goes_by_the_correction_in_force_and_not_by_the_one_in_the_file(
    station: _Station, redis_server: RedisServer
) -> None:
    iq = broadcast((TEST, FIRST_HZ + 800.0))

    def advice() -> str:
        return str(station.metrics().get("receivers", {}).get("rx", {}).get("frequency_advice"))

    with Outbox(redis_server.settings) as outbox, _Antenna(outbox, "rx", iq) as antenna:
        antenna.correction_ppm = 25.0
        with station.running(rx=10.0):
            eventually(lambda: advice() == "set frequency_correction_ppm = 20", "advice from 25 ppm on")
            antenna.correction_ppm = 0.0
            eventually(lambda: advice() == "set frequency_correction_ppm = -5", "advice from 0 ppm on")
