"""Streams that are listened to like radios: SAME, recordings, alerts and audio to Redis, beside radios that go on."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import pytest
import soundfile

from app_core.alerts.alert import Alert
from app_core.audio.ingest_config import StreamSettings
from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.child import Child
from app_core.bridge import keys
from app_core.bridge.alert_stream import AlertTail
from app_core.bridge.audio_commands import make_channel_command
from app_core.bridge.commands import new_command_id, send_command, wait_for_result
from app_core.bridge.diagnosis import diagnose, diagnose_audio, read_station_health
from app_core.bridge.outbox import Outbox
from app_core.bridge.pcm_frame import decode_pcm
from app_core.bridge.pubsub import Subscriber
from app_core.bridge.sample_codec import encode_samples
from services.decode_service import DecodeService, build
from services.settings import load
from tests.support.icecast_server import SOURCE_PASSWORD, IcecastDaemon, running_icecast
from tests.support.programs import eventually, require_program
from tests.support.redis_server import RedisServer
from tests.support.stream_server import StreamServer, page, stream_server
from tests.unit.audio.ingest import Sink, encoded, listening
from tests.unit.audio.recordings import IQ_CENTER_HZ, IQ_RATE_HZ, RATE_HZ, TEST, TORNADO, broadcast, spoken

CORPUS = os.environ.get("HERALD_CORPUS")
BLOCK = 5_000
CHANNEL = '[[channels]]\nid = "wx1"\nreceiver_id = "rx"\nfrequency_hz = 162475000\n'


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_program("ffmpeg")
    for name in ("CONFIG_PATH", "REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "HERALD_STATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HERALD_DATA_DIR", str(tmp_path / "kept"))


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with stream_server() as running:
        yield running


def table(source_id: str, url: str, **more: str) -> str:
    """Write a ``[[sources]]`` table."""
    lines = ["[[sources]]", 'type = "stream"', f'id = "{source_id}"', f'url = "{url}"']
    return "\n".join([*lines, *(f'{name} = "{value}"' for name, value in more.items()), ""])


class _Station:
    """A decode job that runs, and what it told Redis."""

    def __init__(self, redis: RedisServer, service: DecodeService) -> None:
        self.redis = redis
        self.service = service
        self.pcm: dict[str, list[PcmBlock]] = {}
        self.hung: set[str] = set()

    def take_pcm(self, channel: str, payload: bytes) -> None:
        self.pcm.setdefault(channel.removeprefix(keys.pcm("")), []).append(decode_pcm(payload))

    def metrics(self) -> dict[str, Any]:
        text = self.redis.cli("GET", keys.AUDIO_METRICS)
        return dict(orjson.loads(text)) if text else {}

    def channel(self, channel_id: str) -> dict[str, Any]:
        return dict(self.metrics().get("channels", {}).get(channel_id, {}))

    def alerts(self) -> list[Alert]:
        link = self.redis.link()
        try:
            return [Alert.from_json(payload) for payload in AlertTail(link).read(0.1)]
        finally:
            link.close()


@contextmanager
def station(redis: RedisServer, folder: Path, tables: str) -> Iterator[_Station]:
    """Run the decode job of a station for the length of a block."""
    path = folder / "station.toml"
    path.write_text(f"[redis]\nport = {redis.port}\n[alerts]\nlost_after_s = 1.0\n{tables}", encoding="utf-8")
    service = build(load(path))
    running = _Station(redis, service)
    stopping = threading.Event()

    def watch() -> None:
        while not stopping.wait(0.05):
            service.watch()
            running.hung |= set(service.hung)

    with ExitStack() as cleanup:
        service.start()
        cleanup.callback(service.stop)
        watcher = threading.Thread(target=watch)
        watcher.start()
        cleanup.callback(watcher.join)
        cleanup.callback(stopping.set)
        channels = [keys.pcm(name) for name in ("mirror", "wx1")]
        cleanup.enter_context(Subscriber(redis.settings, channels, running.take_pcm))
        yield running


@contextmanager
def antenna(redis: RedisServer, header: str) -> Iterator[Callable[[], int]]:
    """Send IQ of one station in real time, over and over; gives how many blocks were sent."""
    iq = broadcast((header, 162_475_000.0))
    n_blocks, began_s, stopping, sent = len(iq) // BLOCK, time.time(), threading.Event(), [0]

    def send(outbox: Outbox) -> None:
        while not stopping.wait(max(0.0, began_s + sent[0] * BLOCK / IQ_RATE_HZ - time.time())):
            start = sent[0] * BLOCK
            piece = iq[sent[0] % n_blocks * BLOCK :][:BLOCK]
            block = IqBlock(piece, IQ_RATE_HZ, IQ_CENTER_HZ, start, began_s + start / IQ_RATE_HZ, int(began_s * 1e9))
            outbox.put(keys.samples("rx"), encode_samples(block, "rx", sent[0]))
            sent[0] += 1

    with Outbox(redis.settings) as outbox:
        sender = threading.Thread(target=send, args=(outbox,))
        sender.start()
        try:
            yield lambda: sent[0]
        finally:
            stopping.set()
            sender.join()


def test_a_station_without_a_radio_hears_an_alert_in_a_poor_mp3_and_records_it(
    redis_server: RedisServer, server: StreamServer, tmp_path: Path
) -> None:
    content = encoded(spoken(TORNADO), RATE_HZ, tmp_path, "a.mp3", "-b:a", "16k", "-ar", "16000")
    server.pages["/live"] = page(content, "audio/mpeg")
    with station(redis_server, tmp_path, table("mirror", server.url("/live"), name="The mirror")) as running:
        eventually(lambda: any(alert.state == "ended" for alert in running.alerts()), "an alert that ended", 60.0)
        eventually(lambda: len(running.pcm.get("mirror", [])) > 20, "audio in Redis")
        eventually(lambda: running.channel("mirror")["headers_decoded"] >= 1, "the header in the metrics")
        entry, metrics = running.channel("mirror"), running.metrics()
        link = redis_server.link()
        assert diagnose(read_station_health(link)) == []
        link.close()
    alerts = running.alerts()
    assert {alert.header for alert in alerts} == {TORNADO}
    assert alerts[0].channels == ("mirror",)
    recording = next(alert.recording for alert in alerts if alert.recording)
    pcm, rate_hz = soundfile.read(tmp_path / "kept" / "alerts" / recording)
    assert rate_hz == 24_000
    assert np.abs(pcm).max() > 0.1
    assert (entry["source"], entry["source_type"], entry["name"]) == ("IcecastIngestSource", "stream", "The mirror")
    assert entry["codec"].startswith("mp3, 16000 Hz, mono")
    assert entry["last_header"] == TORNADO
    assert metrics["workers"]["source mirror"]["restarts"] == 0
    assert {block.sample_rate_hz for block in running.pcm["mirror"]} == {24_000.0}
    assert len({block.config_epoch for block in running.pcm["mirror"]}) <= 2


def test_a_radio_goes_on_beside_sources_that_hang_fail_and_lie(
    redis_server: RedisServer, server: StreamServer, tmp_path: Path
) -> None:
    server.pages["/hang"] = lambda asked, connection: connection.hold()
    server.pages["/lie"] = page(b"<html>", "audio/mpeg")
    server.pages["/noise"] = page(bytes(range(1, 255)) * 4000, "audio/mpeg")
    tables = CHANNEL + "".join(table(name, server.url(f"/{name}")) for name in ("hang", "lie", "noise", "gone"))
    with station(redis_server, tmp_path, tables) as running, antenna(redis_server, TEST):
        eventually(lambda: any(alert.header == TEST for alert in running.alerts()), "the radio's alert", 60.0)
        eventually(lambda: "web page" in running.channel("lie")["last_error"], "what is wrong with the lie")
        eventually(lambda: "404" in running.channel("gone")["last_error"], "what is wrong with the one that is gone")
        eventually(lambda: bool(running.channel("wx1")["running"]), "the radio in the metrics")
        entry = running.channel("wx1")
        assert (entry["source"], entry["source_type"], entry["running"]) == ("RedisSDRSourceAdapter", "sdr", True)
        assert entry["lost_samples"] == 0
        assert not running.channel("hang")["connected"]
        link = redis_server.link()
        verdicts = diagnose_audio(read_station_health(link))
        link.close()
        assert {verdict.stage for verdict in verdicts} == {"source"}
        assert any("gone: no audio yet: there is no such stream (404)" in verdict.reason for verdict in verdicts)
        began_s = time.monotonic()
    # They stop at once, too: closing waits for the one that is answered by nobody.
    assert time.monotonic() - began_s < 15.0
    assert running.hung == set()


def test_a_command_cannot_give_a_channel_the_id_of_a_source(
    redis_server: RedisServer, server: StreamServer, tmp_path: Path
) -> None:
    with station(redis_server, tmp_path, table("mirror", server.url("/live"))) as running:
        link = running.redis.link()

        def add(channel_id: str) -> Any:
            channel = {"id": channel_id, "receiver_id": "rx", "frequency_hz": 162_475_000}
            document = {"action": "add_channel", "command_id": new_command_id(), "channel": channel}
            command = make_channel_command(document)
            send_command(link, command, keys.TO_AUDIO)
            return wait_for_result(link, command.command_id, 30.0, keys.TO_AUDIO)

        refused, added = add("mirror"), add("wx1")
        link.close()
        assert "there is a source 'mirror' already" in refused.message
        assert added.success
        eventually(lambda: set(running.metrics()["channels"]) == {"mirror", "wx1"}, "both in the metrics")


@contextmanager
def _published(icecast: IcecastDaemon, path: Path, mount: str, *arguments: str) -> Iterator[None]:
    """Publish a file over and over on a mount, by FFmpeg alone."""
    url = f"icecast://source:{quote(SOURCE_PASSWORD, safe='')}@127.0.0.1:{icecast.port}/{mount}"
    argv = [require_program("ffmpeg"), "-nostdin", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(path)]
    child = Child(f"publisher of {mount}", [*argv, *arguments, url])
    child.start()
    try:
        eventually(lambda: f"/{mount}" in icecast.mounts(), f"the mount {mount}")
        yield
    finally:
        child.stop()


_MP3 = ("-c:a", "libmp3lame", "-b:a", "24k", "-ar", "22050", "-content_type", "audio/mpeg", "-f", "mp3")
_OGG = ("-c:a", "libvorbis", "-b:a", "48k", "-content_type", "application/ogg", "-f", "ogg")


@pytest.mark.skipif(CORPUS is None, reason="HERALD_CORPUS does not name the recordings")
def test_every_recording_is_decoded_exactly_from_a_mount_of_icecast(tmp_path: Path) -> None:
    folder = Path(CORPUS or "")
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    sinks: list[tuple[Sink, set[str], float]] = []
    with running_icecast(tmp_path) as icecast, ExitStack() as stack:
        for number, entry in enumerate(entries):
            pcm, rate_hz = soundfile.read(folder / entry["file"], dtype="float32")
            path = tmp_path / f"{number}.wav"
            # Two seconds apart from the next round, which begins anew in the middle of nothing.
            soundfile.write(path, np.concatenate([pcm, np.zeros(2 * rate_hz, np.float32)]), rate_hz)
            mount = f"wx{number}.{'mp3' if number % 2 else 'ogg'}"
            stack.enter_context(_published(icecast, path, mount, *(_MP3 if number % 2 else _OGG)))
            settings = StreamSettings(id=f"s{number}", type="stream", url=f"http://127.0.0.1:{icecast.port}/{mount}")
            sink = Sink()
            sinks.append((sink, set(entry["expected"]), float(entry["seconds"]) + 2.0))
            stack.enter_context(listening(settings, sink))
        # It is joined in the middle of a round, so two rounds hold a whole one.
        for sink, expected, round_s in sinks:
            eventually(lambda: sink.seconds > 2 * round_s + 3.0, "two rounds", 2 * round_s + 30.0)  # noqa: B023
            assert set(sink.headers) == expected
            assert len(sink.epochs) == 1
            sink.check()


def test_a_source_is_back_after_icecast_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, spoken(), RATE_HZ)
    sink = Sink()
    with running_icecast(tmp_path) as icecast:
        settings = StreamSettings(id="mirror", type="stream", url=f"http://127.0.0.1:{icecast.port}/wx.mp3")
        with listening(settings, sink) as source:
            with _published(icecast, path, "wx.mp3", *_MP3):
                eventually(lambda: sink.seconds > 2.0, "audio", 40.0)
                icecast.kill()
                eventually(lambda: not source.status()["connected"], "the loss", 40.0)
            assert source.status()["last_error"]
            icecast.start()
            with _published(icecast, path, "wx.mp3", *_MP3):
                eventually(lambda: len(sink.epochs) >= 2, "audio again", 60.0)
                assert source.status()["connected"]
    sink.check()
