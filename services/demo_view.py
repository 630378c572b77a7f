"""How the demo is shown: live on a terminal, as plain lines in a pipe, as JSON lines for programs."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app_core.alerts.alert import Alert
from app_core.base.errors import HeraldError
from app_core.bridge import keys
from app_core.bridge.connection import RedisLink
from app_core.bridge.health import read_message
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage, SpectrumMessage

_BLOCKS = " ▁▂▃▄▅▆▇█"
_RECEIVER_ID = "demo"


class DemoView(Protocol):
    """What the demo tells its watcher."""

    def begin(self, redis_description: str, redis_where: str, folder: Path) -> None:
        """Show which Redis it is and where things are kept."""
        ...

    def show_listening(self, receiver: str, mounts: Mapping[str, str], web_url: str) -> None:
        """Show which program receives the streams, where each channel is heard, and the list of the web audio."""
        ...

    def show_status(self, link: RedisLink, restarts: dict[str, int]) -> None:
        """Show what the services say of themselves; called a few times a second."""
        ...

    def show_alert(self, alert: Alert, alerts_folder: Path) -> None:
        """Show an alert that began or ended."""
        ...

    def fail(self, text: str) -> None:
        """Show that something went wrong."""
        ...

    def end(self) -> None:
        """Leave the screen in order."""
        ...


class Health:
    """The latest that the services said."""

    def __init__(self) -> None:
        self.sdr: SdrMetricsMessage | None = None
        self.audio: AudioMetricsMessage | None = None
        self.spectrum: SpectrumMessage | None = None
        self.redis_error = ""

    def read(self, link: RedisLink) -> None:
        """Read the keys of the contract; what is not there any more is None."""
        try:
            self.sdr = read_message(link, keys.METRICS, SdrMetricsMessage)
            self.audio = read_message(link, keys.AUDIO_METRICS, AudioMetricsMessage)
            self.spectrum = read_message(link, keys.spectrum(_RECEIVER_ID), SpectrumMessage)
            self.redis_error = ""
        except HeraldError as error:
            self.sdr = self.audio = self.spectrum = None
            self.redis_error = str(error)

    @property
    def receiving(self) -> bool:
        """Whether samples flow."""
        return self.sdr is not None and bool(self.sdr.receivers.get(_RECEIVER_ID, {}).get("running"))

    @property
    def decoding(self) -> bool:
        """Whether every channel's audio is fresh."""
        return self.audio is not None and all(entry.get("running") for entry in self.audio.channels.values())


class _ChangesView:
    """What plain and JSON views have in common: they tell changes of state, each once."""

    def __init__(self) -> None:
        self._health = Health()
        self._next_s = 0.0
        self._states: dict[str, object] = {}

    def show_status(self, link: RedisLink, restarts: dict[str, int]) -> None:
        """Tell what has changed."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + 0.5
        self._health.read(link)
        self._change("receiving", self._health.receiving)
        self._change("decoding", self._health.decoding)
        for name, count in restarts.items():
            self._change(f"restarts of {name}", count)

    def _change(self, what: str, state: object) -> None:
        if self._states.get(what, 0) != state:
            self._states[what] = state
            self.tell_change(what, state)

    def tell_change(self, what: str, state: object) -> None:
        """Tell one change of state."""
        raise NotImplementedError

    def end(self) -> None:
        """Nothing to put in order."""


class JsonView(_ChangesView):
    """One JSON object a line."""

    def begin(self, redis_description: str, redis_where: str, folder: Path) -> None:
        """Tell where things are."""
        self._tell("start", redis=redis_description, redis_address=redis_where, folder=str(folder))

    def show_listening(self, receiver: str, mounts: Mapping[str, str], web_url: str) -> None:
        """Tell where the streams are."""
        self._tell("listen", receiver=receiver, mounts=dict(mounts), web=web_url)

    def tell_change(self, what: str, state: object) -> None:
        """Tell one change of state."""
        self._tell("state", what=what, state=state)

    def show_alert(self, alert: Alert, alerts_folder: Path) -> None:
        """Tell an alert, with the recording's full path."""
        recording = None if alert.recording is None else str(alerts_folder / alert.recording)
        self._tell("alert", state=alert.state, recording=recording, alert=orjson.loads(alert.to_json()))

    def fail(self, text: str) -> None:
        """Tell an error."""
        self._tell("error", text=text)

    def _tell(self, event: str, **fields: Any) -> None:
        sys.stdout.write(orjson.dumps({"event": event, "timestamp": time.time(), **fields}).decode() + "\n")
        sys.stdout.flush()


class PlainView(_ChangesView):
    """Lines of text."""

    def begin(self, redis_description: str, redis_where: str, folder: Path) -> None:
        """Say where things are."""
        self._say("DEMO: a generated station, not a real one. Nothing of it leaves this machine.")
        self._say(f"Redis: {redis_description}, at {redis_where}; alerts and logs: {folder}")

    def show_listening(self, receiver: str, mounts: Mapping[str, str], web_url: str) -> None:
        """Say where the streams are."""
        self._say(f"Streams go to {receiver}; listen with VLC or mpv:")
        for url in mounts.values():
            self._say(f"  {url}")
        self._say(f"or, every channel, with a browser: {web_url}/{next(iter(mounts))}.mp3 (the list: {web_url})")

    def tell_change(self, what: str, state: object) -> None:
        """Say one change of state."""
        words = {True: "yes", False: "no"}.get(state, state) if isinstance(state, bool) else state
        self._say(f"{what}: {words}")

    def show_alert(self, alert: Alert, alerts_folder: Path) -> None:
        """Say an alert as it begins, and its recording as it ends."""
        if alert.state == "begun":
            self._say(f"ALERT {alert.text}")
            self._say(f"      {alert.header}")
        else:
            where = "none" if alert.recording is None else str(alerts_folder / alert.recording)
            where += "" if alert.recording_complete else " (cut short)"
            self._say(f"ENDED {alert.event_name} ({alert.end_reason}); recording: {where}")

    def fail(self, text: str) -> None:
        """Say an error."""
        self._say(f"ERROR {text}")

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        sys.stdout.flush()


class LiveView:
    """A screen that is drawn anew a few times a second."""

    def __init__(self) -> None:
        self._health = Health()
        self._alerts: deque[tuple[str, Alert, Path]] = deque(maxlen=6)
        self._errors: deque[str] = deque(maxlen=3)
        self._heading = ""
        self._restarts: dict[str, int] = {}
        self._folder = Path()
        self._redis_cli = "redis-cli"
        self._listening = Text("")
        self._live = Live(console=Console(), refresh_per_second=4, screen=False, auto_refresh=False)

    def begin(self, redis_description: str, redis_where: str, folder: Path) -> None:
        """Open the screen."""
        self._heading = f"Redis: {redis_description}, at {redis_where}"
        self._folder = folder
        port = redis_where.partition("/")[0].rpartition(":")[2]
        self._redis_cli = f"redis-cli -p {port}" if port.isdigit() and port != "6379" else "redis-cli"
        self._live.start()

    def show_listening(self, receiver: str, mounts: Mapping[str, str], web_url: str) -> None:
        """Keep the line about the streams."""
        first = next(iter(mounts.values()))
        self._listening = Text(
            f"listen (VLC, mpv): {first}, by {receiver}    every channel: {web_url}", style="dim", overflow="fold"
        )

    def show_status(self, link: RedisLink, restarts: dict[str, int]) -> None:
        """Draw the screen."""
        self._health.read(link)
        self._restarts = restarts
        self._live.update(self._screen(), refresh=True)

    def show_alert(self, alert: Alert, alerts_folder: Path) -> None:
        """Put an alert on top of the list, or mark it as ended there."""
        kept = [entry for entry in self._alerts if entry[1].alert_id != alert.alert_id]
        self._alerts.clear()
        self._alerts.extend([(time.strftime("%H:%M:%S"), alert, alerts_folder), *kept])

    def fail(self, text: str) -> None:
        """Show an error below."""
        self._errors.append(text)

    def end(self) -> None:
        """Draw once more and leave the screen to the shell."""
        if self._live.is_started:
            self._live.update(self._screen(), refresh=True)
            self._live.stop()

    def _screen(self) -> Group:
        parts: list[Any] = [
            Text(
                "DEMO  a generated station, not a real one; nothing of it leaves this machine",
                style="bold black on yellow",
            ),
            self._chain(),
            self._band(),
            self._channels(),
            *self._alert_panels(),
            *(Text(error, style="bold red") for error in self._errors),
            self._listening,
            Text(
                f"look: {self._redis_cli} GET sdr:metrics    logs: {self._folder / 'log'}    stop: Ctrl-C", style="dim"
            ),
        ]
        return Group(*parts)

    def _chain(self) -> Text:
        """The chain from the antenna to the alerts, each stage green or red."""
        health, text = self._health, Text()
        receiver = health.sdr.receivers.get(_RECEIVER_ID, {}) if health.sdr else {}
        ring = receiver.get("ring_buffer", {})
        lost = receiver.get("lost_samples", 0)
        stages = (
            ("antenna", health.receiving, f"{receiver.get('sample_rate', 0) / 1e3:.0f} kS/s"),
            ("ring", bool(ring), f"{ring.get('fill_percentage', 0.0):.0f} % full, {lost} lost"),
            ("Redis", not health.redis_error and health.sdr is not None, self._heading.partition(", at ")[2]),
            ("decoder", health.decoding, f"{len(health.audio.channels) if health.audio else 0} channels"),
            ("alerts", health.audio is not None and not health.audio.alerts.get("last_error"), str(len(self._alerts))),
        )
        for position, (name, good, words) in enumerate(stages):
            text.append(" → " if position else "")
            text.append(f"● {name} ", style="green" if good else "red")
            text.append(f"({words})", style="dim")
        restarted = ", ".join(f"{name} {count}x" for name, count in self._restarts.items() if count)
        if restarted:
            text.append(f"   restarted: {restarted}", style="yellow")
        return text

    def _band(self) -> Panel:
        """The spectrum of the band as a row of bars."""
        spectrum = self._health.spectrum
        width = max(20, min(110, self._live.console.width - 6))
        if spectrum is None:
            return Panel(Text("waiting for the receiver …", style="dim"), title="spectrum")
        values = spectrum.spectrum
        bins = len(values)
        row = [
            max(values[i * bins // width : max((i + 1) * bins // width, i * bins // width + 1)]) for i in range(width)
        ]
        span = spectrum.dbfs_max - spectrum.dbfs_min
        low, high = 0.35, 0.9
        bars = "".join(_BLOCKS[min(8, max(0, round((value - low) / (high - low) * 8)))] for value in row)
        first = (spectrum.center_frequency - spectrum.sample_rate / 2) / 1e6
        last = (spectrum.center_frequency + spectrum.sample_rate / 2) / 1e6
        peak_dbfs = spectrum.dbfs_min + max(values) * span
        title = f"spectrum {first:.3f} to {last:.3f} MHz, strongest {peak_dbfs:.0f} dBFS"
        return Panel(Group(Text(bars, style="cyan"), Text(self._axis(first, last, width), style="dim")), title=title)

    def _axis(self, first_mhz: float, last_mhz: float, width: int) -> str:
        """Mark every channel under the spectrum with the kilohertz of its frequency."""
        axis = [" "] * (width + 4)
        for entry in (self._health.audio.channels if self._health.audio else {}).values():
            frequency_mhz = float(entry.get("frequency_hz", 0.0)) / 1e6
            if first_mhz < frequency_mhz < last_mhz:
                at = int((frequency_mhz - first_mhz) / (last_mhz - first_mhz) * width)
                axis[at : at + 4] = f"^{round(frequency_mhz * 1e3) % 1000:03d}"
        return "".join(axis[:width])

    def _channels(self) -> Table:
        table = Table(expand=True, box=None, header_style="bold")
        for column, width in (("channel", 11), ("signal", 16), ("level", 9), ("heard", 9), ("last header", None)):
            table.add_column(column, no_wrap=True, overflow="ellipsis", min_width=width, ratio=None if width else 1)
        for entry in (self._health.audio.channels if self._health.audio else {}).values():
            snr_db = float(entry.get("snr_db") or 0.0)
            bar = "█" * max(0, min(10, round(snr_db / 4)))
            style = "green" if entry.get("running") else "red"
            table.add_row(
                Text(str(entry.get("name", "")), style=style),
                f"{snr_db:4.0f} dB {bar}",
                f"{float(entry.get('level_dbfs') or 0.0):.0f} dBFS",
                f"{entry.get('bursts_heard', 0)} bursts",
                str(entry.get("last_header", "")),
            )
        return table

    def _alert_panels(self) -> list[Panel]:
        panels = []
        for heard, alert, folder in self._alerts:
            lines = [Text(alert.text, style="bold"), Text(alert.header, style="dim")]
            if alert.state == "begun":
                lines.append(Text("recording …", style="red blink"))
            elif alert.recording is not None:
                cut = "" if alert.recording_complete else " (cut short)"
                lines.append(Text(f"recorded: {folder / alert.recording}{cut}", style="green", overflow="fold"))
            colour = {"warning": "red", "watch": "yellow"}.get(alert.event_kind, "blue")
            panels.append(Panel(Group(*lines), title=f"{heard}  {alert.event_name}", border_style=colour))
        return panels or [Panel(Text("the first alert is on the air within 30 s …", style="dim"), title="alerts")]
