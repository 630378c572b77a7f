"""What surrounds a program: watchdog, metrics port, logs."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from app_core.base.sd_notify import Notifier, NotifyListener
from app_core.bridge.messages import SdrMetricsMessage
from services.runner import begin_metrics, make_notifier, run_until_stopped
from services.sdr_service import listened_frequencies
from services.settings import Loaded, load


def _loaded(tmp_path: Path, text: str) -> Loaded:
    path = tmp_path / "station.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_a_program_is_ready_and_feeds_its_watchdog() -> None:
    listener = NotifyListener()
    notifier = Notifier(listener.address, watchdog_s=1e-6)
    listener.last_alive_s = 0.0
    turns = iter([True, False])
    run_until_stopped(lambda: next(turns), threading.Event(), notifier)
    listener.take(os.getpid())
    assert listener.is_ready
    assert listener.last_alive_s > 0.0
    notifier.close()
    listener.close()


def test_a_hung_thread_keeps_the_watchdog_hungry_and_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("")
        supervisor.setblocking(False)
        notifier = Notifier("@" + supervisor.getsockname()[1:].decode(), watchdog_s=1e-6)
        states = iter([[], ["Reader-noaa-1"], ["Reader-noaa-1"], []])
        turns = iter([True, True, True, True, False])
        run_until_stopped(lambda: next(turns), threading.Event(), notifier, lambda: next(states))
        heard = [supervisor.recv(100).decode() for _ in range(4)]
        notifier.close()
    assert heard == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    assert len([text for text in caplog.messages if "Reader-noaa-1" in text]) == 1


def test_systemds_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("")
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + supervisor.getsockname()[1:].decode())
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        notifier = make_notifier()
        notifier.alive()
        assert supervisor.recv(100) == b"WATCHDOG=1"
        notifier.close()


def test_the_metrics_port_is_the_programs_own_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    loaded = _loaded(tmp_path, f"[station]\nprometheus_port_sdr = {port}\n")
    assert begin_metrics(loaded, None, lambda: None) is None
    server = begin_metrics(loaded, loaded.station.prometheus_port_sdr, lambda: None)
    assert server is not None
    assert server.port == port
    monkeypatch.setenv("HERALD_PROMETHEUS_PORT", str(port))
    assert begin_metrics(load(loaded.station_path), 1, _metrics) is None, "the port is taken, and nothing is raised"
    server.close()


def _metrics() -> SdrMetricsMessage:
    return SdrMetricsMessage(timestamp=0.0, pid=1, receivers={})


def test_the_frequencies_that_are_listened_to_are_read_as_plain_numbers(tmp_path: Path) -> None:
    loaded = _loaded(
        tmp_path,
        '[[channels]]\nid = "a"\nreceiver_id = "x"\nfrequency_hz = 162400000\n'
        '[[channels]]\nid = "b"\nreceiver_id = "x"\nfrequency_hz = 162550000.5\nunknown = 1\n'
        '[[channels]]\nid = "c"\nreceiver_id = "y"\nfrequency_hz = "nonsense"\n',
    )
    assert listened_frequencies(loaded) == {"x": [162_400_000.0, 162_550_000.5]}
    assert listened_frequencies(_loaded(tmp_path, "")) == {}
