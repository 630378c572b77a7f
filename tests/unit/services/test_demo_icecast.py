"""The demo's receiver of streams, real or ours, as the demo's own ``[icecast]`` table reaches it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app_core.audio.icecast_settings import IcecastSettings, server_of
from app_core.base.errors import WireError
from app_core.network.icecast_admin import read_listeners, update_title
from app_core.network.icecast_server import IcecastServer
from app_core.network.icecast_source import IcecastSource, MountDescription
from services import demo_icecast
from services.demo_icecast import DemoIcecast, start_icecast
from tests.support.programs import eventually, require_program

ROOT = Path(__file__).parents[3]

DEMO = """
import sys, time
from pathlib import Path
from services.demo_icecast import start_icecast

icecast, child = start_icecast(Path(sys.argv[1]), sys.stderr.buffer)
print(child.pid, icecast.description, flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["icecast2", "ours"])
def receiver(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DemoIcecast]:
    if request.param == "icecast2":
        require_program("icecast2")
    else:
        monkeypatch.setattr(demo_icecast, "find_program", lambda name: None)
    folder = tmp_path / "demo"
    # As a home folder of root is: closed to everybody else.
    folder.mkdir(mode=0o700)
    with (tmp_path / "log").open("wb") as log:
        icecast, child = start_icecast(folder, log)
        try:
            yield icecast
        finally:
            child.stop()


def _stream(icecast: DemoIcecast) -> dict[str, Any]:
    address = f"http://127.0.0.1:{icecast.port}/status-json.xsl"
    with urllib.request.urlopen(address, timeout=5.0) as response:
        found = json.load(response)["icestats"].get("source", {})
    return dict(found)


def _listeners(server: IcecastServer) -> dict[str, int]:
    try:
        return read_listeners(server)
    except WireError:
        # Icecast's status is no JSON while its first mount comes.
        return {}


def test_the_demos_table_streams_and_has_titles_and_listeners(receiver: DemoIcecast) -> None:
    settings = IcecastSettings.model_validate(tomllib.loads(receiver.table())["icecast"])
    server = server_of(settings)
    source = IcecastSource(server, MountDescription("/wx7.mp3", "audio/mpeg", name="WX7"), threading.Event())
    source.connect()
    try:
        source.send(bytes(4000))
        eventually(lambda: _listeners(server) == {"/wx7.mp3": 0}, "the mount")
        update_title(server, "/wx7.mp3", "Tornado Warning")

        def is_shown() -> bool:
            # Icecast puts a title between the audio that comes next.
            source.send(bytes(1000))
            return _stream(receiver).get("title") == "Tornado Warning"

        eventually(is_shown, "the title")
    finally:
        source.close()


def test_what_holds_the_password_is_for_its_reader_alone(receiver: DemoIcecast) -> None:
    assert receiver.password_file.stat().st_mode & 0o777 == 0o600
    assert receiver.config is None or receiver.config.stat().st_mode & 0o777 == 0o600


def test_icecast_goes_when_the_demo_is_killed(tmp_path: Path) -> None:
    require_program("icecast2")
    argv = [sys.executable, "-c", DEMO, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as demo:
        assert demo.stdout is not None
        pid, _, description = demo.stdout.readline().decode().partition(" ")
        icecast = psutil.Process(int(pid))
        assert description.startswith("Icecast (")
        assert icecast.uids().effective != 0
        demo.kill()
    try:
        eventually(lambda: not icecast.is_running() or icecast.status() == psutil.STATUS_ZOMBIE, "the end of icecast2")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            icecast.kill()
