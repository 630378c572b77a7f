"""``herald command``: send one command to a receiver and show what became of it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from app_core.base.errors import ConfigError
from app_core.bridge import keys
from app_core.bridge.commands import (
    ACTIONS,
    CommandMessage,
    CommandResultMessage,
    make_command,
    new_command_id,
    send_command,
    wait_for_result,
)
from app_core.bridge.connection import RedisLink
from app_core.bridge.health import read_message
from app_core.bridge.messages import SdrMetricsMessage
from services.runner import EXIT_FAILED, EXIT_OK, exit_code_of
from services.settings import load

EXIT_NO_ANSWER = 3

ANSWER_TIMEOUT_S = 20.0
"""Longest wait for an answer, the seconds of a capture not counted. [seconds]"""

_ARGUMENTS = {"tune": "frequency_hz", "gain": "gain_db", "capture": "seconds"}


def run(arguments: argparse.Namespace) -> int:
    """Send the command, wait, and print the result."""
    link = RedisLink(load(arguments.config).redis)
    try:
        command = _command(arguments, link)
        send_command(link, command)
        timeout_s = arguments.timeout_s + (arguments.seconds or 0.0)
        result = wait_for_result(link, command.command_id, timeout_s)
    finally:
        link.close()
    if result is None:
        sys.stderr.write(
            f"herald: no answer to {command.command_id} within {timeout_s:.0f} s; is the SDR service running? "
            f"See: redis-cli GET {keys.HEARTBEAT}\n"
        )
        return EXIT_NO_ANSWER
    sys.stdout.write(result.to_json().decode() + "\n" if arguments.json else _in_words(result))
    return EXIT_OK if result.success else EXIT_FAILED


def _command(arguments: argparse.Namespace, link: RedisLink) -> CommandMessage:
    receiver_id = arguments.receiver or _only_receiver(link)
    # What was not begun when we go away shall not be begun behind the back of the one who asked.
    expires_s = arguments.timeout_s if arguments.expires_s is None else arguments.expires_s
    fields = {
        "action": arguments.action,
        "receiver_id": receiver_id,
        "command_id": arguments.command_id or new_command_id(),
        "expires_at": time.time() + expires_s,
        "frequency_hz": arguments.frequency_hz,
        "gain_db": arguments.gain_db,
        "seconds": arguments.seconds,
        "start_timestamp": None if arguments.ago_s is None else time.time() - arguments.ago_s,
        "label": arguments.label,
        "reason": arguments.reason,
    }
    return make_command(fields)


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
        shown = f"{len(value)} values (all of them: --json)" if isinstance(value, list) else _shown(value)
        lines.append(f"  {name}: {shown}")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _gain(text: str) -> float | str:
    return text if text == "auto" else float(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="herald command",
        description="Send one command to a receiver and show the result.",
        epilog="exit code: 0 done, 1 refused or failed, 2 wrong arguments, 3 no answer came",
    )
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("receiver", nargs="?", help="its id (default: the only one)")
    parser.add_argument("--frequency-hz", type=float, metavar="HZ", help="of tune")
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
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    needed = _ARGUMENTS.get(arguments.action)
    if needed is not None and getattr(arguments, needed) is None:
        parser.error(f"{arguments.action} needs --{needed.replace('_', '-')}")
    return exit_code_of(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
