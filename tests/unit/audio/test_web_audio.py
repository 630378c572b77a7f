"""Listening over HTTP, with real sockets and FFmpeg: what is heard, who is turned away, and who cannot hurt whom."""

from __future__ import annotations

import http.client
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import orjson
import pytest

from app_core.audio import web_audio
from app_core.audio.web_audio import WebAudio, WebAudioSettings
from app_core.base.errors import LinkError
from tests.support.pcm_source import PcmFeed, decode_stream, entries_of, frequency_of, tone
from tests.support.programs import eventually, require_program

IDS = ("wx1", "wx2", "a.b")


@contextmanager
def _server(feed: PcmFeed, **settings: object) -> Iterator[WebAudio]:
    require_program("ffmpeg")
    with WebAudio(feed, lambda: entries_of(*IDS), WebAudioSettings.model_validate({"port": 0, **settings})) as web:
        eventually(lambda: web.port is not None, "the server")
        yield web


@contextmanager
def _asked(web: WebAudio, path: str, method: str = "GET") -> Iterator[http.client.HTTPResponse]:
    assert web.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30.0)
    connection.request(method, path)
    response = connection.getresponse()
    try:
        yield response
    finally:
        response.close()
        connection.close()


def _listen(web: WebAudio, path: str, seconds: float) -> bytes:
    """Give what is heard in `seconds` from the first byte on."""
    with _asked(web, path) as response:
        assert response.status == 200
        heard = response.read1(65536)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            heard += response.read1(65536)
    return heard


@pytest.mark.parametrize(
    ("extension", "content_type", "begins"),
    [
        ("mp3", "audio/mpeg", b"\xff"),
        ("opus", "audio/ogg; codecs=opus", b"OggS"),
        ("wav", "audio/wav", b"RIFF\xff\xff\xff\xffWAVEfmt "),
    ],
)
def test_a_tone_is_heard_as_it_is_by_the_first_listener_and_by_one_who_joins(
    extension: str, content_type: str, begins: bytes
) -> None:
    feed = PcmFeed()
    with _server(feed) as web, tone(feed.queue("wx1")), _asked(web, f"/listen/wx1.{extension}") as response:
        assert response.headers["content-type"] == content_type
        assert response.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in response.headers
        assert response.read1(65536).startswith(begins)
        later = _listen(web, f"/listen/wx1.{extension}", 4.0)
        assert len(web.status()["streams"]) == 1, "one encoder for all"
    assert extension == "mp3" or later.startswith(begins)
    pcm = decode_stream(later)
    assert 3.0 < len(pcm) / 48_000 < 6.0
    assert frequency_of(pcm) == pytest.approx(1000.0, abs=0.1)


def test_stereo_and_other_rates_have_a_true_wav_header() -> None:
    feed = PcmFeed()
    with _server(feed) as web, tone(feed.queue("wx1"), sample_rate_hz=48_000, n_channels=2):
        heard = _listen(web, "/listen/wx1.wav", 1.5)
    assert struct.unpack_from("<HHIIHH", heard, 20) == (1, 2, 48_000, 192_000, 4, 16)
    assert frequency_of(decode_stream(heard)) == pytest.approx(1000.0, abs=0.2)


def test_an_encoder_runs_only_while_somebody_listens() -> None:
    feed = PcmFeed()
    with _server(feed) as web, tone(feed.queue("wx1")):
        assert not feed.queue("wx1").has_subscribers
        with _asked(web, "/listen/wx1.mp3") as response:
            response.read1(100)
            pid = web.status()["streams"]["wx1.mp3"]["encoder"]["pid"]
            assert Path(f"/proc/{pid}").exists()
        eventually(lambda: web.status()["streams"] == {}, "the end of the stream")
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of FFmpeg")
        eventually(lambda: feed.queue("wx1").status() == {}, "the end of the subscription")
        assert web.client_count == 0


def test_the_list_names_channels_addresses_and_listeners() -> None:
    feed = PcmFeed()
    with _server(feed) as web, tone(feed.queue("wx2")), _asked(web, "/listen/wx2.wav") as response:
        response.read1(10)
        with _asked(web, "/listen") as answer:
            found = orjson.loads(answer.read())
    assert (found["listeners"], found["max_clients"]) == (1, 20)
    channel = next(each for each in found["channels"] if each["id"] == "wx2")
    assert channel["name"] == "Channel wx2"
    assert channel["running"] is True
    assert channel["listeners"] == 1
    assert channel["urls"]["opus"] == "/listen/wx2.opus"


def test_head_answers_as_get_does_and_starts_nothing() -> None:
    feed = PcmFeed()
    with _server(feed) as web:
        with _asked(web, "/listen/a.b.mp3", "HEAD") as response:
            assert (response.status, response.headers["content-type"]) == (200, "audio/mpeg")
            assert response.headers["content-length"] is None, "a stream has no length"
            assert response.read() == b""
        assert web.status()["streams"] == {}
        with _asked(web, "/listen", "HEAD") as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/listen/wx9.mp3", "no channel 'wx9'"),
        ("/listen/wx1.flac", "no format 'flac'"),
        ("/listen/wx1", "no channel ''"),
        ("/listen/%2e%2e%2fetc.mp3", "GET /listen lists"),
        ("/", "GET /listen lists"),
    ],
)
def test_what_there_is_not_is_answered_in_words(path: str, words: str) -> None:
    with _server(PcmFeed()) as web, _asked(web, path) as response:
        text = response.read().decode()
    assert response.status == 404
    assert words in text


def test_one_client_too_many_is_turned_away_in_words_and_welcome_later() -> None:
    feed = PcmFeed()
    with _server(feed, max_clients=2) as web, tone(feed.queue("wx1")), _asked(web, "/listen/wx1.wav"):
        with _asked(web, "/listen/wx1.wav"):
            with _asked(web, "/listen/wx1.mp3") as refused:
                assert refused.status == 503
                assert refused.headers["retry-after"] == "10"
                assert "2 listen already" in refused.read().decode()
            with _asked(web, "/listen") as answer:
                assert answer.status == 200
            assert web.status()["refused_count"] == 1
        eventually(lambda: web.client_count == 1, "that it is missed")
        with _asked(web, "/listen/wx1.mp3") as welcome:
            assert welcome.status == 200


def test_a_stalled_client_is_dropped_and_the_others_hear_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_audio, "STALLED_AFTER_S", 1.5)
    feed = PcmFeed()
    with _server(feed) as web, tone(feed.queue("wx1"), sample_rate_hz=48_000, n_channels=2):
        assert web.port is not None
        stalled = socket.socket()
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", web.port))
        stalled.sendall(b"GET /listen/wx1.wav HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        eventually(lambda: web.client_count == 1, "the stalled client")
        with _asked(web, "/listen/wx1.wav") as response:
            heard = 0
            while web.client_count > 1:
                heard += len(response.read1(65536))
                waiting = [each["queued_bytes"] for each in web.status()["streams"]["wx1.wav"]["listeners"]]
                assert max(waiting) <= 2.2 * 192_000
            assert web.status()["stalled_count"] == 1
            # What the kernel still holds for it does not keep its connection.
            eventually(lambda: len(web._transports) == 1, "the end of its connection")
            after = time.monotonic() + 1.0
            while time.monotonic() < after:
                heard += len(response.read1(65536))
            kept = web.status()["streams"]["wx1.wav"]["listeners"]
        assert [each["dropped_count"] for each in kept] == [0]
        assert heard > 192_000
        stalled.close()


def test_a_silent_source_is_heard_as_silence_and_comes_back() -> None:
    feed = PcmFeed()
    with _server(feed) as web, tone(feed.queue("wx1")) as source, _asked(web, "/listen/wx1.wav") as response:
        heard = response.read1(65536)
        began_s = time.monotonic()
        source.muted.set()
        while time.monotonic() - began_s < 3.0:
            heard += response.read1(65536)
        source.muted.clear()
        while time.monotonic() - began_s < 4.5:
            heard += response.read1(65536)
    seconds = (len(heard) - 44) / 48_000
    assert seconds == pytest.approx(4.5, abs=0.7)
    pcm = decode_stream(heard, 24_000)
    assert abs(pcm[-2400:]).max() > 0.4
    assert abs(pcm[36_000:48_000]).max() == 0.0


def test_a_source_that_becomes_another_ends_a_wav_and_nothing_else() -> None:
    feed = PcmFeed()
    with _server(feed) as web, ExitStack() as asked:
        with tone(feed.queue("wx1")):
            wav = asked.enter_context(_asked(web, "/listen/wx1.wav"))
            mp3 = asked.enter_context(_asked(web, "/listen/wx1.mp3"))
            wav.read1(65536)
            mp3.read1(65536)
        with tone(feed.queue("wx1"), sample_rate_hz=48_000):
            wav.read()
            assert wav.isclosed()
            assert mp3.read1(65536)


def test_stopping_ends_every_listener_and_every_process() -> None:
    feed = PcmFeed()
    with tone(feed.queue("wx1")), ExitStack() as asked:
        with _server(feed) as web:
            response = asked.enter_context(_asked(web, "/listen/wx1.mp3"))
            response.read1(100)
            pid = web.status()["streams"]["wx1.mp3"]["encoder"]["pid"]
        with suppress(http.client.IncompleteRead, ConnectionError):
            response.read()
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of FFmpeg")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("192.0.2.7", 200),
        ("LocalHost:8081", 200),
        ("radio.example.org", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:8081", 421),
    ],
)
def test_a_page_that_makes_its_own_name_point_here_reads_nothing(host: str, status: int) -> None:
    with _server(PcmFeed(), allowed_hosts=["radio.example.org"]) as web:
        for path in ("/listen", "/listen/a.b.wav"):
            connection = http.client.HTTPConnection("127.0.0.1", web.port or 0, timeout=30.0)
            connection.request("HEAD", path, headers={"host": host})
            assert connection.getresponse().status == status
            connection.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        web = WebAudio(PcmFeed(), dict, WebAudioSettings(port=port))
        web.start()
        eventually(lambda: web.failure is not None, "the failure")
    assert isinstance(web.failure, LinkError)
    assert f"[web_audio]: cannot listen on 127.0.0.1:{port}: Address already in use" in str(web.failure)
    assert web.status()["error"] == str(web.failure)


def test_it_listens_on_the_loopback_interface_unless_told_otherwise() -> None:
    with _server(PcmFeed()) as web:
        assert web.status()["address"] == f"http://127.0.0.1:{web.port}/listen"
        # A socket that listens on all addresses answers at any of 127/8, one on the loopback address does not.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", web.port or 0), timeout=5.0)
