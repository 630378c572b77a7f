"""How ``herald status`` shows a station: a verdict to be read across the room, and a line for each part of it.

What is shown is judged by `app_core.bridge.diagnosis`, the same judgement as the health check's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.align import Align
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app_core.bridge.connection import RedisSettings
from app_core.bridge.diagnosis import StationHealth, Verdict, diagnose, is_stopped, total_age_s, warnings_of
from services.big_text import big_lines

_WIDE = 125
"""Columns from which on there is room for more than what matters most. Laid out for 80 otherwise."""

_GOOD, _FAIR, _BAD, _OFF = "bold white on green", "bold black on yellow", "bold white on red", "bold white on grey37"


class StationStatus:
    """One look at a station.

    Parameters
    ----------
    health
        What the services say.
    settings
        Which Redis was asked; part of the commands that are shown.
    max_age_s
        Age from which on the flow is said to be broken. [seconds]
    """

    def __init__(self, health: StationHealth, settings: RedisSettings, max_age_s: float) -> None:
        self._health = health
        self._settings = settings
        self._max_age_s = max_age_s
        self.verdicts: list[Verdict] = diagnose(health, max_age_s)

    @property
    def is_well(self) -> bool:
        """Whether everything flows."""
        return not self.verdicts

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON can carry it; the first of `broken` is the first broken stage."""
        health = self._health
        return {
            "well": self.is_well,
            "broken": [
                {**asdict(verdict), "command": verdict.command_for(self._settings)} for verdict in self.verdicts
            ],
            "warnings": warnings_of(health, self._max_age_s),
            "sdr_age_s": None if health.sdr is None else round(health.sdr.age_s, 3),
            "audio_age_s": None if health.audio is None else round(health.audio.age_s, 3),
            "fft_library": self._fft_library(),
            "receivers": self._receivers(),
            "channels": self._channels(),
        }

    def screen(self) -> Group:
        """Draw the station."""
        parts: list[RenderableType] = [self._headline()]
        if self._receivers():
            parts.append(_Fitted(self._receiver_table))
        if self._channels():
            parts.append(_Fitted(self._channel_table))
        parts += [Text(note, style="yellow") for note in self._notes()]
        if self._fft_library():
            parts.append(Text(f"transforms by {self._fft_library()}", style="dim"))
        return Group(*parts)

    def _receivers(self) -> Mapping[str, dict[str, Any]]:
        return self._health.sdr.message.receivers if self._health.sdr is not None else {}

    def _channels(self) -> Mapping[str, dict[str, Any]]:
        return self._health.audio.message.channels if self._health.audio is not None else {}

    def _fft_library(self) -> str:
        return self._health.audio.message.fft_library if self._health.audio is not None else ""

    def _headline(self) -> Panel:
        """The verdict in large letters; where something is broken, its first stage, the reason, and what to type."""
        if self.is_well:
            body: RenderableType = Align.center(Text("\n".join(big_lines("receiving"))))
            return Panel(body, style=_GOOD)
        first = self.verdicts[0]
        large = Align.center(Text("\n".join(big_lines(f"{first.stage} down"))))
        lines = [
            large,
            Align.center(Text(first.reason)),
            Align.center(Text(f"look closer:  {first.command_for(self._settings)}")),
        ]
        lines += [Align.center(Text(f"also {verdict.stage}: {verdict.reason}")) for verdict in self.verdicts[1:5]]
        if len(self.verdicts) > 5:
            lines.append(Align.center(Text(f"and {len(self.verdicts) - 5} more")))
        return Panel(Group(*lines), style=_BAD)

    def _receiver_table(self, width: int) -> RenderableType:
        wide = width >= _WIDE
        columns = ["state", "receiver", "frequency", "signal", "samples", "ring", "lost"]
        table = _table([*columns, "level"] if wide else columns)
        age_s = self._health.sdr.age_s if self._health.sdr is not None else 0.0
        for receiver_id, entry in self._receivers().items():
            ring = entry.get("ring_buffer") or {}
            rate_hz = _number(entry.get("effective_sample_rate")) or _number(entry.get("sample_rate"))
            sample_age_s = total_age_s(entry.get("last_sample_age_s"), age_s)
            samples, filled = _age_text(sample_age_s), f"{_number(ring.get('fill_percentage')):.0f} %"
            level = f"{_number(entry.get('level_dbfs')):.0f} dBFS" if entry.get("running") else ""
            table.add_row(
                self._receiver_state(entry, sample_age_s),
                Text(receiver_id, style="bold"),
                f"{_number(entry.get('frequency_hz')) / 1e6:.4f} MHz" if entry.get("frequency_hz") else "closed",
                _signal(entry, wide=wide),
                f"{rate_hz / 1e3:.1f} kS/s, {samples}" if wide else samples,
                f"{filled}, {ring.get('overflow_count', 0)} overflows" if wide else filled,
                str(entry.get("lost_samples", 0)),
                *([level] if wide else []),
            )
        return table

    def _receiver_state(self, entry: Mapping[str, Any], age_s: float | None) -> Text:
        if is_stopped(dict(entry)):
            return Text("  STOPPED  ", style=_OFF)
        if entry.get("state") == "ended":
            return Text("   ENDED   ", style=_OFF)
        if age_s is None or age_s > self._max_age_s:
            return Text("   DOWN    ", style=_BAD)
        if any(fault.get("severity") == "error" for fault in entry.get("faults", ())):
            return Text("   FAULT   ", style=_BAD)
        return Text("  LOCKED   ", style=_GOOD) if entry.get("locked") else Text(" NO SIGNAL ", style=_FAIR)

    def _channel_table(self, width: int) -> RenderableType:
        wide = width >= _WIDE
        headers = [str(entry.get("last_header") or "") for entry in self._channels().values()]
        # A header is told whole: in the table where there is room for it, else below.
        beside = width >= _WIDE + max(map(len, headers), default=0)
        columns = ["state", "channel", "frequency", "signal", "audio", "heard"]
        table = _table([*columns, "last header"] if beside else columns)
        below: list[RenderableType] = []
        age_s = self._health.audio.age_s if self._health.audio is not None else 0.0
        for (channel_id, entry), header in zip(self._channels().items(), headers, strict=True):
            name = str(entry.get("name") or channel_id)
            pcm_age_s = total_age_s(entry.get("last_pcm_age_s"), age_s)
            flows = pcm_age_s is not None and pcm_age_s <= self._max_age_s
            bursts, n_headers = entry.get("bursts_heard", 0), entry.get("headers_decoded", 0)
            table.add_row(
                _channel_state(entry, flows=flows),
                Text(name, style="bold"),
                _place(entry),
                _signal(entry, wide=wide) if "snr_db" in entry else "",
                _age_text(pcm_age_s),
                f"{bursts} bursts, {n_headers} headers" if wide else f"{n_headers} headers",
                *([header] if beside else []),
            )
            if header and not beside:
                below.append(Text(f"{name}: {header}", style="dim"))
        return Group(table, *below)

    def _notes(self) -> list[str]:
        """What is not right, but does not keep anything from flowing."""
        notes = warnings_of(self._health, self._max_age_s)
        notes += [
            f"{receiver_id}: {fault.get('text')}"
            for receiver_id, entry in self._receivers().items()
            for fault in entry.get("faults", ())
            if fault.get("severity") == "warning"
        ]
        inputs = self._health.audio.message.receivers if self._health.audio is not None else {}
        notes += [
            f"{receiver_id}: carriers are off by the same share everywhere: {entry['frequency_advice']}"
            for receiver_id, entry in inputs.items()
            if entry.get("frequency_advice")
        ]
        alerts = self._health.audio.message.alerts if self._health.audio is not None else {}
        if alerts.get("last_error"):
            notes.append(f"alerts: {alerts['last_error']}")
        return notes


class _Fitted:
    """Drawn for the width that there is.

    Parameters
    ----------
    draw
        Gives what is shown in a number of columns.
    """

    def __init__(self, draw: Callable[[int], RenderableType]) -> None:
        self._draw = draw

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._draw(options.max_width)


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 1))
    for number, column in enumerate(columns):
        # The second one, a name, gives way where there is too little room.
        table.add_column(column, no_wrap=number != 1, overflow="ellipsis")
    return table


def _place(entry: Mapping[str, Any]) -> str:
    """Say where a channel's audio comes from: a frequency, or the kind of its source."""
    if entry.get("frequency_hz"):
        return f"{_number(entry['frequency_hz']) / 1e6:.4f} MHz"
    return str(entry.get("source_type") or "")


def _channel_state(entry: Mapping[str, Any], *, flows: bool) -> Text:
    if entry.get("out_of_band"):
        return Text(" NOT HEARD ", style=_FAIR)
    return Text("  HEARD    ", style=_GOOD) if flows else Text("  SILENT   ", style=_BAD)


def _signal(entry: Mapping[str, Any], *, wide: bool) -> str:
    snr_db = _number(entry.get("snr_db"))
    return f"{snr_db:.0f} dB {_bar(snr_db)}" if wide else f"{snr_db:.0f} dB"


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _bar(snr_db: float) -> str:
    return "█" * max(0, min(10, round(snr_db / 4)))


def _age_text(age_s: float | None) -> str:
    return "none yet" if age_s is None else f"{age_s:.1f} s old"
