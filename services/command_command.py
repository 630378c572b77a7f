"""``herald command``: send one command to a receiver, or to the channels, and show what became of it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from app_core.base.errors import ConfigError
from app_core.bridge import keys
from app_core.bridge.audio_commands import CHANNEL_ACTIONS, make_channel_command
from app_core.bridge.commands import (
    ACTIONS,
    AnyCommand,
    CommandResultMessage,
    make_command,
    new_command_id,
    send_command,
    wait_for_result,
)
from app_core.bridge.connection import RedisLink
from app_core.bridge.health import read_message
from app_core.bridge.messages import SdrMetricsMessage
from services.channel_options import add_channel_options, channel_table, merged, setting
from services.runner import EXIT_FAILED, EXIT_OK, exit_code_of
from services.settings import load

EXIT_NO_ANSWER = 3

ANSWER_TIMEOUT_S = 20.0
"""Longest wait for an answer, the seconds of a capture not counted. [seconds]"""

_ARGUMENTS = {"tune": "frequency", "gain": "gain_db", "capture": "seconds"}
_NEEDS_CHANNEL = ("add_channel", "set_channel", "remove_channel")


def run(arguments: argparse.Namespace) -> int:
    """Send the command, wait, and print the result."""
    to_channels = arguments.action in CHANNEL_ACTIONS
    names = keys.TO_AUDIO if to_channels else keys.TO_SDR
    link = RedisLink(load(arguments.config).redis)
    try:
        command = _channel_command(arguments, link) if to_channels else _receiver_command(arguments, link)
        send_command(link, command, names)
        timeout_s = arguments.timeout_s + (arguments.seconds or 0.0)
        result = wait_for_result(link, command.command_id, timeout_s, names)
    finally:
        link.close()
    if result is None:
        service, heartbeat = ("audio", keys.AUDIO_HEARTBEAT) if to_channels else ("SDR", keys.HEARTBEAT)
        sys.stderr.write(
            f"herald: no answer to {command.command_id} within {timeout_s:.0f} s; is the {service} service running? "
            f"See: redis-cli GET {heartbeat}\n"
        )
        return EXIT_NO_ANSWER
    sys.stdout.write(result.to_json().decode() + "\n" if arguments.json else _in_words(result))
    return EXIT_OK if result.success else EXIT_FAILED


def _receiver_command(arguments: argparse.Namespace, link: RedisLink) -> AnyCommand:
    fields = _common_fields(arguments) | {
        "receiver_id": arguments.target or arguments.receiver or _only_receiver(link),
        "frequency_hz": arguments.frequency,
        "frequency_correction_ppm": arguments.correction_ppm,
        "gain_db": arguments.gain_db,
        "seconds": arguments.seconds,
        "start_timestamp": None if arguments.ago_s is None else time.time() - arguments.ago_s,
        "label": arguments.label,
        "reason": arguments.reason,
    }
    return make_command(fields)


def _channel_command(arguments: argparse.Namespace, link: RedisLink) -> AnyCommand:
    fields = _common_fields(arguments)
    channel_id = arguments.target or arguments.id
    if arguments.action in ("set_channel", "remove_channel"):
        fields["channel_id"] = channel_id
    if arguments.action in ("add_channel", "set_channel"):
        table = channel_table(arguments)
        named = {"preset": arguments.preset, "name": arguments.name, "receiver_id": arguments.receiver}
        table |= {name: value for name, value in named.items() if value is not None}
        for more in arguments.set:
            table = merged(table, more)
        if arguments.action == "add_channel":
            table = {"id": channel_id, "receiver_id": arguments.receiver or _only_receiver(link)} | table
        fields["channel"] = table
    return make_channel_command(fields)


def _common_fields(arguments: argparse.Namespace) -> dict[str, object]:
    # What was not begun when we go away shall not be begun behind the back of the one who asked.
    expires_s = arguments.timeout_s if arguments.expires_s is None else arguments.expires_s
    return {
        "action": arguments.action,
        "command_id": arguments.command_id or new_command_id(),
        "expires_at": time.time() + expires_s,
    }


def _only_receiver(link: RedisLink) -> str:
    metrics = read_message(link, keys.METRICS, SdrMetricsMessage)
    receivers = [] if metrics is None else list(metrics.receivers)
    if len(receivers) == 1:
        return receivers[0]
    if receivers:
        raise ConfigError(f"name the receiver: {', '.join(receivers)}")
    raise ConfigError("name the receiver; the SDR service, which knows them, is not running")


def _in_words(result: CommandResultMessage) -> str:
    lines = [result.message]
    for name, value in (result.result or {}).items():
        if name == "channels" and isinstance(value, list):
            lines += [f"  {_channel_words(channel)}" for channel in value if isinstance(channel, dict)]
        elif name == "channel" and isinstance(value, dict):
            lines += [f"  {setting_name}: {_shown(value[setting_name])}" for setting_name in value]
        else:
            shown = f"{len(value)} values (all of them: --json)" if isinstance(value, list) else _shown(value)
            lines.append(f"  {name}: {shown}")
    return "\n".join(lines) + "\n"


def _channel_words(channel: dict[str, object]) -> str:
    frequency_hz = channel.get("frequency_hz")
    where = f"{frequency_hz / 1e6:.10g} MHz" if isinstance(frequency_hz, int | float) else "?"
    words = [str(channel.get("id")), where, str(channel.get("mode")), f"of {channel.get('receiver_id')}"]
    return "  ".join([*words, str(channel.get("name") or "")]).rstrip()


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _gain(text: str) -> float | str:
    return text if text == "auto" else float(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="herald command",
        description="Send one command to a receiver, or to the channels, and show the result.",
        epilog="exit code: 0 done, 1 refused or failed, 2 wrong arguments, 3 no answer came",
        allow_abbrev=False,
    )
    parser.add_argument("action", choices=(*ACTIONS, *CHANNEL_ACTIONS))
    parser.add_argument(
        "target", nargs="?", metavar="ID", help="the receiver (default: the only one); of set_channel, ...: the channel"
    )
    parser.add_argument("--receiver", metavar="ID", help="the same, and of add_channel the receiver that hears it")
    parser.add_argument("--frequency-hz", type=float, dest="frequency", metavar="HZ", help="as --frequency")
    parser.add_argument("--correction-ppm", type=float, metavar="PPM", help="of tune: set frequency_correction_ppm")
    parser.add_argument("--gain-db", type=_gain, metavar="DB|auto", help="of gain")
    parser.add_argument("--seconds", type=float, metavar="S", help="of capture: its length")
    parser.add_argument("--ago-s", type=float, metavar="S", help="of capture: begin so long ago (default: now)")
    parser.add_argument("--label", help="of capture: what its annotation is called")
    parser.add_argument("--reason", help="of capture: what its annotation says")
    parser.add_argument("--expires-s", type=float, metavar="S", help="do not carry it out later than in S seconds")
    parser.add_argument("--timeout-s", type=float, default=ANSWER_TIMEOUT_S, metavar="S", help="wait for an answer")
    parser.add_argument("--command-id", metavar="ID", help="the same id again is not carried out twice")
    parser.add_argument("--json", action="store_true", help="print the result as it stands in Redis")
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    channel = parser.add_argument_group("add_channel and set_channel (--frequency also of tune)")
    channel.add_argument("--id", metavar="ID", help="of the channel, as ID")
    channel.add_argument("--preset", metavar="NAME", help="nwr, fm_broadcast, airband or am_broadcast")
    channel.add_argument("--name", help="for people")
    add_channel_options(channel)
    channel.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of [[channels]], for example squelch.open_db=10; NAME=default takes one back",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    needed = _ARGUMENTS.get(arguments.action)
    if needed is not None and getattr(arguments, needed) is None:
        parser.error(f"{arguments.action} needs --{needed.replace('_', '-')}")
    if arguments.action in _NEEDS_CHANNEL and not (arguments.target or arguments.id):
        parser.error(f"{arguments.action} needs the id of the channel")
    return exit_code_of(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
