"""How a channel is described on a command line: options in a person's units, and the table they make.

Frequencies and widths may be written ``162.55M``, ``12.5k`` or ``162550000``.
"""

from __future__ import annotations

import argparse
import tomllib
from typing import Any

from services.command_line import channel_hertz, hertz

MODES = ("nfm", "wfm", "am", "sam", "usb", "lsb")
AUDIO_RATES_HZ = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
SQUELCH_MODES = ("off", "snr", "noise")

_OPTIONS = {
    "frequency": "frequency_hz",
    "mode": "mode",
    "bandwidth": "bandwidth_hz",
    "deviation": "deviation_hz",
    "deemphasis": "deemphasis_us",
    "stereo": "stereo",
    "ctcss": "ctcss_hz",
    "audio_rate": "audio_rate_hz",
}


def frequency(text: str) -> float:
    """Read a channel's frequency: ``162.55M``, ``162.55 MHz``, ``162550000``."""
    return channel_hertz(_bare(text))


def width(text: str) -> float:
    """Read a width or a deviation: ``12.5k``, ``12.5 kHz``, ``12500``."""
    return hertz(_bare(text))


def add_channel_options(parser: argparse._ActionsContainer, where: argparse._ActionsContainer | None = None) -> None:
    """Add the options that describe how a channel is received; `where` takes its frequency, if it is another group."""
    (where or parser).add_argument("--frequency", type=frequency, metavar="HZ", help="its carrier, for example 162.55M")
    parser.add_argument("--mode", choices=MODES, help="modulation (default: nfm)")
    parser.add_argument("--bandwidth", type=width, metavar="HZ", help="width of its filter (default: its mode's)")
    parser.add_argument("--deviation", type=width, metavar="HZ", help="FM deviation that gives full-scale audio")
    parser.add_argument("--deemphasis", type=float, metavar="US", help="of FM, in microseconds; 0 leaves it out")
    parser.add_argument("--stereo", action=argparse.BooleanOptionalAction, help="of wfm, where its pilot is heard")
    parser.add_argument("--squelch", choices=SQUELCH_MODES, help="silence without a signal (default: off)")
    parser.add_argument("--ctcss", type=float, metavar="HZ", help="of nfm: the tone that opens the squelch")
    parser.add_argument("--audio-rate", type=int, choices=AUDIO_RATES_HZ, metavar="HZ", help="8000 to 48000")


def channel_table(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the settings that were named, under their names in ``[[channels]]``."""
    table = {
        name: value for option, name in _OPTIONS.items() if (value := getattr(arguments, option, None)) is not None
    }
    if arguments.squelch is not None:
        table["squelch"] = {"mode": arguments.squelch}
    return table


def setting(text: str) -> dict[str, Any]:
    """Read ``NAME=VALUE`` as a line of ``station.toml``; bare words are strings, and ``default`` takes a setting back.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none.
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as in squelch.open_db=10")
    outer, _, inner = name.partition(".")
    read = None if value == "default" else _toml_value(value)
    return {outer: {inner: read} if inner else read}


def merged(table: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Add settings to a table, and to the tables within."""
    result = dict(table)
    for name, value in more.items():
        known = result.get(name)
        result[name] = known | value if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _bare(text: str) -> str:
    return text.removesuffix("Hz").replace(" ", "")
