"""Mounts on a real Icecast, fed with a tone: what listeners hear, through whatever becomes of the server and FFmpeg."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from app_core.audio.broadcast_queue import BroadcastQueue
from app_core.audio.codecs import AAC, CODECS, MP3, OPUS, Codec
from app_core.audio.icecast_desk import IcecastDesk
from app_core.audio.icecast_output import IcecastStreamer, MountPlan
from app_core.audio.sources import AudioSourceConfig, AudioSourceType
from app_core.base.child import run_quietly
from app_core.network.icecast_server import IcecastServer
from tests.support.icecast_server import SOURCE_PASSWORD, IcecastDaemon, running_icecast
from tests.support.programs import eventually, require_program
from tests.support.signals import tone_frequency_hz
from tests.support.tone_source import DECODED_HZ, TONE_HZ, ToneSource, decode_stream, loudness_of

RECOVERY_S = 30.0
"""Patience, no promise: the machine may be busy. [seconds]"""

TONE_LOUDNESS = 0.25
"""A tone of half scale is louder than this after any codec."""


@dataclasses.dataclass(frozen=True)
class Source:
    config: AudioSourceConfig
    source_name: str


@pytest.fixture
def icecast(tmp_path: Path) -> Iterator[IcecastDaemon]:
    require_program("ffmpeg")
    with running_icecast(tmp_path) as daemon:
        yield daemon


class OnAir:
    """A tone on a mount."""

    def __init__(self, server: IcecastServer, name: str, codec: Codec, source_name: str) -> None:
        kind = AudioSourceType.SDR if "SDR" in source_name else AudioSourceType.STREAM
        self.queue = BroadcastQueue(name)
        self.mount = f"/{name}{codec.extension}"
        plan = MountPlan(
            mount=self.mount,
            listen_url=f"http://127.0.0.1:{server.port}{self.mount}",
            codec=codec,
            bitrate_kbps=codec.default_bitrate_kbps,
            name="A station",
            title="A station on the air",
        )
        source = Source(AudioSourceConfig(id=name, source_type=kind), source_name)
        self.streamer = IcecastStreamer(server, source, self.queue, plan)
        self.tone = ToneSource(self.queue.put)

    def is_connected(self) -> bool:
        return self.streamer.is_connected


@contextmanager
def on_air(
    server: IcecastServer,
    name: str = "wx",
    codec: Codec = MP3,
    source_name: str = "RedisSDRSourceAdapter",
    *,
    with_tone: bool = True,
) -> Iterator[OnAir]:
    mount = OnAir(server, name, codec, source_name)
    with ExitStack() as cleanup:
        mount.streamer.start()
        cleanup.callback(mount.streamer.stop)
        if with_tone:
            cleanup.enter_context(mount.tone)
        yield mount


def listen(icecast: IcecastDaemon, mount: str, seconds: float) -> bytes:
    """Listen once the mount is there."""
    eventually(lambda: mount in icecast.mounts(), f"the mount {mount}")
    return icecast.fetch(mount, seconds)


def hears_tone(icecast: IcecastDaemon, mount: str) -> Callable[[], bool]:
    """Give a condition: who tunes in now hears the tone within two seconds."""

    def condition() -> bool:
        if mount not in icecast.mounts():
            return False
        try:
            heard = decode_stream(icecast.fetch(mount, 2.0))
        except (AssertionError, OSError):
            return False
        return loudness_of(heard[-DECODED_HZ // 2 :]) > TONE_LOUDNESS

    return condition


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_a_tone_comes_back_at_its_frequency(icecast: IcecastDaemon, codec: Codec) -> None:
    with on_air(icecast.server, codec=codec) as mount:
        eventually(lambda: mount.tone.given_s > 0.5, "half a second of tone")
        heard = decode_stream(listen(icecast, mount.mount, 6.0))
    # What a codec holds back at its beginning, and the silence before the first audio, are no part of the tone.
    tone = heard[DECODED_HZ:]
    assert len(tone) > 3 * DECODED_HZ
    assert loudness_of(tone) > TONE_LOUDNESS
    assert tone_frequency_hz(tone, DECODED_HZ) == pytest.approx(TONE_HZ, abs=0.1)


def test_a_network_source_comes_back_at_its_frequency(icecast: IcecastDaemon) -> None:
    with on_air(icecast.server, source_name="HTTPIngestSource") as mount:
        eventually(lambda: mount.tone.given_s > 1.0, "a second of tone")
        heard = decode_stream(listen(icecast, mount.mount, 6.0))
        assert mount.streamer.encoder.status()["re_flag"] is True
    tone = heard[2 * DECODED_HZ :]
    assert tone_frequency_hz(tone, DECODED_HZ) == pytest.approx(TONE_HZ, abs=0.1)


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_a_mount_stands_before_its_source_has_said_anything(icecast: IcecastDaemon, codec: Codec) -> None:
    with on_air(icecast.server, codec=codec, with_tone=False) as mount:
        heard = decode_stream(listen(icecast, mount.mount, 3.0))
        assert mount.streamer.status()["encoder"]["starving"] is True
    assert len(heard) > DECODED_HZ
    assert loudness_of(heard) < 1e-3


def test_silence_keeps_pace_with_the_clock_while_a_source_starves(icecast: IcecastDaemon) -> None:
    with on_air(icecast.server) as mount:
        eventually(lambda: mount.tone.given_s > 1.0, "a second of tone")
        mount.tone.is_silent = True
        before_s = mount.streamer.encoder.status()["silence_s"]
        began_s = time.monotonic()
        eventually(lambda: mount.streamer.encoder.is_starving, "silence in place of the tone")
        assert time.monotonic() - began_s > 1.3
        eventually(lambda: time.monotonic() - began_s > 4.0, "four seconds")
        silence_s = mount.streamer.encoder.status()["silence_s"] - before_s
        assert silence_s == pytest.approx(time.monotonic() - began_s, abs=0.5)
        mount.tone.is_silent = False
        eventually(lambda: not mount.streamer.encoder.is_starving, "the tone")
        eventually(hears_tone(icecast, mount.mount), "the tone on the mount", RECOVERY_S)
        assert mount.streamer.status()["connections"] == 1


@pytest.mark.parametrize("codec", [MP3, OPUS], ids=lambda codec: codec.name)
def test_a_source_may_change_its_rate_and_channels(icecast: IcecastDaemon, codec: Codec) -> None:
    with on_air(icecast.server, codec=codec) as mount:
        eventually(lambda: mount.tone.given_s > 0.5, "half a second of tone")
        mount.tone.change(48_000, 2)
        eventually(lambda: mount.streamer.encoder.status()["sample_rate_hz"] == 48_000, "the other rate")
        heard = decode_stream(listen(icecast, mount.mount, 5.0))
        assert mount.streamer.encoder.status()["channels"] == 2
        assert mount.streamer.encoder.restarts == 0
        assert mount.streamer.status()["connections"] == 1
    tone = heard[-2 * DECODED_HZ :]
    assert tone_frequency_hz(tone, DECODED_HZ) == pytest.approx(TONE_HZ, abs=0.1)


@pytest.mark.parametrize("codec", [MP3, AAC], ids=lambda codec: codec.name)
def test_the_title_is_shown_changed_and_told_again_after_a_reconnect(icecast: IcecastDaemon, codec: Codec) -> None:
    def shows(title: str) -> Callable[[], bool]:
        return lambda: icecast.mounts().get(mount.mount, {}).get("title") == title

    with on_air(icecast.server, codec=codec) as mount, IcecastDesk(icecast.server, lambda: [mount.streamer]):
        eventually(shows("A station on the air"), "the station's title")
        mount.streamer.set_title("Tornado Warning\r\nfor Jackson & Clay")
        eventually(shows("Tornado Warning for Jackson & Clay"), "the alert's title")
        icecast.kill()
        icecast.start()
        eventually(shows("Tornado Warning for Jackson & Clay"), "the title after a reconnect", RECOVERY_S)
        mount.streamer.set_title("A station on the air")
        eventually(shows("A station on the air"), "the station's title again")
        eventually(lambda: mount.streamer.listeners == 0, "the number of listeners")


def test_a_wrong_admin_password_costs_no_title(icecast: IcecastDaemon) -> None:
    server = dataclasses.replace(icecast.server, admin_password="an old word")  # noqa: S106 - that of nobody
    with on_air(server) as mount, IcecastDesk(server, lambda: [mount.streamer]):
        eventually(lambda: icecast.mounts().get(mount.mount, {}).get("title") == "A station on the air", "the title")
        eventually(lambda: mount.streamer.listeners == 0, "the number of listeners")
        assert mount.streamer.status()["admin_error"] == ""


def test_a_frozen_server_is_noticed_although_its_kernel_goes_on_taking_audio(icecast: IcecastDaemon) -> None:
    with on_air(icecast.server) as mount, IcecastDesk(icecast.server, lambda: [mount.streamer]):
        eventually(lambda: mount.streamer.listeners == 0, "the number of listeners")
        icecast.freeze()
        try:
            eventually(lambda: "may be frozen" in mount.streamer.status()["admin_error"], "the fault", RECOVERY_S)
        finally:
            icecast.thaw()
        eventually(lambda: mount.streamer.status()["admin_error"] == "", "its answer", RECOVERY_S)
        eventually(lambda: mount.streamer.listeners == 0, "the number of listeners", RECOVERY_S)


@pytest.mark.parametrize("codec", [c for c in CODECS.values() if c.is_ogg], ids=lambda codec: codec.name)
def test_an_ogg_stream_carries_its_title_in_a_fresh_chain(icecast: IcecastDaemon, codec: Codec) -> None:
    with on_air(icecast.server, codec=codec) as mount:
        assert b"A station on the air" in listen(icecast, mount.mount, 1.5)
        mount.streamer.set_title("Tornado Warning")
        eventually(lambda: b"Tornado Warning" in icecast.fetch(mount.mount, 1.0), "the alert's title", RECOVERY_S)
        eventually(hears_tone(icecast, mount.mount), "the tone", RECOVERY_S)
        assert mount.streamer.status()["connections"] == 1
        assert mount.streamer.encoder.restarts == 0


def test_a_wrong_password_is_said_and_not_tried_without_pause(icecast: IcecastDaemon) -> None:
    server = dataclasses.replace(icecast.server, password="wrong")  # noqa: S106 - that of nobody
    with on_air(server) as mount:
        eventually(lambda: mount.streamer.status()["error"] != "", "the refusal")
        assert "refuses the password of user 'source' (401)" in mount.streamer.status()["error"]
        tries = mount.streamer.status()["tries"]
        time.sleep(2.0)
        assert mount.streamer.status()["tries"] <= tries + 2
        assert mount.streamer.is_alive


def test_a_missing_server_is_said(icecast: IcecastDaemon) -> None:
    server = dataclasses.replace(icecast.server, port=1)
    with on_air(server) as mount:
        eventually(lambda: mount.streamer.status()["error"] != "", "the refusal")
        assert "connection refused" in mount.streamer.status()["error"]
        eventually(lambda: mount.streamer.status()["tries"] > 2, "another try")


def test_a_name_that_is_none_is_said(icecast: IcecastDaemon) -> None:
    with on_air(dataclasses.replace(icecast.server, host="nowhere.invalid")) as mount:
        eventually(lambda: mount.streamer.status()["error"] != "", "the refusal", RECOVERY_S)
        assert "'nowhere.invalid' cannot be resolved" in mount.streamer.status()["error"]


def test_a_mount_in_use_is_said_and_taken_once_it_is_free(icecast: IcecastDaemon) -> None:
    with on_air(icecast.server) as first:
        eventually(first.is_connected, "the first source")
        with on_air(icecast.server) as second:
            eventually(lambda: "in use (403)" in second.streamer.status()["error"], "the refusal")
            first.streamer.stop()
            eventually(second.is_connected, "the mount", RECOVERY_S)


def test_a_server_that_takes_no_more_sources_says_so(tmp_path: Path) -> None:
    require_program("ffmpeg")
    with running_icecast(tmp_path, max_sources=1) as icecast, on_air(icecast.server, "a") as first:
        eventually(first.is_connected, "the first source")
        with on_air(icecast.server, "b") as second:
            eventually(lambda: "no more sources (403)" in second.streamer.status()["error"], "the refusal")


@pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)
def test_a_server_that_was_killed_has_its_mount_back(icecast: IcecastDaemon, codec: Codec) -> None:
    with on_air(icecast.server, codec=codec) as mount:
        eventually(hears_tone(icecast, mount.mount), "the tone", RECOVERY_S)
        icecast.kill()
        eventually(lambda: not mount.is_connected(), "the loss")
        time.sleep(1.0)
        icecast.start()
        eventually(hears_tone(icecast, mount.mount), "the tone after the server's return", RECOVERY_S)
        assert mount.streamer.encoder.restarts == 0


@pytest.mark.parametrize("codec", [MP3, OPUS], ids=lambda codec: codec.name)
def test_an_ffmpeg_that_was_killed_is_replaced_on_the_same_connection(icecast: IcecastDaemon, codec: Codec) -> None:
    with on_air(icecast.server, codec=codec) as mount:
        eventually(hears_tone(icecast, mount.mount), "the tone", RECOVERY_S)
        pid = mount.streamer.encoder.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: mount.streamer.encoder.restarts == 1, "the loss")
        eventually(lambda: mount.streamer.encoder.pid not in (None, pid), "another FFmpeg")
        eventually(hears_tone(icecast, mount.mount), "the tone", RECOVERY_S)
        assert mount.streamer.status()["connections"] == 1
        assert "killed by signal 9" in mount.streamer.encoder.status()["last_error"]


@pytest.mark.parametrize("codec", [MP3, OPUS], ids=lambda codec: codec.name)
def test_a_frozen_server_holds_up_nothing_and_gets_its_mount_back(icecast: IcecastDaemon, codec: Codec) -> None:
    with on_air(icecast.server, codec=codec) as mount:
        eventually(hears_tone(icecast, mount.mount), "the tone", RECOVERY_S)
        icecast.freeze()
        eventually(lambda: mount.streamer.status()["error"] != "", "the loss", 90.0)
        status = mount.streamer.status()
        assert "may be frozen" in status["error"]
        # What waits for it is bounded, and the encoder has not waited.
        assert status["backlog"]["depth_s"] < 6.0
        assert status["queue"]["dropped_count"] == 0
        assert status["queue"]["depth_s"] < 1.0
        icecast.thaw()
        eventually(hears_tone(icecast, mount.mount), "the tone after the thaw", RECOVERY_S)


def test_a_slow_mount_touches_no_other(icecast: IcecastDaemon) -> None:
    with on_air(icecast.server, "well") as well, on_air(icecast.server, "slow") as slow:
        eventually(well.is_connected, "the mount")
        eventually(lambda: slow.streamer.encoder.pid is not None, "the other FFmpeg")
        pid = slow.streamer.encoder.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: slow.streamer.status()["queue"]["depth_s"] > 0.5, "audio that waits", RECOVERY_S)
        assert well.streamer.status()["queue"]["depth_s"] < 0.5
        eventually(hears_tone(icecast, well.mount), "the tone of the other", RECOVERY_S)
        assert well.streamer.status()["queue"]["dropped_count"] == 0
        # An FFmpeg that writes nothing is replaced in the end.
        eventually(lambda: slow.streamer.encoder.restarts == 1, "another FFmpeg", RECOVERY_S)
        eventually(hears_tone(icecast, slow.mount), "the tone of this one", RECOVERY_S)


def test_the_password_stands_in_no_argument_list_and_no_log(
    icecast: IcecastDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with on_air(icecast.server) as mount, IcecastDesk(icecast.server, lambda: [mount.streamer]):
        eventually(lambda: mount.streamer.encoder.pid is not None, "FFmpeg")
        eventually(lambda: "title" in icecast.mounts().get(mount.mount, {}), "the title")
        arguments = [
            " ".join(process.cmdline()) for process in psutil.Process().children(recursive=True) if process.is_running()
        ]
        status = repr(mount.streamer.status())
    assert any("pipe:0" in line for line in arguments)
    shown = [*arguments, caplog.text, status, icecast.log(), repr(icecast.server)]
    assert not [text for text in shown if SOURCE_PASSWORD in text or "%41" in text]


@pytest.fixture
def certificate() -> Iterator[Path]:
    """A key and a certificate for 127.0.0.1 that signs for itself, where a server without privileges can read it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield make_certificate(path / "certificate.pem")


def make_certificate(path: Path) -> Path:
    key = ["-newkey", "rsa:2048", "-nodes", "-keyout", str(path), "-days", "1", "-subj", "/CN=127.0.0.1"]
    line = [require_program("openssl"), "req", "-x509", *key, "-addext", "subjectAltName=IP:127.0.0.1"]
    printed = run_quietly(line, timeout_s=60.0)
    assert printed is not None
    path.write_bytes(path.read_bytes() + printed)
    path.chmod(0o644)
    return path


def test_a_server_is_reached_by_tls_and_only_with_a_certificate_that_is_trusted(
    tmp_path: Path, certificate: Path
) -> None:
    require_program("ffmpeg")
    with running_icecast(tmp_path, certificate=certificate) as icecast:
        by_tls = dataclasses.replace(icecast.server, port=icecast.tls_port, tls=True)
        with on_air(by_tls, "untrusted") as untrusted:
            eventually(lambda: "is not trusted" in untrusted.streamer.status()["error"], "the refusal")
        trusted = dataclasses.replace(by_tls, ca_file=str(certificate))
        with on_air(trusted) as mount, IcecastDesk(trusted, lambda: [mount.streamer]):
            eventually(hears_tone(icecast, mount.mount), "the tone", RECOVERY_S)
            eventually(lambda: mount.streamer.listeners is not None, "the number of listeners")
            icecast.kill()
            icecast.start()
            eventually(hears_tone(icecast, mount.mount), "the tone after the server's return", RECOVERY_S)


def test_it_stops_at_once_whatever_the_server_does(icecast: IcecastDaemon) -> None:
    with on_air(icecast.server) as mount:
        eventually(mount.is_connected, "the mount")
        icecast.freeze()
        mount.streamer.stop()
        assert not mount.streamer.is_alive
        assert mount.streamer.encoder.pid is None
    icecast.thaw()
    eventually(lambda: mount.mount not in icecast.mounts(), "the end of the mount", RECOVERY_S)
