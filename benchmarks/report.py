"""What a benchmark gives, and how it is shown: one figure a line, then the machine and the caveats."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    name
        What was measured, with its unit.
    ours, peer
        Our figure and the peer's in the same run; `peer` is None where a limit is asked for and no ratio.
    ratio
        `ours` over `peer`; None without a peer.
    target
        What is asked for, in words: ``>= 15x``, ``<= 40 %``.
    met
        Whether it is.
    """

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    target: str
    met: bool


def at_least(name: str, ours: float, peer: float, ratio: float) -> Figure:
    """A figure that shall be at least `ratio` times the peer's."""
    return Figure(name, ours, peer, ours / peer, f">= {ratio:g}x", ours / peer >= ratio)


def floor(name: str, ours: float, least: float, peer: float | None = None) -> Figure:
    """A figure that shall be at least `least`, with a peer's beside it where there is one."""
    return Figure(name, ours, peer, None if peer is None else ours / peer, f">= {least:g}", ours >= least)


def ceiling(name: str, ours: float, most: float, peer: float | None = None) -> Figure:
    """A figure that shall be at most `most`, with a peer's beside it where there is one."""
    return Figure(name, ours, peer, None if peer is None else ours / peer, f"<= {most:g}", ours <= most)


def as_json(figure: Figure) -> str:
    """One JSON object with the keys ``name ours peer ratio target met``."""
    return orjson.dumps(asdict(figure)).decode()


def as_text(figure: Figure) -> str:
    """One line for people."""
    peer = "-" if figure.peer is None else f"{figure.peer:.4g}"
    ratio = "-" if figure.ratio is None else f"{figure.ratio:.3g}x"
    verdict = "met" if figure.met else "NOT MET"
    columns = f"ours {figure.ours:<9.4g} peer {peer:<9} ratio {ratio:<7} target {figure.target:<9}"
    return f"{figure.name:<56} {columns} {verdict}"


def machine() -> str:
    """Say in one line what machine this is."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return (
        f"{model}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
