"""The protocol of sd_notify over real unix sockets, both sides."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_core.base.child import Child
from app_core.base.sd_notify import Notifier, NotifyListener, watchdog_seconds


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def _heard(supervisor: socket.socket) -> list[str]:
    heard = []
    while True:
        try:
            heard.append(supervisor.recv(4096).decode())
        except BlockingIOError:
            return heard


def test_a_program_tells_its_life_in_systemds_words(supervisor: socket.socket) -> None:
    notifier = Notifier(supervisor.getsockname())
    notifier.ready()
    notifier.status("noaa-1: receiving")
    notifier.stopping()
    assert _heard(supervisor) == ["READY=1", "STATUS=noaa-1: receiving", "STOPPING=1"]
    notifier.close()


def test_the_watchdog_is_fed_at_half_of_its_time(supervisor: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    notifier = Notifier(supervisor.getsockname(), watchdog_s=10.0)
    fed = []
    for _ in range(100):
        notifier.alive()
        fed += [now_s] * len(_heard(supervisor))
        now_s += 0.25
    assert fed == [1000.0, 1005.0, 1010.0, 1015.0, 1020.0]
    notifier.close()


def test_without_a_watchdog_nothing_is_fed(supervisor: socket.socket) -> None:
    notifier = Notifier(supervisor.getsockname())
    notifier.alive()
    assert _heard(supervisor) == []
    notifier.close()


def test_a_status_is_one_line_and_is_sent_when_it_changes(supervisor: socket.socket) -> None:
    notifier = Notifier(supervisor.getsockname())
    for text in ("well", "well", "broken:\nWATCHDOG=1", "well"):
        notifier.status(text)
    assert _heard(supervisor) == ["STATUS=well", "STATUS=broken: WATCHDOG=1", "STATUS=well"]
    notifier.close()


def test_a_supervisor_that_is_not_there_or_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    gone = Notifier(str(tmp_path / "nothing"), watchdog_s=1.0)
    gone.ready()
    gone.close()
    nobody = Notifier()
    nobody.ready()
    nobody.close()
    with NotifyListenerContext() as listener:
        notifier = Notifier(listener.address)
        for number in range(2000):
            notifier.status(f"number {number}")
        notifier.close()


class NotifyListenerContext:
    """A listener that is closed."""

    def __enter__(self) -> NotifyListener:
        self._listener = NotifyListener()
        return self._listener

    def __exit__(self, *_: object) -> None:
        self._listener.close()


def test_a_listener_hears_its_child() -> None:
    with NotifyListenerContext() as listener:
        notifier = Notifier(listener.address, watchdog_s=1.0)
        notifier.ready()
        notifier.status("2 of 2 channels heard")
        listener.last_alive_s = 0.0
        notifier.alive()
        listener.take(os.getpid())
        assert listener.is_ready
        assert listener.status == "2 of 2 channels heard"
        assert listener.last_alive_s > 0.0
        listener.reset()
        assert (listener.is_ready, listener.status) == (False, "")
        notifier.close()


def test_a_status_alone_is_no_sign_of_life() -> None:
    with NotifyListenerContext() as listener:
        notifier = Notifier(listener.address)
        listener.last_alive_s = 0.0
        notifier.status("I think I am well")
        listener.take(os.getpid())
        assert listener.last_alive_s == 0.0
        notifier.close()


def test_a_stranger_is_not_believed() -> None:
    with NotifyListenerContext() as listener:
        words = "import sys; from app_core.base.sd_notify import Notifier; Notifier(sys.argv[1]).ready()"
        stranger = Child("stranger", [sys.executable, "-c", words, listener.address])
        stranger.start()
        assert stranger.wait(20.0) == 0
        listener.take(os.getpid())
        assert not listener.is_ready


def test_the_childs_variables_replace_those_of_our_own_supervisor() -> None:
    with NotifyListenerContext() as listener:
        environment = listener.environment(5.0)
        assert environment == {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": ""}


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("30000000", "", 30.0),
        ("30000000", str(os.getpid()), 30.0),
        ("30000000", "1", 0.0),
        ("", "", 0.0),
        ("0", "", 0.0),
        ("-5", "", 0.0),
        ("soon", "", 0.0),
        ("²", "", 0.0),
    ],
)
def test_the_watchdogs_time_is_read_as_systemd_writes_it(usec: str, pid: str, seconds: float) -> None:
    assert watchdog_seconds(usec, pid) == seconds
