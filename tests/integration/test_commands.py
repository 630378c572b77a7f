"""Commands through a real Redis to a real SDR service, with a generated antenna, a recording, and a dead server."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from app_core.bridge.commands import (
    CommandMessage,
    CommandResultMessage,
    make_command,
    new_command_id,
    send_command,
    wait_for_result,
)
from app_core.bridge.connection import RedisLink
from app_core.bridge.local_redis import free_port
from app_core.bridge.messages import SamplesMessage
from app_core.bridge.pubsub import Subscriber
from app_core.radio.control import MAX_WAITING
from app_core.radio.receiver import ReplaySettings
from app_core.radio.replay import ReplayReceiver
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer, running_redis
from tests.support.station import herald

ANTENNA_HZ = 162_475_000


class Station:
    """A running SDR service, and the way to it."""

    def __init__(self, redis: RedisServer, folder: Path, link: RedisLink) -> None:
        self.redis = redis
        self.folder = folder
        self.link = link

    def send(self, action: str, receiver_id: str = "noaa-1", **arguments: Any) -> str:
        command = make_command(
            {"action": action, "receiver_id": receiver_id, "command_id": new_command_id(), **arguments}
        )
        send_command(self.link, command)
        return command.command_id

    def result(self, command_id: str, timeout_s: float = 20.0) -> CommandResultMessage:
        result = wait_for_result(self.link, command_id, timeout_s)
        assert result is not None, f"no result of {command_id}"
        return result

    def do(self, action: str, receiver_id: str = "noaa-1", **arguments: Any) -> CommandResultMessage:
        return self.result(self.send(action, receiver_id, **arguments))

    def push(self, payload: bytes) -> None:
        self.link.call(lambda client: client.lpush("sdr:commands", payload))

    def metrics(self) -> dict[str, Any]:
        text = self.redis.cli("GET", "sdr:metrics")
        return dict(orjson.loads(text)) if text else {}

    def receiver(self, receiver_id: str = "noaa-1") -> dict[str, Any]:
        return dict(self.metrics().get("receivers", {}).get(receiver_id, {}))

    def herald_command(self, *arguments: str) -> tuple[int, str, str]:
        """Run ``herald command …``: exit code, standard output, standard error."""
        program = subprocess.run(
            [sys.executable, "-m", "services.cli", "command", *arguments],
            env={"REDIS_PORT": str(self.redis.port), "PATH": "/usr/bin:/bin", "HOME": str(self.folder)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return program.returncode, program.stdout.decode(), program.stderr.decode()


def _write_station(folder: Path, antenna_port: int, silent_port: int) -> Path:
    (np.random.default_rng(1).integers(100, 156, 500_000, dtype=np.uint8)).tofile(folder / "rec.cu8")
    path = folder / "station.toml"
    path.write_text(
        f"""
[[receivers]]
id = "noaa-1"
driver = "rtl_tcp"
port = {antenna_port}
center_frequency_hz = {ANTENNA_HZ}

[[receivers]]
id = "rec"
driver = "replay"
path = "{folder / "rec.cu8"}"
iq_format = "cu8"
sample_rate_hz = 250000
center_frequency_hz = 100000000

[[receivers]]
id = "silent"
driver = "rtl_tcp"
port = {silent_port}

[captures]
longest_s = 60
max_bytes = 20000000
"""
    )
    return path


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("station")
    port = free_port()
    with (
        running_redis(folder) as redis,
        socket.create_server(("127.0.0.1", 0)) as silent,
        herald("synth", "--serve", "--port", str(port), "--first-alert-s", "600", folder=folder),
        herald(
            "sdr",
            "--config",
            str(_write_station(folder, port, silent.getsockname()[1])),
            folder=folder,
            REDIS_PORT=str(redis.port),
        ),
    ):
        link = redis.link()
        station = Station(redis, folder, link)
        running = lambda: all(station.receiver(name).get("running") for name in ("noaa-1", "rec"))  # noqa: E731
        try:
            eventually(running, "both receivers", 60.0)
            yield station
        finally:
            link.close()
            sys.stderr.write((folder / "sdr.err").read_text()[-6000:])


def test_stop_start_and_restart_are_answered_in_the_words_of_the_contract(station: Station) -> None:
    assert station.do("start").message == "Receiver noaa-1 is already running"
    stopped = station.do("stop")
    assert (stopped.success, stopped.message) == (True, "Receiver noaa-1 stopped")
    eventually(lambda: station.receiver().get("state") == "stopped", "the metrics")
    assert station.receiver()["running"] is False
    assert station.receiver("rec")["running"] is True
    again = station.do("stop")
    assert (again.success, again.message) == (True, "Receiver noaa-1 is already stopped")
    refused = station.do("tune", frequency_hz=ANTENNA_HZ)
    assert (refused.success, refused.message) == (False, "receiver noaa-1 is not open: it is stopped")
    started = station.do("start")
    assert (started.success, started.message) == (True, "Receiver noaa-1 started")
    restarted = station.do("restart")
    assert (restarted.success, restarted.message) == (True, "Receiver noaa-1 restarted")
    eventually(lambda: bool(station.receiver().get("running")), "samples again")


def test_a_command_of_the_seed_s_form_pushed_with_redis_cli_is_carried_out(station: Station) -> None:
    station.redis.cli(
        "LPUSH", "sdr:commands", '{"action": "restart", "receiver_id": "noaa-1", "command_id": "cmd-12345"}'
    )
    eventually(lambda: station.redis.cli("GET", "sdr:command_result:cmd-12345") != "", "the result")
    result = orjson.loads(station.redis.cli("GET", "sdr:command_result:cmd-12345"))
    assert result == {"command_id": "cmd-12345", "success": True, "message": "Receiver noaa-1 restarted"}
    assert 25 <= int(station.redis.cli("TTL", "sdr:command_result:cmd-12345")) <= 30


def test_a_retune_begins_a_new_epoch_in_the_stream_and_no_message_mixes_the_two(station: Station) -> None:
    heard: list[SamplesMessage] = []

    def take(channel: str, payload: bytes) -> None:
        heard.append(SamplesMessage.from_json(payload))

    with Subscriber(station.redis.settings, ["sdr:samples:noaa-1"], take):
        # What an earlier test did to the receiver may still be on its way.
        began_at = time.time()
        eventually(lambda: len(heard) > 2 and heard[-2].timestamp > began_at, "messages of now")
        first = len(heard) - 1
        tuned = station.do("tune", frequency_hz=162_500_000)
        assert tuned.success, tuned.message
        assert tuned.result == {"frequency_hz": 162_500_000, "sample_rate": 250_000}
        eventually(lambda: heard[-1].center_frequency == 162_500_000, "the new frequency")
        assert station.do("tune", frequency_hz=ANTENNA_HZ).success
        eventually(lambda: heard[-1].center_frequency == ANTENNA_HZ, "the old frequency")
    for before, after in pairwise(heard[first:]):
        assert (before.config_epoch == after.config_epoch) == (before.center_frequency == after.center_frequency)
        assert after.config_epoch >= before.config_epoch
        assert after.first_sample >= before.first_sample + before.sample_count
    assert len({message.config_epoch for message in heard[first:]}) == 3


def test_a_gain_is_set_and_one_that_cannot_be_is_refused(station: Station) -> None:
    assert station.do("gain", gain_db=29.7).result == {"gain_db": 29.7}
    assert station.do("gain", gain_db="auto").message == "gain of receiver noaa-1 is automatic"
    refused = station.do("gain", gain_db=150.0)
    assert (refused.success, refused.message) == (False, "rtl_tcp takes a gain of 0 to 100 dB, not 150.0 dB")
    assert not station.do("gain", "rec", gain_db=10.0).success
    tuned = station.do("tune", "rec", frequency_hz=1e8)
    assert (tuned.success, tuned.message) == (False, "a receiver with driver 'replay' cannot be tuned")


def test_the_latest_spectrum_is_in_the_result(station: Station) -> None:
    result = station.do("get_spectrum").result
    assert result is not None
    assert (result["identifier"], result["fft_size"], len(result["spectrum"])) == ("noaa-1", 2048, 2048)
    assert time.time() - result["timestamp"] < 3.0


def test_a_capture_holds_the_very_samples_of_the_receiver(station: Station) -> None:
    past = station.do("capture", "rec", seconds=1.5, start_timestamp=time.time() - 2.0, label="past", reason="a test")
    assert past.success, past.message
    assert past.result is not None
    assert (past.result["samples"], past.result["gaps"], past.result["missing_s"]) == (375_000, 0, 0.0)
    path = Path(past.result["path"])
    assert path.parent == station.folder / "captures"
    player = ReplayReceiver(ReplaySettings(id="x", driver="replay", path=path, realtime=False))
    assert player.open().center_frequency_hz == 1e8
    player.close()
    captured = np.fromfile(path.with_suffix(".sigmf-data"), dtype=np.uint8)
    recorded = np.fromfile(station.folder / "rec.cu8", dtype=np.uint8)
    shift = next(
        index for index in range(0, len(recorded), 2) if np.array_equal(recorded[index : index + 64], captured[:64])
    )
    assert np.array_equal(np.resize(np.roll(recorded, -shift), len(captured)), captured)
    metadata = orjson.loads(path.read_bytes())
    assert metadata["annotations"][0]["core:label"] == "past"
    assert metadata["annotations"][0]["core:comment"] == "a test"


def test_a_capture_that_reaches_into_the_future_waits_for_its_samples_and_holds_up_nothing(station: Station) -> None:
    command_id = station.send("capture", "rec", seconds=4.0, start_timestamp=time.time() - 1.0)
    sent_s = time.monotonic()
    assert station.do("get_spectrum", "rec").success
    assert time.monotonic() - sent_s < 2.0
    result = station.result(command_id)
    assert result.success, result.message
    assert result.result is not None
    assert result.result["samples"] == 1_000_000
    assert 2.0 < time.monotonic() - sent_s < 15.0


def test_captures_beyond_a_limit_are_refused_with_the_limit(station: Station) -> None:
    assert station.do("capture", seconds=61.0).message == "a capture lasts at most 60 s, not 61 s"
    assert "the longest may take 20000000" in station.do("capture", seconds=50.0).message
    gone = station.do("capture", seconds=5.0, start_timestamp=time.time() - 3600.0)
    assert "no longer in memory" in gone.message


def test_commands_run_in_the_order_in_which_they_were_pushed(station: Station) -> None:
    frequencies = [162_400_000 + 1000 * step for step in range(20)] + [ANTENNA_HZ]
    epochs: list[int] = []

    def take(channel: str, payload: bytes) -> None:
        epochs.append(int(SamplesMessage.from_json(payload).center_frequency))

    with Subscriber(station.redis.settings, ["sdr:samples:noaa-1"], take):
        sent = [station.send("tune", frequency_hz=frequency_hz) for frequency_hz in frequencies]
        results = [station.result(command_id) for command_id in sent]
        eventually(lambda: bool(epochs) and epochs[-1] == ANTENNA_HZ, "the last frequency")
    assert [(result.result or {})["frequency_hz"] for result in results] == frequencies
    tuned = [frequency_hz for frequency_hz in epochs if frequency_hz != ANTENNA_HZ]
    assert tuned == sorted(tuned)
    eventually(lambda: station.receiver()["frequency_hz"] == ANTENNA_HZ, "the metrics")


def test_the_same_id_is_carried_out_once_and_answered_each_time(station: Station) -> None:
    opened = station.receiver()["reopen_count"]
    command = CommandMessage(action="capture", receiver_id="rec", command_id=new_command_id(), seconds=0.5)
    send_command(station.link, command)
    first = station.result(command.command_id)
    before = sorted((station.folder / "captures").iterdir())
    station.redis.cli("DEL", f"sdr:command_result:{command.command_id}")
    send_command(station.link, command)
    assert station.result(command.command_id) == first
    assert sorted((station.folder / "captures").iterdir()) == before
    assert station.receiver()["reopen_count"] == opened


def test_an_expired_command_is_answered_and_not_carried_out(station: Station) -> None:
    result = station.do("stop", expires_at=time.time() - 1.0)
    assert (result.success, result.message) == (False, "expired")
    assert station.do("start").message == "Receiver noaa-1 is already running"


def test_an_unknown_receiver_is_answered_with_the_known_ones(station: Station) -> None:
    result = station.do("stop", "noaa-9")
    assert (result.success, result.message) == (
        False,
        "unknown receiver 'noaa-9'; known are noaa-1, rec, silent",
    )


def test_a_slow_command_on_one_receiver_delays_no_other_and_no_publisher(station: Station) -> None:
    sequences: list[int] = []
    arrived_s: list[float] = []

    def take(channel: str, payload: bytes) -> None:
        sequences.append(SamplesMessage.from_json(payload).sequence)
        arrived_s.append(time.monotonic())

    with Subscriber(station.redis.settings, ["sdr:samples:noaa-1"], take):
        eventually(lambda: bool(sequences), "messages")
        slow = station.send("restart", "silent")
        waits_s = []
        for _ in range(20):
            asked_s = time.monotonic()
            assert station.do("gain", gain_db="auto").success
            waits_s.append(time.monotonic() - asked_s)
        assert wait_for_result(station.link, slow, 0.0) is None, "the slow one was not slow"
        result = station.result(slow)
    assert not result.success
    assert "receiver silent did not open within 8 s" in result.message
    assert max(waits_s) < 2.0
    assert [after - before for before, after in pairwise(sequences)] == [1] * (len(sequences) - 1)
    assert max(after - before for before, after in pairwise(arrived_s)) < 2.0


def test_more_commands_than_may_wait_are_answered_busy(station: Station) -> None:
    sent = [station.send("start", "silent") for _ in range(MAX_WAITING + 3)]
    busy = [wait_for_result(station.link, command_id, 5.0) for command_id in sent[-2:]]
    assert [result.message.split(":")[0] for result in busy if result is not None] == ["busy", "busy"]


def _malformed() -> list[bytes]:
    good = {"action": "stop", "receiver_id": "noaa-1"}
    wrong: list[dict[str, Any]] = [
        {"action": "dance"},
        {"action": None},
        {"action": ["stop"]},
        {"receiver_id": 7},
        {"receiver_id": "../noaa"},
        {"receiver_id": "nobody"},
        {"expires_at": "soon"},
        {"expires_at": -1},
        {"action": "tune"},
        {"action": "tune", "frequency_hz": "162.55"},
        {"action": "tune", "frequency_hz": True},
        {"action": "tune", "frequency_hz": -5},
        {"action": "tune", "frequency_hz": 1e30},
        {"action": "gain"},
        {"action": "gain", "gain_db": "loud"},
        {"action": "gain", "gain_db": 1e9},
        {"action": "capture"},
        {"action": "capture", "seconds": 0},
        {"action": "capture", "seconds": -3},
        {"action": "capture", "seconds": 1e12},
        {"action": "capture", "seconds": 1, "start_timestamp": {}},
        {"action": "capture", "seconds": 1, "label": "x" * 1000},
    ]
    payloads = [orjson.dumps(good | fields | {"command_id": f"bad-{index}"}) for index, fields in enumerate(wrong)]
    payloads += [
        b"",
        b"\x00\xff\xfe",
        b"stop",
        b"null",
        b"42",
        b'"stop"',
        b"[]",
        b'[{"action":"stop","receiver_id":"noaa-1"}]',
        b"{}",
        b"{",
        b'{"action":"tune","receiver_id":"noaa-1","frequency_hz":NaN,"command_id":"bad-nan"}',
        b'{"action":"tune","receiver_id":"noaa-1","frequency_hz":1e999,"command_id":"bad-infinity"}',
        b'{"command_id":"bad-deep","action":' + b"[" * 100_00 + b"]" * 100_00 + b"}",
        b"[" * 60_000,
        b'{"command_id":"bad-large","action":"' + b"x" * 10_000_000 + b'"}',
        b'{"command_id":"bad-torn","action":"st',
        b'{"command_id":"' + b"y" * 1000 + b'","action":"stop","receiver_id":"noaa-1"}',
        b'{"command_id":"a b","action":"stop","receiver_id":"noaa-1"}',
        b'{"command_id":{},"action":"stop","receiver_id":"noaa-1"}',
        '{"command_id":"\u00e9","action":"stop","receiver_id":"noaa-1"}'.encode("latin-1"),
    ]
    rng = np.random.default_rng(2)
    while len(payloads) < 100:
        payloads.append(rng.bytes(int(rng.integers(1, 2000))))
    return payloads


def test_a_hundred_malformed_commands_are_each_answered_or_counted_and_harm_nothing(station: Station) -> None:
    refused = ("malformed", "unknown_receiver")
    before = station.metrics()
    sequences: list[int] = []

    def take(channel: str, payload: bytes) -> None:
        sequences.append(SamplesMessage.from_json(payload).sequence)

    payloads = _malformed()
    with Subscriber(station.redis.settings, ["sdr:samples:noaa-1"], take):
        eventually(lambda: bool(sequences), "messages")
        for payload in payloads:
            station.push(payload)
        last = station.do("get_spectrum")
        assert last.success, "the command behind them is carried out"
        named = [f"bad-{index}" for index in range(22)] + [
            "bad-nan",
            "bad-infinity",
            "bad-deep",
            "bad-large",
            "bad-torn",
        ]
        for command_id in named:
            result = station.result(command_id, 5.0)
            assert not result.success
            assert len(result.message) > 10, command_id
        counted = sum(before["commands"][kind] for kind in refused) + len(payloads)
        eventually(lambda: sum(station.metrics()["commands"][kind] for kind in refused) == counted, "the counts")
        sent = len(sequences)
        eventually(lambda: len(sequences) > sent + 5, "samples after them")
    assert [after - before for before, after in pairwise(sequences)] == [1] * (len(sequences) - 1)
    after = station.metrics()
    assert after["pid"] == before["pid"]
    assert {worker["restarts"] for worker in after["workers"].values()} == {0}
    assert after["receivers"]["noaa-1"]["running"]


def test_herald_command_shows_the_result_and_tells_it_by_its_exit_code(station: Station) -> None:
    code, output, _ = station.herald_command("gain", "noaa-1", "--gain-db", "20", "--json")
    assert code == 0
    assert orjson.loads(output)["result"] == {"gain_db": 20.0}
    code, output, _ = station.herald_command("get_spectrum", "noaa-1")
    assert code == 0
    assert "spectrum: 2048 values" in output
    code, output, _ = station.herald_command("tune", "rec", "--frequency-hz", "100e6")
    assert (code, output) == (1, "a receiver with driver 'replay' cannot be tuned\n")
    code, _, error = station.herald_command("stop")
    assert code == 78
    assert "name the receiver: noaa-1, rec, silent" in error
    assert station.herald_command("tune", "noaa-1")[0] == 2


def test_a_command_under_way_when_the_service_is_killed_is_answered_by_the_next_one(tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis, socket.create_server(("127.0.0.1", 0)) as silent:
        config = _write_station(tmp_path, free_port(), silent.getsockname()[1])
        words, environment = ("sdr", "--config", str(config)), {"REDIS_PORT": str(redis.port)}
        link = redis.link()
        station = Station(redis, tmp_path, link)

        def left() -> str:
            return redis.cli("LRANGE", "sdr:commands:under_way", "0", "-1")

        with herald(*words, folder=tmp_path, **environment) as service:
            eventually(lambda: bool(station.receiver("rec").get("running")), "the recording", 60.0)
            under_way = station.send("capture", "rec", seconds=30.0)
            done = station.do("stop", "rec")
            assert done.success
            # What has its answer is under way no more; the capture waits for samples that do not come.
            eventually(lambda: under_way in left() and done.command_id not in left(), "the capture alone", 20.0)
            service.process.kill()
        with herald(*words, folder=tmp_path, **environment):
            result = station.result(under_way, 60.0)
            assert not result.success
            assert "the SDR service ended while this was under way" in result.message
            assert station.do("get_spectrum", "nobody").message.startswith("unknown receiver")
            eventually(lambda: left() == "", "an empty list", 20.0)
        link.close()


def test_herald_command_gives_up_when_nobody_answers(redis_server: RedisServer, tmp_path: Path) -> None:
    link = redis_server.link()
    nobody = Station(redis_server, tmp_path, link)
    code, _, error = nobody.herald_command("stop", "noaa-1", "--timeout-s", "0.2")
    left = orjson.loads(redis_server.cli("LPOP", "sdr:commands"))
    link.close()
    assert code == 3
    assert "is the SDR service running?" in error
    assert left["expires_at"] <= time.time() + 1.0, "what nobody waits for any more is not carried out later"


@pytest.mark.slow
def test_the_iq_of_an_alert_is_saved_and_holds_its_exact_header(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "station.toml"
    config.write_text(
        f"""
[[receivers]]
id = "noaa-1"
driver = "rtl_tcp"
port = {port}
center_frequency_hz = {ANTENNA_HZ}

[[channels]]
id = "wx-550"
receiver_id = "noaa-1"
frequency_hz = 162550000
"""
    )
    automatic = tmp_path / "captures" / "automatic"
    with running_redis(tmp_path) as redis:
        environment = {"REDIS_PORT": str(redis.port)}
        with (
            herald("synth", "--serve", "--port", str(port), "--first-alert-s", "12", folder=tmp_path),
            herald("sdr", "--config", str(config), folder=tmp_path, **environment),
            herald("audio", "--config", str(config), folder=tmp_path, **environment),
        ):
            link = redis.link()
            eventually(lambda: bool(link.call(lambda client: client.exists("eas:alerts"))), "the alert", 90.0)
            link.close()
            eventually(lambda: bool(list(automatic.glob("*.sigmf-meta"))), "the capture", 60.0)
            alert = orjson.loads(redis.cli("--raw", "XRANGE", "eas:alerts", "-", "+", "COUNT", "1").split("\n")[6])
            (capture,) = automatic.glob("*.sigmf-meta")
            with herald("decode", str(capture), "--json", folder=tmp_path) as decode:
                heard = decode.wait_for(lambda event: event["event"] == "header", 60.0)
    assert alert["alert_id"] in capture.name
    assert heard["header"] == alert["header"]
    annotation = orjson.loads(capture.read_bytes())["annotations"][0]
    assert annotation["core:label"] == f"SAME {alert['event_code']}"
    assert annotation["core:comment"] == f"{alert['header']} on channel wx-550"
