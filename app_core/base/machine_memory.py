"""How much memory this process may count on: what limits that are a share of the machine's memory are taken from.

A container or a systemd unit has less than the machine: the smallest of the machine's memory and the limits of the
control groups (both versions) that this process is in counts.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

ASSUMED_BYTES = 1024**3
"""Where nothing says how much there is."""

LEAST_BYTES = 16 * 1024**2
MOST_BYTES = 4 * 1024**3
"""Bounds of a share: below, nothing useful fits; above, no rate of ours fills it."""


@cache
def machine_memory_bytes(root: Path = Path("/")) -> int:
    """Give the memory of this machine, or of this process's control groups where they have less.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    found = [_total_bytes(root / "proc" / "meminfo"), *_group_limits(root)]
    return min((n_bytes for n_bytes in found if n_bytes), default=ASSUMED_BYTES)


def memory_share_bytes(share: float, root: Path = Path("/")) -> int:
    """Give a share of `machine_memory_bytes`, within `LEAST_BYTES` and `MOST_BYTES`."""
    return min(max(int(share * machine_memory_bytes(root)), LEAST_BYTES), MOST_BYTES)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _total_bytes(meminfo: Path) -> int:
    """Read ``MemTotal``; 0 where it does not stand."""
    for line in _read(meminfo).splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == "MemTotal" and words and words[0].isdecimal():
            return 1024 * int(words[0])
    return 0


def _group_limits(root: Path) -> list[int]:
    """Read the limits of all control groups that this process is in, up to the highest that it can see."""
    limits = []
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            top, name = root / "sys" / "fs" / "cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys" / "fs" / "cgroup" / "memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's, of which only the top is seen; a group that is not there says none.
        parts = [part for part in group.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            text = _read(top.joinpath(*parts[:depth], name)).strip()
            if text.isdecimal():  # "max" is no limit
                limits.append(int(text))
    return limits
