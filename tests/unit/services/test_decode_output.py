from __future__ import annotations

import io
import os
import pty
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app_core.audio.heard import Heard
from app_core.eas.events import HeaderUnverified
from services import decode_output
from services.decode_output import PlainOutput, ProgressLine, channel_words, clock_text, printable
from tests.unit.audio.test_heard import SAME_DAY


def test_places_read_like_a_clock() -> None:
    assert [clock_text(position_s) for position_s in (0.04, 59.96, 61.25, 3607.5)] == [
        "0:00.0",
        "1:00.0",
        "1:01.2",
        "1:00:07.5",
    ]


def test_channels_are_named_where_there_are_several() -> None:
    assert channel_words(("mono",)) == ""
    assert channel_words(("left", "right")) == "left and right: "
    assert channel_words(("162.550 MHz",)) == "162.550 MHz: "
    assert channel_words(("2",)) == "channel 2: "
    assert channel_words(("1", "2", "4")) == "channels 1, 2 and 4: "


def test_nothing_printed_can_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\nb é") == "a\ufffd[2J\ufffdb é"


def test_an_unverified_guess_is_cleaned() -> None:
    page = io.StringIO()
    output = PlainOutput(page)
    output.begin("a.wav", SAME_DAY)
    output.tell(Heard(HeaderUnverified("ZCZC\x07", 0, 1, 2, 0.3, 4.0), ("mono",), None, 1.0, 2.0))
    output.end(2.0)
    assert "heard, unverified" in page.getvalue()
    assert "ZCZC\ufffd" in page.getvalue()
    assert "2 bursts, 4.0 dB" in page.getvalue()
    assert "no SAME header" not in page.getvalue()


@contextmanager
def terminal_behind_stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Gives our end of it. No fixture: pytest sets standard error anew between a fixture and its test."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", "xterm")
        yield ours
    os.close(ours)


def written(descriptor: int, wait_s: float = 0.05) -> bytes:
    """What stands on the terminal; the kernel hands it over a moment after it was written."""
    sys.stderr.flush()
    page = b""
    while select.select([descriptor], [], [], 0.05 if page else wait_s)[0]:
        page += os.read(descriptor, 65536)
    return page


def test_progress_waits_until_a_file_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal_behind_stderr(monkeypatch) as terminal:
        monkeypatch.setattr(decode_output, "PROGRESS_AFTER_S", 1000.0)
        progress = ProgressLine("long.wav", 7200.0)
        progress.show(10.0)
        assert written(terminal) == b""
        monkeypatch.setattr(decode_output, "PROGRESS_AFTER_S", 0.0)
        progress.show(3600.0)
        page = written(terminal, 10.0)
        assert b"long.wav" in page
        assert b"50%" in page
        progress.hide()


def test_progress_is_not_for_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_output, "PROGRESS_AFTER_S", 0.0)
    page = io.StringIO()
    monkeypatch.setattr(sys, "stderr", page)
    ProgressLine("long.wav", 7200.0).show(3600.0)
    assert page.getvalue() == ""


def test_a_live_pipe_has_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_output, "PROGRESS_AFTER_S", 0.0)
    with terminal_behind_stderr(monkeypatch) as terminal:
        ProgressLine("-", None).show(3600.0)
        assert written(terminal) == b""
