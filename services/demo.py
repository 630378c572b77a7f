"""``herald demo``: the whole station on a bare machine, with a generated antenna.

Real parts: a Redis server, a dongle's ``rtl_tcp`` server that plays a generated station, the SDR service, the audio
service, and an Icecast that its channels are streamed to, each a process of its own. This program only starts them,
restarts what dies, and shows what Redis says.
Nothing of the demo leaves the machine, and every alert of it is marked as the demo's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app_core.alerts.alert import Alert
from app_core.base.child import Child
from app_core.base.errors import ConfigError, LifecycleError, LinkError, WireError
from app_core.base.supervisor import Stage, Supervisor
from app_core.base.telemetry import configure_logging
from app_core.bridge.alert_stream import AlertTail
from app_core.bridge.connection import RedisLink
from app_core.bridge.local_redis import DEFAULT_PORT, LocalRedis, free_port
from services.demo_icecast import DemoIcecast, start_icecast
from services.demo_view import DemoView, JsonView, LiveView, PlainView
from services.runner import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, exit_code_of, stop_on_signals
from services.settings import load_redis_settings, settings_variables

RECEIVER_ID = "demo"
SAMPLE_RATE_HZ = 250_000
CENTER_FREQUENCY_HZ = 162_487_500
CHANNELS_HZ = (162_400_000, 162_425_000, 162_450_000, 162_475_000, 162_500_000, 162_525_000, 162_550_000)

STREAMED = ("wx7", "wx1")
"""Channels with a mount on Icecast: those of the first two alerts. Each mount has an FFmpeg of 16 MB, and the demo
shall fit beside whatever else this machine does; the web audio encodes the others while somebody listens."""

ONCE_TIMEOUT_S = 90.0
"""With ``--once``: time in which the first alert must have been recorded. [seconds]"""

STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where the demo keeps its things.

    Attributes
    ----------
    root
        Holds ``station.toml``, ``alerts/`` and ``log/``.
    """

    root: Path

    @property
    def station(self) -> Path:
        """The demo's ``station.toml``."""
        return self.root / "station.toml"

    def log_path(self, name: str) -> Path:
        """Give the path of a program's log; its folder is there."""
        folder = self.root / "log"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"


def default_folder() -> Path:
    """Give ``HERALD_DATA_DIR``, else the user's state folder, with ``demo`` behind it."""
    state = os.environ.get("HERALD_DATA_DIR")
    if state:
        return Path(state) / "demo"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "herald" / "demo"


def station_text(antenna_port: int, icecast: DemoIcecast, web_port: int) -> str:
    """Give the demo's ``station.toml``: one dongle, seven channels, and where they can be heard."""
    lines = [
        "# Written by `herald demo` at every start.",
        '[station]\nname = "Herald demo"\ndemo = true\n',
        f'[[receivers]]\nid = "{RECEIVER_ID}"\ndriver = "rtl_tcp"\nhost = "127.0.0.1"\nport = {antenna_port}',
        f"sample_rate_hz = {SAMPLE_RATE_HZ}\ncenter_frequency_hz = {CENTER_FREQUENCY_HZ}",
        # Half of what a station keeps: the demo shall fit beside whatever else this machine does.
        "history_seconds = 15\ncapture_memory_s = 15\n",
    ]
    for number, frequency_hz in enumerate(CHANNELS_HZ, start=1):
        lines.append(
            f'[[channels]]\nid = "wx{number}"\nreceiver_id = "{RECEIVER_ID}"\nfrequency_hz = {frequency_hz}\n'
            f'name = "{frequency_hz / 1e6:.3f} MHz"\n'
        )
    lines += [icecast.table(), f"[web_audio]\nport = {web_port}\n", "[dead_air]\n"]
    for number in range(1, len(CHANNELS_HZ) + 1):
        if f"wx{number}" not in STREAMED:
            lines.append(f'[[icecast.mounts]]\nchannel = "wx{number}"\nenabled = false\n')
    return "\n".join(lines)


class Demo:
    """Every process of the demo.

    Parameters
    ----------
    folder
        Where station, alerts and logs are.
    first_alert_s, interval_s
        When the generated station sends its alerts. [seconds]
    """

    def __init__(self, folder: DemoFolder, *, first_alert_s: float, interval_s: float) -> None:
        folder.root.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._cleanup = contextlib.ExitStack()
        redis_url = os.environ.get("REDIS_URL")
        self.local_redis = None if redis_url else self._start_redis()
        if self.local_redis is None:
            self.redis = load_redis_settings()
            self.redis_description = "the one in REDIS_URL"
        else:
            self.redis = self.local_redis.settings
            self.redis_description = self.local_redis.program.description
        self.icecast, receiver = start_icecast(folder.root, self._log("icecast"))
        antenna_port, web_port = free_port(), free_port()
        folder.station.write_text(station_text(antenna_port, self.icecast, web_port), encoding="utf-8")
        self.web_url = f"http://127.0.0.1:{web_port}/listen"
        python = [sys.executable, "-m"]
        config = ["--config", str(folder.station)]
        antenna = [*python, "services.synth_service", "--port", str(antenna_port)]
        antenna += ["--first-alert-s", str(first_alert_s), "--interval-s", str(interval_s)]
        self.children: dict[str, Child | LocalRedis] = {
            "antenna": self._child("antenna", antenna),
            "sdr": self._child("sdr", [*python, "services.sdr_service", *config]),
            "audio": self._child("audio", [*python, "services.audio_service", *config]),
            "icecast": receiver,
        }
        if self.local_redis is not None:
            self.children["redis"] = self.local_redis
        stages = [
            Stage(f"the {name} process", lambda child=child: child, stop_timeout_s=STOP_TIMEOUT_S)  # type: ignore[misc]
            for name, child in self.children.items()
        ]
        self._supervisor = Supervisor(stages)

    def start(self) -> None:
        """Start everything but Redis and Icecast, which run already."""
        self._supervisor.start()

    def watch(self) -> None:
        """Restart what died.

        Raises
        ------
        ConfigError
            If a program refuses its settings: starting it again would not help.
        """
        for name, child in self.children.items():
            if child.exit_code == EXIT_CONFIG:
                raise ConfigError(f"the {name} process refuses its settings: {self._last_words(name)}")
        self._supervisor.watch()

    def stop(self) -> None:
        """Stop everything, the antenna first and Redis last."""
        self._supervisor.stop()
        self._cleanup.close()

    def restarts(self) -> dict[str, int]:
        """Give how often each process was restarted."""
        return {name: stage.restarts for name, stage in zip(self.children, self._supervisor.stages, strict=True)}

    def _start_redis(self) -> LocalRedis:
        """Start a Redis on the usual port, or on another when somebody takes that one meanwhile.

        Raises
        ------
        LinkError
            If none starts; the text gives the server's own reason.
        """
        failure: LinkError | None = None
        for preferred in (DEFAULT_PORT, None, None):
            redis = LocalRedis(free_port(preferred), log=self.folder.log_path("redis"))
            redis.start()
            try:
                redis.wait_ready()
            except LinkError as error:
                failure = error
                redis.stop()
                redis.close()
                continue
            self._cleanup.callback(redis.close)
            return redis
        raise failure or LinkError("no Redis could be started")

    def _last_words(self, name: str) -> str:
        lines = self.folder.log_path(name).read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _log(self, name: str) -> IO[bytes]:
        return self._cleanup.enter_context(self.folder.log_path(name).open("wb"))

    def _child(self, name: str, argv: Sequence[str]) -> Child:
        # A station's own settings, if this machine has some, are none of the demo's: empty is as good as not there.
        environment = dict.fromkeys(settings_variables(), "")
        environment["HERALD_DATA_DIR"] = str(self.folder.root)
        if self.local_redis is not None:
            environment["REDIS_PORT"] = str(self.redis.port)
        else:
            for name in ("REDIS_URL", "REDIS_USERNAME", "REDIS_PASSWORD_FILE"):
                environment[name] = os.environ.get(name, "")
        log = self._log(name)
        return Child(name, argv, environment=environment, stdout=log, stderr=log)


def run(*, once: bool, view: DemoView, folder: DemoFolder, first_alert_s: float, interval_s: float) -> int:
    """Run the demo until a signal, or with `once` until the first alert has been recorded."""
    configure_logging("ERROR")
    stopping = stop_on_signals()
    started_s = time.monotonic()
    demo = Demo(folder, first_alert_s=first_alert_s, interval_s=interval_s)
    tail_link = RedisLink(demo.redis, blocking_s=1.0)
    tail = AlertTail(tail_link, from_start=demo.local_redis is not None)
    status_link = RedisLink(demo.redis)
    # After a lost connection an alert may be published twice; for the eye it is one.
    shown: set[tuple[str, str]] = set()
    try:
        view.begin(demo.redis_description, demo.redis.describe(), folder.root)
        mounts = {channel_id: demo.icecast.mount_url(channel_id) for channel_id in STREAMED}
        view.show_listening(demo.icecast.description, mounts, demo.web_url)
        demo.start()
        while not stopping.is_set():
            demo.watch()
            view.show_status(status_link, demo.restarts())
            for alert in _new_alerts(tail, view):
                # Also published when another channel hears it, and twice after a crash.
                if (alert.alert_id, alert.state) in shown:
                    continue
                shown.add((alert.alert_id, alert.state))
                view.show_alert(alert, folder.root / "alerts")
                if once and alert.state == "ended":
                    return EXIT_OK if alert.recording is not None and alert.recording_complete else EXIT_FAILED
            if once and time.monotonic() - started_s > ONCE_TIMEOUT_S:
                view.fail(f"no alert was recorded within {ONCE_TIMEOUT_S:.0f} s; the logs are in {folder.root / 'log'}")
                return EXIT_FAILED
        return EXIT_OK
    finally:
        view.end()
        demo.stop()
        for link in (tail_link, status_link):
            link.close()


def _new_alerts(tail: AlertTail, view: DemoView) -> list[Alert]:
    """Wait a moment for alerts."""
    alerts: list[Alert] = []
    try:
        payloads = tail.read(0.25)
    except LinkError:
        time.sleep(0.1)
        return alerts
    for payload in payloads:
        try:
            alerts.append(Alert.from_json(payload))
        except WireError as error:
            view.fail(f"an alert in Redis is malformed: {error}")
    return alerts


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="herald demo", description="The whole station with a generated antenna; nothing of it leaves the machine."
    )
    parser.add_argument("--once", action="store_true", help="end after the first alert has been recorded")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--folder", type=Path, help="where alerts, recordings and logs go")
    parser.add_argument("--first-alert-s", type=float, default=8.0, metavar="S", help="start of the first alert")
    parser.add_argument("--interval-s", type=float, default=60.0, metavar="S", help="from one alert to the next")
    arguments = parser.parse_args(argv)
    view: DemoView
    if arguments.json:
        view = JsonView()
    elif sys.stdout.isatty() and shutil.get_terminal_size().columns >= 60:
        view = LiveView()
    else:
        view = PlainView()
    folder = DemoFolder((arguments.folder or default_folder()).resolve())

    def program() -> int:
        return run(
            once=arguments.once,
            view=view,
            folder=folder,
            first_alert_s=arguments.first_alert_s,
            interval_s=arguments.interval_s,
        )

    try:
        return exit_code_of(program)
    except LifecycleError as error:
        print(f"herald: {error}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
