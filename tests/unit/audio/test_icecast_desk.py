from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from app_core.audio import icecast_desk
from app_core.audio.auto_streaming import AutoStreaming, listed_source
from app_core.audio.icecast_desk import IcecastDesk
from app_core.audio.icecast_output import IcecastStreamer
from app_core.audio.icecast_settings import IcecastSettings
from app_core.audio.pcm_feed import PcmFeed
from app_core.base.errors import LinkError
from app_core.bridge.connection import RedisSettings
from app_core.network.icecast_server import IcecastRefusedError, IcecastServer

SERVER = IcecastServer("127.0.0.1", 1)


class Icecast:
    """A server by its answers, and what it was told."""

    def __init__(self) -> None:
        self.titles: dict[str, str] = {}
        self.listeners: dict[str, int] = {}
        self.refuses: set[str] = set()
        self.is_frozen = False
        self.questions: list[str] = []

    def update_title(self, server: IcecastServer, mount: str, title: str, timeout_s: float) -> None:
        self.questions.append(mount)
        if self.is_frozen:
            raise LinkError("no answer")
        if mount in self.refuses:
            raise IcecastRefusedError(f"no title for {mount}", 400, needs_person=False)
        self.titles[mount] = title

    def read_listeners(self, server: IcecastServer, timeout_s: float) -> dict[str, int]:
        self.questions.append("listeners")
        if self.is_frozen:
            raise LinkError("no answer")
        return self.listeners


@pytest.fixture
def icecast(monkeypatch: pytest.MonkeyPatch) -> Icecast:
    icecast = Icecast()
    monkeypatch.setattr(icecast_desk, "update_title", icecast.update_title)
    monkeypatch.setattr(icecast_desk, "read_listeners", icecast.read_listeners)
    return icecast


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(icecast_desk, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(IcecastDesk, "_rest", lambda *_: None)
    return clock


@pytest.fixture
def streamers() -> list[IcecastStreamer]:
    """Three mounts that are connected, of which no thread runs."""
    made: list[IcecastStreamer] = []
    table = IcecastSettings(password_file=Path("/nowhere"))
    mounts = AutoStreaming(table, SERVER, PcmFeed(RedisSettings()), "Station", lambda channel_id: "")
    for name in ("a", "b", "c"):
        source = listed_source(name, {})
        made.append(IcecastStreamer(SERVER, source, mounts._feed.queue(name), mounts._plan(source)))
        made[-1].sender.connected_s = 1.0
    return made


@pytest.fixture
def turn(streamers: list[IcecastStreamer], icecast: Icecast, clock: list[float]) -> Callable[[], None]:
    desk = IcecastDesk(SERVER, lambda: streamers)
    return lambda: desk._turn(threading.Event())


def test_a_refused_title_keeps_nothing_from_the_other_mounts(
    streamers: list[IcecastStreamer], icecast: Icecast, clock: list[float], turn: Callable[[], None]
) -> None:
    icecast.refuses, icecast.listeners = {"/a.mp3"}, {"/a.mp3": 1, "/b.mp3": 2}
    turn()
    assert icecast.titles == {"/b.mp3": "Station: b", "/c.mp3": "Station: c"}
    assert [streamer.listeners for streamer in streamers] == [1, 2, None]
    assert [streamer.status()["admin_error"] for streamer in streamers] == ["no title for /a.mp3", "", ""]


def test_a_refused_title_is_tried_again_after_a_rest(
    streamers: list[IcecastStreamer], icecast: Icecast, clock: list[float], turn: Callable[[], None]
) -> None:
    icecast.refuses = {"/a.mp3"}
    for _ in range(5):
        turn()
    assert icecast.questions.count("/a.mp3") == 1
    clock[0] += icecast_desk.RETRY_S
    icecast.refuses = set()
    turn()
    assert icecast.titles["/a.mp3"] == "Station: a"
    assert streamers[0].status()["admin_error"] == ""


def test_a_server_that_does_not_answer_is_asked_once_and_told_of_every_mount(
    streamers: list[IcecastStreamer], icecast: Icecast, clock: list[float], turn: Callable[[], None]
) -> None:
    icecast.is_frozen = True
    turn()
    assert icecast.questions == ["/a.mp3"]
    assert [streamer.status()["admin_error"] for streamer in streamers] == ["no answer"] * 3
    icecast.is_frozen = False
    turn()
    assert [streamer.status()["admin_error"] for streamer in streamers] == [""] * 3


def test_a_server_that_freezes_later_is_noticed_when_listeners_are_counted(
    streamers: list[IcecastStreamer], icecast: Icecast, clock: list[float], turn: Callable[[], None]
) -> None:
    icecast.listeners = {"/a.mp3": 1}
    turn()
    assert [streamer.listeners for streamer in streamers] == [1, None, None]
    icecast.is_frozen = True
    turn()
    assert streamers[0].status()["admin_error"] == ""
    clock[0] += icecast_desk.LISTENERS_EVERY_S
    turn()
    assert [streamer.status()["admin_error"] for streamer in streamers] == ["no answer"] * 3
    assert [streamer.listeners for streamer in streamers] == [None] * 3
    icecast.is_frozen = False
    clock[0] += icecast_desk.LISTENERS_EVERY_S
    turn()
    assert [streamer.status()["admin_error"] for streamer in streamers] == [""] * 3
    assert [streamer.listeners for streamer in streamers] == [1, None, None]


def test_a_mount_that_is_not_connected_is_not_asked_about(
    streamers: list[IcecastStreamer], icecast: Icecast, clock: list[float], turn: Callable[[], None]
) -> None:
    streamers[0].title_error = "an old one"
    streamers[0].sender.connected_s = None
    turn()
    assert set(icecast.titles) == {"/b.mp3", "/c.mp3"}
    assert streamers[0].status()["admin_error"] == ""
