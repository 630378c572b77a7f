"""A channel described on a command line, in a person's units."""

from __future__ import annotations

import argparse
from typing import Any, get_args

import pytest

from app_core.demod.channel_config import AudioRateHz, ChannelConfig, Mode, SquelchConfig
from services import command_command, demod_command
from services.channel_options import (
    AUDIO_RATES_HZ,
    MODES,
    SQUELCH_MODES,
    add_channel_options,
    channel_table,
    merged,
    setting,
)


def _table(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_channel_options(parser)
    return channel_table(parser.parse_args(words))


def test_the_choices_are_those_of_a_channel() -> None:
    assert tuple(mode.value for mode in Mode) == MODES
    assert get_args(AudioRateHz) == AUDIO_RATES_HZ
    for mode in SQUELCH_MODES:
        SquelchConfig.model_validate({"mode": mode})


@pytest.mark.parametrize(
    ("words", "table"),
    [
        ([], {}),
        (["--frequency", "162.55M"], {"frequency_hz": 162_550_000.0}),
        (["--frequency", "162.55 MHz"], {"frequency_hz": 162_550_000.0}),
        (["--frequency", "162550000"], {"frequency_hz": 162_550_000.0}),
        (["--bandwidth", "12.5k", "--deviation", "2.5 kHz"], {"bandwidth_hz": 12_500.0, "deviation_hz": 2_500.0}),
        (["--mode", "wfm", "--stereo", "--deemphasis", "50"], {"mode": "wfm", "stereo": True, "deemphasis_us": 50.0}),
        (["--no-stereo"], {"stereo": False}),
        (["--squelch", "snr", "--ctcss", "100"], {"squelch": {"mode": "snr"}, "ctcss_hz": 100.0}),
        (["--audio-rate", "48000"], {"audio_rate_hz": 48_000}),
    ],
)
def test_options_become_settings(words: list[str], table: dict[str, Any]) -> None:
    assert _table(*words) == table


def test_what_every_option_says_a_channel_has() -> None:
    options = "--frequency 162.55M --mode nfm --bandwidth 16k --deviation 5k --deemphasis 0 --squelch noise --ctcss 100"
    table = _table(*options.split(), "--audio-rate", "22050", "--no-stereo")
    channel = ChannelConfig.model_validate(table | {"id": "c", "receiver_id": "r"})
    assert (channel.deemphasis_us, channel.ctcss_hz, channel.squelch.mode) == (0.0, 100.0, "noise")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--frequency", "162.55"], "162.55 Hz is no radio channel; is 162.55M meant?"),
        (["--frequency", "high"], "invalid frequency value: 'high'"),
        (["--bandwidth", "-5k"], "--bandwidth"),
        (["--mode", "fm"], "invalid choice: 'fm'"),
        (["--audio-rate", "11025"], "invalid choice: 11025"),
    ],
)
def test_nonsense_is_refused(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        _table(*words)
    assert end.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("squelch.open_db=10", {"squelch": {"open_db": 10}}),
        ("name=Kansas City", {"name": "Kansas City"}),
        ('name="Kansas = City"', {"name": "Kansas = City"}),
        ("stereo=true", {"stereo": True}),
        ("bandwidth_hz = 12.5e3", {"bandwidth_hz": 12_500.0}),
        ("bandwidth_hz=default", {"bandwidth_hz": None}),
        ("squelch.tail_s=default", {"squelch": {"tail_s": None}}),
    ],
)
def test_any_setting_is_written_as_in_the_file(text: str, table: dict[str, Any]) -> None:
    assert setting(text) == table


@pytest.mark.parametrize("text", ["name", "=5", "name=", ""])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not NAME=VALUE"):
        setting(text)


def test_tables_within_are_joined() -> None:
    assert merged({"squelch": {"mode": "snr"}, "a": 1}, {"squelch": {"open_db": 5}, "a": 2}) == {
        "squelch": {"mode": "snr", "open_db": 5},
        "a": 2,
    }


@pytest.mark.parametrize(
    ("main", "words", "reason"),
    [
        (command_command.main, "tune", "tune needs --frequency"),
        (command_command.main, "add_channel --frequency 162.55M", "add_channel needs the id of the channel"),
        (command_command.main, "remove_channel", "remove_channel needs the id of the channel"),
        (demod_command.main, "x.cu8", "the following arguments are required: -o"),
        (demod_command.main, "x.cu8 -o x.mp3", "-o must end in .wav, .w64, .flac, .ogg, or be - for raw PCM"),
        (demod_command.main, "- -o -", "- needs --format cf32, cs16 or cu8 and --rate HZ"),
        (
            demod_command.main,
            "- -o - --format cu8 --rate 250k --frequency 162.55M",
            "--frequency in raw IQ needs --center HZ, too",
        ),
        (demod_command.main, "x -o - --frequency 1M --offset 5k", "not allowed with argument"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    main: Any, words: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert reason in capsys.readouterr().err
