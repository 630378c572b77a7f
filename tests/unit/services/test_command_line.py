"""What the commands that a person types have in common."""

import argparse
import os
import signal
import subprocess
import sys

import pytest

from services.command_line import channel_hertz, exit_code, hertz, offset_hertz, with_negative_values
from services.demod_command import parse_arguments


@pytest.mark.parametrize(("text", "wanted"), [("162550000", 162.55e6), ("162.55M", 162.55e6), ("250k", 250e3)])
def test_a_frequency_is_read_as_it_is_said(text: str, wanted: float) -> None:
    assert hertz(text) == pytest.approx(wanted)
    assert channel_hertz(text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["", "-1", "0", "nan", "inf", "k", "1e13"])
def test_what_is_no_frequency_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        hertz(text)


def test_a_channel_in_megahertz_is_asked_about() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"162\.55M meant"):
        channel_hertz("162.55")


@pytest.mark.parametrize(("text", "wanted"), [("-25k", -25e3), ("+12.5 kHz", 12.5e3), ("0", 0.0), ("-0.1M", -1e5)])
def test_an_offset_has_a_sign(text: str, wanted: float) -> None:
    assert offset_hertz(text) == pytest.approx(wanted)


@pytest.mark.parametrize("offset", [["--offset", "-25k"], ["--offset=-25k"], ["--offset", "-.025M"]])
def test_a_negative_offset_may_be_typed_as_any_other(offset: list[str]) -> None:
    arguments = parse_arguments(["x.cu8", "--format", "cu8", "--rate", "250k", *offset, "-o", "-"])
    assert arguments.offset == -25_000.0
    assert arguments.output == "-"


@pytest.mark.parametrize("argv", [["--offset", "-o", "-"], ["--set", "-1"], ["--", "--offset", "-1"], ["-1"], []])
def test_only_a_number_behind_the_option_is_joined_to_it(argv: list[str]) -> None:
    assert with_negative_values(argv, "--offset") == argv


def test_ctrl_c_ends_a_command_with_a_shells_code() -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert exit_code(interrupted) == 128 + signal.SIGINT
    assert exit_code(lambda: 2) == 2


def test_a_reader_that_goes_away_ends_a_command_without_a_word() -> None:
    program = "import sys; from services.command_line import exit_code\nsys.exit(exit_code(lambda: print('x' * 99999)))"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        child = subprocess.run([sys.executable, "-c", program], stdout=output, stderr=subprocess.PIPE, check=False)
    assert child.returncode == 128 + signal.SIGPIPE
    assert child.stderr == b""
