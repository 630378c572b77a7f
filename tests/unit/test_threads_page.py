"""The page about threads names every thread that the programs start under a name of their own."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "threads.md").read_text(encoding="utf-8")
NAMED = re.compile(r"""super\(\).__init__\(\s*f?"([A-Za-z][\w-]*)(?:\{[^"]*)?\"""")

# The generated antenna is a program of its own, and no part of a station.
PACKAGES = ("alerts", "audio", "bridge", "radio")


def test_every_thread_has_its_line() -> None:
    sources = [
        path.read_text(encoding="utf-8") for name in PACKAGES for path in (ROOT / "app_core" / name).glob("*.py")
    ]
    names = {name for source in sources if "(Worker)" in source for name in NAMED.findall(source)}
    assert names >= {"Reader-", "Publisher-", "Capture-", "Commands-", "CommandReader", "Decoder-"}
    assert {name for name in names if f"`{name}" not in PAGE} == set()
