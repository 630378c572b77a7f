"""Programs of the machine that tests need, and waiting for other threads and processes.

An absent program skips a test at a desk, and fails it where ``CI=true``: there, nothing may be left out in silence.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from app_core.base.child import find_program, wait_until

PATIENCE_S = 20.0
"""Longest wait for something that takes milliseconds on a free machine. [seconds]"""


def missing(what: str) -> None:
    """End the test because `what` is not on this machine.

    Raises
    ------
    pytest.skip.Exception
        At a desk.
    pytest.fail.Exception
        Where the environment says ``CI=true``.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not on this machine, and CI must not skip")
    pytest.skip(f"{what} is not on this machine")


def require_program(name: str) -> str:
    """Give the path of a program, or end the test as `missing` does."""
    path = find_program(name)
    if path is None:
        missing(name)
        raise AssertionError("missing() returns never")
    return path


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds, and fail with `what` when it does not within `timeout_s`."""
    assert wait_until(condition, timeout_s, interval_s=0.005), f"not within {timeout_s:.0f} s: {what}"
