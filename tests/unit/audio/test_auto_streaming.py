from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app_core.audio import auto_streaming
from app_core.audio.auto_streaming import AutoStreaming, ListedSource, listed_source
from app_core.audio.icecast_settings import IcecastSettings, MountSettings
from app_core.audio.pcm_feed import PcmFeed
from app_core.audio.sources import AudioSource, AudioSourceConfig, AudioSourceType, uses_re_flag
from app_core.bridge.connection import RedisSettings
from app_core.network.icecast_server import LONGEST_LINE, IcecastServer
from tests.support.programs import eventually, require_program

NOBODY = IcecastServer("127.0.0.1", 1)


def sources(*identifiers: str) -> list[ListedSource]:
    return [listed_source(name, {"source": "RedisSDRSourceAdapter", "source_type": "sdr"}) for name in identifiers]


def streaming(title: str = "", **settings: Any) -> AutoStreaming:
    table = IcecastSettings(password_file=Path("/nowhere"), **settings)
    return AutoStreaming(table, NOBODY, PcmFeed(RedisSettings()), "Station", lambda channel_id: title)


@contextmanager
def running(mounts: AutoStreaming) -> Iterator[AutoStreaming]:
    require_program("ffmpeg")
    mounts.start()
    try:
        yield mounts
    finally:
        mounts.stop()


def names(mounts: AutoStreaming) -> dict[str, str]:
    return {streamer.source.config.id: streamer.plan.mount for streamer in mounts.streamers()}


@pytest.mark.parametrize(
    ("entry", "name", "kind", "re_flag"),
    [
        ({}, "RedisSDRSourceAdapter", AudioSourceType.SDR, False),
        (
            {"source": "RedisSDRSourceAdapter", "source_type": "sdr"},
            "RedisSDRSourceAdapter",
            AudioSourceType.SDR,
            False,
        ),
        ({"source": "HTTPIngestSource", "source_type": "stream"}, "HTTPIngestSource", AudioSourceType.STREAM, True),
        ({"source_type": "stream"}, "AudioSource", AudioSourceType.STREAM, True),
        ({"source": "FileSource", "source_type": "file"}, "FileSource", AudioSourceType.FILE, False),
        ({"source_type": "a kind of tomorrow"}, "RedisSDRSourceAdapter", AudioSourceType.SDR, False),
    ],
)
def test_a_source_is_known_by_what_the_decode_job_says(
    entry: dict[str, str], name: str, kind: AudioSourceType, re_flag: bool
) -> None:
    source = listed_source("wx7", entry)
    assert isinstance(source, AudioSource)
    assert (source.source_name, source.config.source_type) == (name, kind)
    assert uses_re_flag(source) is re_flag


def test_mounts_come_and_go_with_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = streaming()
    mounts.follow(sources("wx1"))
    assert names(mounts) == {}
    with running(mounts):
        assert names(mounts) == {"wx1": "/wx1.mp3"}
        first = mounts.streamers()[0]
        mounts.follow(sources("wx1", "wx2"))
        assert names(mounts) == {"wx1": "/wx1.mp3", "wx2": "/wx2.mp3"}
        assert mounts.streamers()[0] is first
        mounts.follow(sources("wx2"))
        assert set(names(mounts)) == {"wx1", "wx2"}
        monkeypatch.setattr(auto_streaming, "GONE_AFTER_S", -1.0)
        mounts.follow(sources())
        assert names(mounts) == {}
        assert not first.is_alive
        assert mounts.status() == {}


def test_a_mount_stands_for_as_long_as_its_source_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = [100.0]
    monkeypatch.setattr("app_core.audio.auto_streaming.time", SimpleNamespace(monotonic=lambda: clock[0]))
    mounts = streaming()
    mounts.follow(sources("wx1", "wx2"))
    for _ in range(4):
        clock[0] += 3.0
        mounts.follow(sources("wx1"))
    assert mounts.mount_count == 1
    assert "/wx2.mp3 is taken down" in caplog.text
    assert "/wx1.mp3 is taken down" not in caplog.text
    clock[0] += 5.5
    mounts.follow(sources())
    assert mounts.mount_count == 0


def test_a_source_that_has_changed_its_kind_has_its_mount_made_anew() -> None:
    mounts = streaming()
    mounts.follow([ListedSource(AudioSourceConfig(id="a", source_type=AudioSourceType.SDR, name="Name"), "SDR")])
    with running(mounts):
        first = mounts.streamers()[0]
        mounts.follow([ListedSource(AudioSourceConfig(id="a", source_type=AudioSourceType.SDR), "SDR")])
        assert mounts.streamers()[0] is first
        mounts.follow([ListedSource(AudioSourceConfig(id="a", source_type=AudioSourceType.STREAM), "HTTPIngestSource")])
        assert mounts.streamers()[0] is not first
        assert mounts.streamers()[0].encoder.re_flag is True


def test_limits_and_doubles_are_said() -> None:
    exceptions = (MountSettings(channel="twin", mount="/wx1"),)
    mounts = streaming(max_mounts=2, mounts=exceptions)
    mounts.follow(sources("wx1", "twin", "wx2", "wx3"))
    with running(mounts):
        mounts.follow(sources("wx1", "twin", "wx2", "wx3"))
        status = mounts.status()
    assert "is that of wx1" in status["twin"]["error"]
    assert "raise max_mounts" in status["wx3"]["error"]
    assert status["wx2"]["mount"] == "/wx2.mp3"


def test_exceptions_hold_for_their_channel_alone() -> None:
    exceptions = (
        MountSettings(channel="wx1", codec="opus", name="Roof"),
        MountSettings(channel="wx2", enabled=False),
        MountSettings(channel="wx3", mount="weather/{id}", bitrate_kbps=48),
    )
    mounts = streaming(bitrate_kbps=32, public_url="https://radio.example.org/", mounts=exceptions)
    mounts.follow(sources("wx1", "wx2", "wx3", "wx4"))
    with running(mounts):
        plans = {streamer.source.config.id: streamer.plan for streamer in mounts.streamers()}
    assert set(plans) == {"wx1", "wx3", "wx4"}
    assert (plans["wx1"].mount, plans["wx1"].bitrate_kbps, plans["wx1"].name) == ("/wx1.opus", 64, "Station: Roof")
    assert (plans["wx3"].mount, plans["wx3"].bitrate_kbps) == ("/weather/wx3.mp3", 48)
    assert (plans["wx4"].codec.name, plans["wx4"].bitrate_kbps) == ("mp3", 32)
    assert plans["wx4"].listen_url == "https://radio.example.org/wx4.mp3"


def test_a_name_that_no_player_could_show_is_mended() -> None:
    config = AudioSourceConfig(id="wx1", source_type=AudioSourceType.SDR, name="Roof\0\a\r\n" + "x" * 9000)
    table = IcecastSettings(password_file=Path("/nowhere"), codec="opus")
    mounts = AutoStreaming(table, NOBODY, PcmFeed(RedisSettings()), "St\ation", lambda channel_id: "Tornado\0 Warning")
    mounts.follow([ListedSource(config, "RedisSDRSourceAdapter")])
    with running(mounts):
        streamer = mounts.streamers()[0]
        assert streamer.plan.name == streamer.plan.title
        assert streamer.plan.title.startswith("Sttion: Roof xxx")
        assert len(streamer.plan.title) == LONGEST_LINE
        eventually(lambda: streamer.encoder.pid is not None, "FFmpeg")
        mounts.watch()
        assert streamer.title == "Tornado Warning"
        assert streamer.encoder.failure is None


def test_a_mount_shows_the_alert_and_then_the_station_again() -> None:
    title = "Tornado Warning"
    table = IcecastSettings(password_file=Path("/nowhere"))
    mounts = AutoStreaming(table, NOBODY, PcmFeed(RedisSettings()), "Station", lambda channel_id: title)
    mounts.follow(sources("wx1"))
    with running(mounts):
        mounts.watch()
        assert mounts.streamers()[0].title == "Tornado Warning"
        title = ""
        mounts.watch()
        assert mounts.streamers()[0].title == "Station: wx1"


def test_a_mount_of_which_a_thread_dies_is_made_anew() -> None:
    mounts = streaming()
    mounts.follow(sources("wx1"))
    with running(mounts):
        first = mounts.streamers()[0]
        eventually(lambda: first.encoder.pid is not None, "FFmpeg")
        first.sender.stop()

        def is_back() -> bool:
            mounts.watch()
            return mounts.streamers()[0] is not first and mounts.streamers()[0].is_alive

        eventually(is_back, "a fresh mount")
        assert not first.encoder.is_alive
        assert mounts.status()["wx1"]["restarts"] == 1
