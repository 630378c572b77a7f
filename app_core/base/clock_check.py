"""Whether this machine's clock follows a time server, as the kernel says (adjtimex(2), read only)."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app_core.base.child import find_program
from app_core.base.finding import Finding, failure, not_applicable, ok, warning

_STA_UNSYNC = 0x0040
_FAR_S = 1.0
"""An error that a person would set right; SAME itself knows minutes alone."""


class _Timex(ctypes.Structure):
    """``struct timex`` of <sys/timex.h>."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", ctypes.c_long * 2),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_long * 32),
    )


@dataclass(frozen=True, slots=True)
class ClockState:
    """What the kernel knows of its clock.

    Attributes
    ----------
    is_synchronised
        Whether a program sets it by a reference.
    greatest_error_s
        How far it may be off, as that program says. [seconds]
    """

    is_synchronised: bool
    greatest_error_s: float


def read_clock() -> ClockState | None:
    """Ask the kernel; None where it may not be asked."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    facts = _Timex()
    if adjtimex(ctypes.byref(facts)) < 0:
        return None
    return ClockState(not facts.status & _STA_UNSYNC, facts.maxerror / 1e6)


def check_clock(read: Callable[[], ClockState | None] = read_clock, now_s: Callable[[], float] = time.time) -> Finding:
    """Look whether the clock is set by a reference, and whether its time can be true at all.

    Parameters
    ----------
    read
        Gives what the kernel knows.
    now_s
        Gives the time. [UTC seconds]
    """
    written_s = Path(__file__).stat().st_mtime
    if now_s() < written_s - 86_400.0:
        return failure(
            "clock",
            f"it says {time.strftime('%Y-%m-%d %H:%M', time.gmtime(now_s()))} UTC, which was before this program",
            _remedy(),
        )
    state = read()
    if state is None:
        return not_applicable("clock", "the kernel may not be asked here")
    if not state.is_synchronised:
        return warning("clock", "no time server sets it: an alert's time and end may be wrong", _remedy())
    seen = f"set by a time server, within {1000.0 * state.greatest_error_s:.0f} ms"
    return ok("clock", seen) if state.greatest_error_s < _FAR_S else warning("clock", seen, _remedy())


def _remedy() -> str:
    if find_program("timedatectl") and not find_program("chronyd"):
        return "sudo timedatectl set-ntp true"
    if find_program("chronyc"):
        return "sudo systemctl enable --now chrony && sudo chronyc makestep"
    return "sudo apt-get install chrony"
