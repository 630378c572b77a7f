from __future__ import annotations

import io
import json
import os
import pty
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app_core.audio.heard import Heard
from app_core.eas.events import (
    AttentionHeard,
    BurstHeard,
    CarrierLost,
    EndOfMessage,
    HeaderDecoded,
    HeaderUnverified,
    MessageTimedOut,
    SameEvent,
)
from app_core.eas.header import parse_header
from services import decode_output
from services.decode_output import (
    JsonOutput,
    Output,
    PlainOutput,
    ProgressLine,
    RawOutput,
    channel_words,
    clock_text,
    colored,
    printable,
)
from tests.unit.audio.recordings import TEST
from tests.unit.audio.test_heard import SAME_DAY
from tests.unit.eas.test_confidence import soft_bits

BURST = BurstHeard("header", 0, 1, 12.25, 1.5e-4, soft_bits(TEST, 2.0))
DECODED = HeaderDecoded(parse_header(TEST), 0, 1, 3, 1e-9, 15.0, soft_bits(TEST))
TONE = AttentionHeard("nwr", 0, 1, (1050.04,), -6.02)
MESSAGE: tuple[SameEvent, ...] = (BURST, DECODED, TONE, BurstHeard("end", 0, 1, 12.0, 0.0), EndOfMessage(0, 1))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def page_of(output: Output, page: io.StringIO, *events: SameEvent, channels: tuple[str, ...] = ("mono",)) -> list[str]:
    """What is printed of a file that these events were heard in, a second apart."""
    output.begin("a.wav", SAME_DAY)
    for number, event in enumerate(events):
        output.tell(Heard(event, channels, None, float(number), number + 0.5))
    output.end(9.0)
    return page.getvalue().splitlines()


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


def test_plain_output_tells_the_message_and_its_tone() -> None:
    page = io.StringIO()
    lines = page_of(PlainOutput(page), page, *MESSAGE)
    assert lines[0] == "a.wav"
    assert lines[1].startswith("     0:01.0  Required Weekly Test for Jackson, Missouri")
    assert lines[2:] == [
        f"             {TEST}",
        "             3 bursts, 15.0 dB",
        "     0:02.0  attention signal: 1050.0 Hz for 0.5 s, -6.0 dBFS",
        "     0:04.0  end of message",
    ]


def test_with_bursts_every_burst_and_character_is_told() -> None:
    page = io.StringIO()
    lines = page_of(PlainOutput(page, bursts=True), page, *MESSAGE)
    assert lines[1:4] == [
        "     0:00.0  header burst, 12.2 dB, clock +0.015 %, 0.000 to 0.500 s",
        f"             {TEST}",
        "             " + lines[3].strip(),
    ]
    assert set(lines[3].strip()) <= set("0123") and len(lines[3].strip()) == len(TEST)
    assert lines[5:8] == [
        f"             {TEST}",
        "             " + lines[6].strip(),
        "             3 bursts, 15.0 dB, 1.000 to 1.500 s",
    ]
    assert set(lines[6].strip()) <= set("3456789")
    assert lines[8:] == [
        "     0:02.0  attention signal: 1050.0 Hz for 0.5 s, -6.0 dBFS, 2.000 to 2.500 s",
        "     0:03.0  end burst, 12.0 dB, clock +0.000 %, 3.000 to 3.500 s",
        "     0:04.0  end of message, 4.000 to 4.500 s",
    ]


def test_a_doubtful_header_shows_which_characters_are_in_doubt() -> None:
    bits = soft_bits(TEST)
    bits[8 * TEST.index("RWT") + 1] = 0.1
    page = io.StringIO()
    lines = page_of(PlainOutput(page), page, HeaderUnverified(TEST, 0, 1, 3, 0.4, 5.0, bits))
    assert lines[2].strip() == TEST
    doubtful = [place for place, count in enumerate(lines[3].strip()) if count == "0"]
    assert doubtful == [TEST.index("RWT")]


def test_a_tone_that_belongs_to_no_message_is_told_with_bursts_only() -> None:
    for bursts in (False, True):
        page = io.StringIO()
        lines = page_of(PlainOutput(page, bursts=bursts), page, TONE, EndOfMessage(0, 1), TONE)
        assert sum("attention" in line for line in lines) == (2 if bursts else 0)


def test_a_tone_of_another_channel_is_not_of_this_message() -> None:
    page = io.StringIO()
    output = PlainOutput(page)
    output.begin("a.wav", SAME_DAY)
    output.tell(Heard(DECODED, ("left",), None, 0.0, 1.0))
    output.tell(Heard(TONE, ("right",), None, 2.0, 3.0))
    assert "attention" not in page.getvalue()
    output.tell(Heard(TONE, ("left", "right"), None, 2.0, 3.0))
    assert "left and right: attention" in page.getvalue()


def test_what_becomes_of_a_message_is_told_where_it_is_known() -> None:
    page = io.StringIO()
    output = PlainOutput(page)
    output.begin("a.wav", SAME_DAY)
    output.tell(Heard(DECODED, ("mono",), None, 1.0, 4.0))
    output.tell(Heard(CarrierLost(0, 1), ("mono",), None, 20.0, 23.0))
    output.tell(Heard(MessageTimedOut(0, 1), ("mono",), None, 1.0, 124.0))
    output.tell(Heard(TONE, ("mono",), None, 130.0, 140.0))
    lines = page.getvalue().splitlines()
    assert lines[-2:] == [
        "     0:20.0  the carrier is lost",
        "     2:04.0  no end of message within 123 s of its header",
    ]


def test_raw_output_is_headers_and_ends_alone() -> None:
    page = io.StringIO()
    lines = page_of(
        RawOutput(page), page, *MESSAGE, CarrierLost(0, 1), MessageTimedOut(0, 1), HeaderUnverified("Z", 0, 1, 1, 1, 1)
    )
    assert lines == ["== a.wav", TEST, "NNNN"]


def test_json_has_bursts_and_confidence_on_request() -> None:
    for bursts in (False, True):
        page = io.StringIO()
        entries = [json.loads(line) for line in page_of(JsonOutput(page, bursts=bursts), page, TONE, *MESSAGE)]
        kinds = ["header", "attention", "end_of_message"]
        assert [entry["event"] for entry in entries] == (
            ["attention", "burst", "header", "attention", "burst", "end_of_message"] if bursts else kinds
        )
        header = next(entry for entry in entries if entry["event"] == "header")
        assert ("confidence" in header) == bursts


def test_the_text_may_be_spanish() -> None:
    page = io.StringIO()
    assert "Prueba Semanal Requerida" in page_of(PlainOutput(page, language="es"), page, DECODED)[1]
    page = io.StringIO()
    assert json.loads(page_of(JsonOutput(page, language="es"), page, DECODED)[0])["text"].startswith("Prueba Semanal")


def test_doubt_is_colored_on_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    assert colored("abcd", [0, 0, 2, 9]) == "\x1b[31mab\x1b[33mc\x1b[0md"
    assert colored("ab", [9, 1]) == "a\x1b[33mb\x1b[0m"
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    assert "\x1b[" in "".join(page_of(PlainOutput(terminal, bursts=True), terminal, BURST))
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    assert "\x1b[" not in "".join(page_of(PlainOutput(terminal, bursts=True), terminal, BURST))


def test_bursts_alone_are_no_header() -> None:
    page = io.StringIO()
    assert "no SAME header" in page_of(PlainOutput(page, bursts=True), page, BURST, TONE)[-1]


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
