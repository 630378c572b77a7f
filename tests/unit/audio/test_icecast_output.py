from __future__ import annotations

import pytest

from app_core.audio.auto_streaming import listed_source
from app_core.audio.broadcast_queue import BroadcastQueue
from app_core.audio.codecs import CODECS
from app_core.audio.icecast_output import EncodedBacklog, IcecastStreamer, MountPlan
from app_core.network.icecast_server import IcecastServer
from tests.support.programs import eventually


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app_core.audio.icecast_output.time", clock)
    return clock


def test_what_waits_is_taken_together_in_order() -> None:
    backlog = EncodedBacklog(5.0)
    for piece in (b"a", b"b", b"c"):
        assert backlog.put(piece) is False
    assert backlog.status()["bytes"] == 3
    assert backlog.take(0.0) == b"abc"
    assert backlog.take(0.0) == b""


def test_what_is_older_than_the_limit_goes_and_is_counted(clock: Clock) -> None:
    backlog = EncodedBacklog(5.0)
    dropped: list[bool] = []
    for number in range(100):
        dropped.append(backlog.put(bytes([number]) * 10))
        clock.now_s += 0.125
    status = backlog.status()
    assert status["depth_s"] == pytest.approx(5.0, abs=0.2)
    assert status["dropped_bytes"] == 10 * sum(dropped)
    assert status["dropped_s"] == pytest.approx(0.125 * sum(dropped))
    kept = backlog.take(0.0)
    assert (kept[-1], len(kept) + status["dropped_bytes"]) == (99, 1000)


def test_one_piece_is_kept_however_old(clock: Clock) -> None:
    backlog = EncodedBacklog(5.0)
    backlog.put(b"old")
    clock.now_s += 60.0
    assert backlog.put(b"new") is True
    assert backlog.take(0.0) == b"new"


def test_a_cleared_backlog_holds_nothing() -> None:
    backlog = EncodedBacklog(5.0)
    backlog.put(b"a")
    backlog.clear()
    assert backlog.take(0.0) == b""
    assert backlog.status() == {"depth_s": 0.0, "bytes": 0, "dropped_bytes": 0, "dropped_s": 0.0}


def test_a_mount_whose_thread_has_died_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    server = IcecastServer(host="127.0.0.1", port=1, password="three words here")  # noqa: S106
    plan = MountPlan("/wx7.mp3", "http://127.0.0.1:1/wx7.mp3", CODECS["mp3"], 64, "wx7", "wx7")
    streamer = IcecastStreamer(server, listed_source("wx7", {}), BroadcastQueue("wx7"), plan)
    assert streamer.status()["error"] == ""

    def die(stopping: object) -> None:
        raise OSError("no more files")

    monkeypatch.setattr(streamer.encoder, "run", die)
    streamer.encoder.start()
    eventually(lambda: streamer.failure is not None, "the end of the thread")
    assert streamer.status()["error"] == "its thread has died and is started again: no more files"
    streamer.stop()
