"""Streams as sources, through real FFmpeg and a server that streams, stalls, breaks off and lies."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import pytest
import soundfile

from app_core.audio import ingest_source, stream_source
from app_core.audio.ingest_config import StreamSettings
from app_core.audio.ingest_monitor import make_source
from app_core.audio.sources import AudioSource, AudioSourceType, Pacing
from app_core.base.errors import LinkError
from tests.support.programs import eventually, require_program
from tests.support.stream_server import Asked, Connection, Page, StreamServer, page, self_signed, stream_server
from tests.unit.audio.ingest import Sink, encoded, frequency_of, listening, tone
from tests.unit.audio.recordings import TEST, spoken

pytestmark = pytest.mark.usefixtures("ffmpeg")

CORPUS = os.environ.get("HERALD_CORPUS")


@pytest.fixture
def ffmpeg() -> str:
    return require_program("ffmpeg")


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with stream_server() as running:
        yield running


def settings(server: StreamServer, path: str = "/live", **more: Any) -> StreamSettings:
    return StreamSettings.model_validate({"id": "mirror", "type": "stream", "url": server.url(path)} | more)


def endless(content: bytes, content_type: str = "audio/mpeg") -> Page:
    """A stream that gives this at once and then nothing, without an end."""

    def give(asked: Asked, connection: Connection) -> None:
        connection.answer(f"Content-Type: {content_type}", body=content)
        connection.hold()

    return give


def heard(server: StreamServer, content: bytes, seconds: float, **more: Any) -> Sink:
    """Listen to a file until so much of it came."""
    server.pages["/live"] = page(content, "audio/mpeg")
    sink = Sink()
    with listening(settings(server, **more), sink):
        eventually(lambda: sink.seconds >= seconds, f"{seconds} s of audio", seconds + 20.0)
    sink.check()
    return sink


# At 22,050 Hz LAME has too few of 16 kbit/s for the mark's frequency.
@pytest.mark.parametrize(("bitrate", "rate"), [("16k", "16000")])
def test_a_message_is_decoded_from_a_poor_mp3(server: StreamServer, tmp_path: Path, bitrate: str, rate: str) -> None:
    content = encoded(spoken(), 22_050, tmp_path, "a.mp3", "-b:a", bitrate, "-ar", rate)
    sink = heard(server, content, len(spoken()) / 22_050)
    assert sink.headers[:1] == [TEST]
    assert sink.is_finished


@pytest.mark.skipif(CORPUS is None, reason="HERALD_CORPUS does not name the recordings")
def test_every_recording_is_decoded_exactly_from_a_poor_mp3(server: StreamServer, tmp_path: Path) -> None:
    folder = Path(CORPUS or "")
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    heard_of: dict[str, tuple[Sink, list[str]]] = {}
    with ExitStack() as stack:
        for entry in entries:
            pcm, rate_hz = soundfile.read(folder / entry["file"], dtype="float32")
            padded = np.concatenate([pcm, np.zeros(2 * rate_hz, np.float32)])
            for bitrate, rate in (("16k", "8000"), ("24k", "22050")):
                name = f"{bitrate}-{entry['file']}.mp3"
                content = encoded(padded, rate_hz, tmp_path, name, "-b:a", bitrate, "-ar", rate)
                server.pages[f"/{name}"] = page(content, "audio/mpeg")
                heard_of[name] = (Sink(), entry["expected"])
                source_id = f"s{len(heard_of)}"
                stack.enter_context(listening(settings(server, f"/{name}", id=source_id), heard_of[name][0]))
        longest_s = max(float(entry["seconds"]) for entry in entries)
        eventually(lambda: all(len(sink.epochs) > 1 for sink, _ in heard_of.values()), "their ends", longest_s + 60.0)
    decoded = {name: list(dict.fromkeys(sink.headers)) for name, (sink, _) in heard_of.items()}
    assert decoded == {name: expected for name, (_, expected) in heard_of.items()}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.ogg", ("-c:a", "libvorbis")),
        ("a.opus", ("-c:a", "libopus", "-b:a", "24k")),
        ("a.aac", ("-c:a", "aac")),
        ("a.flac", ()),
        ("a.wav", ("-c:a", "pcm_mulaw", "-ar", "8000")),
        ("stereo.mp3", ("-af", "pan=stereo|c0=c0|c1=c0", "-ar", "44100")),
    ],
)
def test_a_tone_keeps_its_pitch_whatever_carries_it(
    server: StreamServer, tmp_path: Path, name: str, arguments: tuple[str, ...]
) -> None:
    content = encoded(tone(3.0, 48_000), 48_000, tmp_path, name, *arguments)
    sink = heard(server, content, 2.5, sample_rate_hz=22_050)
    pcm = sink.pcm()[2205:-2205]
    assert sink.blocks[0].sample_rate_hz == 22_050.0
    assert frequency_of(pcm, 22_050.0) == pytest.approx(1000.0, abs=0.1)
    assert np.sqrt(np.mean(pcm**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_ffmpeg_reads_at_the_native_rate_whatever_comes_at_once(server: StreamServer, tmp_path: Path) -> None:
    server.pages["/live"] = page(encoded(tone(60.0, 24_000), 24_000, tmp_path, "a.mp3", "-b:a", "32k"), "audio/mpeg")
    sink = Sink()
    with listening(settings(server), sink):
        eventually(lambda: sink.seconds > 2.0, "audio")
        began, had_s = sink.blocks[-1].timestamp, sink.seconds
        eventually(lambda: sink.seconds > had_s + 3.0, "more audio")
        took_s = sink.blocks[-1].timestamp - began
    assert took_s == pytest.approx(3.0, abs=0.7)
    sink.check()


def test_titles_are_read_and_kept_out_of_the_audio(server: StreamServer, tmp_path: Path) -> None:
    audio = encoded(tone(6.0, 24_000), 24_000, tmp_path, "a.mp3", "-b:a", "32k")
    text = b"StreamTitle='KEC83 Kansas City';".ljust(32, b"\0")
    interval = 1000
    body = b"".join(
        audio[at : at + interval] + (b"\x02" + text if at == 0 else b"\x00") for at in range(0, len(audio), interval)
    )

    def give(asked: Asked, connection: Connection) -> None:
        assert asked.headers["icy-metadata"] == "1"
        head = f"icy-metaint: {interval}\r\nicy-name: Mirror\r\ncontent-type: audio/mpeg\r\n\r\n"
        connection.send(b"ICY 200 OK\r\n", head.encode(), body)
        connection.hold()

    server.pages["/live"] = give
    sink = Sink()
    with listening(settings(server), sink) as source:
        eventually(lambda: sink.seconds > 2.5, "audio")
        assert source.source_name == "IcecastIngestSource"
        status = source.status()
    assert status["title"] == "KEC83 Kansas City"
    assert status["codec"].startswith("mp3, 24000 Hz, mono")
    assert status["bytes"] == len(body)
    assert not any("error" in line.lower() for line in status["ffmpeg_lines"])
    assert frequency_of(sink.pcm()[2400:], 24_000.0) == pytest.approx(1000.0, abs=0.1)


def test_titles_that_change_all_the_time_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    table = {"id": "mirror", "type": "stream", "url": "https://radio.example/live"}
    source = cast("stream_source.IcecastIngestSource", make_source(StreamSettings.model_validate(table), Sink()))
    for number in range(50):
        source.note_bytes(100, f"title {number}")
    assert [message for message in caplog.messages if "title" in message] == ["mirror: title 'title 0'"]
    assert source.status()["title"] == "title 49"


def test_a_plain_http_source_asks_for_no_titles(server: StreamServer, tmp_path: Path) -> None:
    server.pages["/live"] = endless(encoded(tone(3.0, 24_000), 24_000, tmp_path, "a.mp3"))
    sink = Sink()
    with listening(settings(server, protocol="http"), sink) as source:
        eventually(lambda: sink.seconds > 0.5, "audio")
        assert source.source_name == "HTTPIngestSource"
    assert "icy-metadata" not in server.asked[0].headers


@pytest.mark.parametrize(
    ("protocol", "name"),
    [("auto", "IcecastIngestSource"), ("http", "HTTPIngestSource"), ("hls", "StreamSourceAdapter")],
)
def test_every_class_is_a_network_stream_and_says_so(
    server: StreamServer, caplog: pytest.LogCaptureFixture, protocol: str, name: str
) -> None:
    caplog.set_level(logging.INFO)
    source = make_source(settings(server, protocol=protocol), Sink())
    assert isinstance(source, AudioSource)
    assert (source.source_name, source.config.source_type) == (name, AudioSourceType.STREAM)
    assert source.config.pacing is Pacing.NATIVE_RATE
    if isinstance(source, stream_source.HTTPIngestSource):
        argv = source.stream_argv("ffmpeg")
        assert argv[-1] == "pipe:1"
        assert server.url("/live") not in argv
    else:
        argv = list(source._argv("ffmpeg"))
    assert argv.index("-re") < argv.index("-i")
    assert f"Using -re flag for {name} (network stream)" in caplog.messages


def test_a_stream_in_pieces_is_fetched_by_ffmpeg(server: StreamServer, tmp_path: Path) -> None:
    encoded(
        spoken(), 22_050, tmp_path, "live.m3u8", "-c:a", "aac", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0"
    )
    for path in tmp_path.glob("live*"):
        kind = "application/vnd.apple.mpegurl" if path.suffix == ".m3u8" else "video/mp2t"
        server.pages[f"/{path.name}"] = page(path.read_bytes(), kind)
    server.pages["/list"] = server.pages["/live.m3u8"]
    for path_of, name in (("/live.m3u8", "StreamSourceAdapter"), ("/list", "IcecastIngestSource")):
        sink = Sink()
        with listening(settings(server, path_of), sink) as source:
            eventually(lambda: bool(sink.headers), "the header", 40.0)  # noqa: B023  (it ends before the next round)
            assert source.source_name == name
        assert sink.headers == [TEST]
        sink.check()


def test_hls_never_opens_a_file_of_ours(server: StreamServer, tmp_path: Path) -> None:
    wav = tmp_path / "secret.wav"
    soundfile.write(wav, tone(5.0, 24_000), 24_000)
    pieces = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{wav}\n#EXT-X-ENDLIST\n"
    server.pages["/live.m3u8"] = page(pieces.encode(), "application/vnd.apple.mpegurl")
    sink = Sink()
    with listening(settings(server, "/live.m3u8"), sink) as source:
        eventually(lambda: source.status()["last_error"] != "", "the failure")
    assert sink.blocks == []


def test_a_stream_that_stalls_is_opened_again(
    server: StreamServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream_source, "STALL_S", 1.0)
    monkeypatch.setattr(stream_source, "DRY_S", 0.5)
    server.pages["/live"] = endless(encoded(tone(3.0, 24_000), 24_000, tmp_path, "a.mp3"))
    sink = Sink()
    with listening(settings(server), sink) as source:
        eventually(lambda: len(sink.epochs) >= 3, "two reconnections")
        assert source.status()["reconnects"] >= 2
    sink.check()
    assert any("the stream stalls: not a byte for 1 s" in message for message in caplog.messages)


def test_what_came_before_a_stall_is_played_first(
    server: StreamServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_source, "STALL_S", 0.5)
    monkeypatch.setattr(stream_source, "DRY_S", 0.5)
    server.pages["/live"] = endless(encoded(tone(4.0, 24_000), 24_000, tmp_path, "a.mp3"))
    sink = Sink()
    with listening(settings(server), sink):
        eventually(lambda: len(sink.epochs) >= 2, "the reconnection")
    # Some packets stay within FFmpeg until it knows that no more come.
    assert len(sink.pcm()) / 24_000 > 3.4


def test_a_stall_is_none_while_ffmpeg_still_gives_audio_or_is_what_is_waited_for(server: StreamServer) -> None:
    source = stream_source.HTTPIngestSource(settings(server), Sink())

    class Feeder:
        stalled_s = 0.0

    source._feeder = cast(Any, Feeder())
    source._check(9.0)
    source._feeder.stalled_s = stream_source.STALL_S + 0.1  # type: ignore[misc]
    source._check(stream_source.DRY_S - 0.1)
    with pytest.raises(LinkError, match="stalls"):
        source._check(stream_source.DRY_S + 0.1)


def test_after_a_break_audio_goes_on_with_another_epoch(server: StreamServer, tmp_path: Path) -> None:
    server.pages["/live"] = page(encoded(tone(1.0, 24_000), 24_000, tmp_path, "a.mp3"), "audio/mpeg")
    sink = Sink()
    with listening(settings(server), sink) as source:
        eventually(lambda: len(sink.epochs) >= 2, "the second life")
        assert source.status()["connected"]
        assert source.status()["last_error"] == ""
    sink.check()


def test_ffmpeg_that_is_killed_is_back_within_two_seconds(
    server: StreamServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.pages["/live"] = page(encoded(tone(60.0, 24_000), 24_000, tmp_path, "a.mp3", "-b:a", "32k"), "audio/mpeg")
    sink = Sink()
    with listening(settings(server), sink) as source:
        eventually(lambda: sink.seconds > 1.0, "audio")
        pid = source.status()["ffmpeg_pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(sink.epochs) == 2, "audio again")
    first, second = sink.epochs
    last = max(block.timestamp for block in sink.blocks if block.config_epoch == first)
    again = min(block.timestamp for block in sink.blocks if block.config_epoch == second)
    assert again - last < 2.0
    assert any("FFmpeg was killed (signal 9)" in message for message in caplog.messages)
    assert not psutil.pid_exists(pid)


def test_ffmpeg_that_hangs_is_replaced(
    server: StreamServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ingest_source, "SILENT_TIMEOUT_S", 1.0)
    server.pages["/live"] = page(encoded(tone(60.0, 24_000), 24_000, tmp_path, "a.mp3", "-b:a", "320k"), "audio/mpeg")
    sink = Sink()
    with listening(settings(server), sink) as source:
        eventually(lambda: sink.seconds > 0.5, "audio")
        os.kill(source.status()["ffmpeg_pid"], signal.SIGSTOP)
        eventually(lambda: len(sink.epochs) == 2, "audio again")
    assert any("no audio for 1 s" in message for message in caplog.messages)


def test_noise_is_no_audio_and_said(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.pages["/live"] = page(bytes(range(1, 200)) * 2000, "audio/mpeg")
    sink = Sink()
    with listening(settings(server), sink) as source:
        eventually(lambda: source.status()["last_error"] != "", "the failure", 40.0)
        assert "FFmpeg: " in source.status()["last_error"] or "no audio" in source.status()["last_error"]
    assert sink.blocks == []


def test_what_never_works_is_tried_with_growing_pauses_and_said_once(
    server: StreamServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_source, "FIRST_WAIT_S", 0.05)
    sink = Sink()
    with listening(settings(server, "/gone"), sink) as source:
        eventually(lambda: source.reconnects >= 4, "some tries")
        status = source.status()
        assert not status["connected"]
        assert "404" in status["last_error"]
    said = [message for message in caplog.messages if "404" in message]
    assert len(said) == 1


def test_a_life_that_ends_leaves_nothing_open(
    server: StreamServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_source, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(ingest_source, "LONGEST_WAIT_S", 0.02)
    server.pages["/live"] = page(encoded(tone(0.3, 24_000), 24_000, tmp_path, "a.mp3"), "audio/mpeg")
    process = psutil.Process()
    before = process.num_fds(), process.num_threads()
    with listening(settings(server), Sink()) as source:
        eventually(lambda: source.reconnects >= 10, "ten lives", 60.0)
    # The server in this process lets go of a connection when it sees its end.
    eventually(lambda: (process.num_fds(), process.num_threads()) <= before, "that nothing is left open")
    assert process.children() == []


def test_a_password_is_told_to_the_server_and_to_nobody_else(
    server: StreamServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "secret").write_text("opensesame")
    content = encoded(tone(30.0, 24_000), 24_000, tmp_path, "a.mp3", "-b:a", "32k")

    def guarded(asked: Asked, connection: Connection) -> None:
        if asked.headers.get("authorization") != "Basic bWU6b3BlbnNlc2FtZQ==":
            connection.answer(status="HTTP/1.1 401 Unauthorized")
            return
        connection.answer("Content-Type: audio/mpeg", body=content)

    server.pages["/live"] = guarded
    sink = Sink()
    with listening(settings(server, username="me", password_file=str(tmp_path / "secret")), sink) as source:
        eventually(lambda: sink.seconds > 0.5, "audio")
        words = " ".join(psutil.Process(source.status()["ffmpeg_pid"]).cmdline())
        environment = str(psutil.Process(source.status()["ffmpeg_pid"]).environ())
        said = words + environment + json.dumps(source.status()) + " ".join(caplog.messages)
    assert "opensesame" not in said
    assert "b3BlbnNlc2FtZQ" not in said
    sink = Sink()
    with listening(settings(server), sink) as source:
        eventually(lambda: "password_file" in source.status()["last_error"], "the refusal")


def test_a_stream_by_tls_is_heard(tmp_path: Path) -> None:
    context, certificate = self_signed(tmp_path)
    content = encoded(spoken(), 22_050, tmp_path, "a.mp3", "-b:a", "24k")
    with stream_server({"/live": page(content, "audio/mpeg")}, tls=context) as server:
        sink = Sink()
        with listening(settings(server, ca_file=str(certificate)), sink):
            eventually(lambda: bool(sink.headers), "the header", 40.0)
        assert sink.headers == [TEST]
        with listening(settings(server), Sink()) as source:
            eventually(lambda: "not trusted" in source.status()["last_error"], "the refusal")


def test_a_source_stops_at_once_whatever_it_waits_for(server: StreamServer) -> None:
    server.pages["/live"] = lambda asked, connection: connection.hold()
    with listening(settings(server), Sink()):
        eventually(lambda: len(server.asked) == 1, "the request")


def test_the_address_that_is_shown_holds_no_key(server: StreamServer) -> None:
    source = make_source(settings(server, "/live?key=hidden"), Sink())
    assert source.address == server.url("/live")
    assert "hidden" not in json.dumps(source.status())


def test_a_password_that_every_user_can_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "password"
    path.write_text("three words here", encoding="utf-8")
    table = {"id": "mirror", "type": "stream", "url": "http://192.0.2.1/live", "username": "me", "password_file": path}
    for mode in (0o600, 0o644):
        path.chmod(mode)
        make_source(StreamSettings.model_validate(table), Sink())
    assert [record.message.partition(":")[0] for record in caplog.records] == ["mirror"]
    assert f"chmod 600 {path}" in caplog.text
