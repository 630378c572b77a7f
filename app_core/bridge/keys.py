"""Names of every key and channel in Redis. They are the users' contract: `redis-cli GET` must find what this file says.

Numbers behind ``_TTL_S`` are how long a value lives unless it is written again, so that a key that is there is fresh.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app_core.base.errors import WireError

HEARTBEAT = "sdr:heartbeat"
METRICS = "sdr:metrics"
COMMANDS = "sdr:commands"
COMMANDS_UNDER_WAY = "sdr:commands:under_way"
AUDIO_COMMANDS = "audio:commands"
AUDIO_COMMANDS_UNDER_WAY = "audio:commands:under_way"
AUDIO_HEARTBEAT = "audio:heartbeat"
AUDIO_METRICS = "audio:metrics"
STREAM_HEARTBEAT = "audio:stream_heartbeat"
STREAMS = "audio:streams"
ALERTS = "eas:alerts"

SPECTRUM_TTL_S = 5
RING_BUFFER_TTL_S = 10
HEARTBEAT_TTL_S = 10
METRICS_TTL_S = 30
COMMAND_RESULT_TTL_S = 30

ALERTS_MAX_ENTRIES = 10_000
"""Length to which the stream of alerts is trimmed; the store keeps them all."""


@dataclass(frozen=True, slots=True)
class CommandKeys:
    """Where the commands to one service stand.

    Attributes
    ----------
    commands
        List onto which they are pushed.
    under_way
        List of those that were taken and have no result yet.
    result_prefix
        What stands before a command's id in the key of its result.
    """

    commands: str
    under_way: str
    result_prefix: str

    def result(self, command_id: str) -> str:
        """Key of the result of one command."""
        return f"{self.result_prefix}{command_id}"


TO_SDR = CommandKeys(COMMANDS, COMMANDS_UNDER_WAY, "sdr:command_result:")
TO_AUDIO = CommandKeys(AUDIO_COMMANDS, AUDIO_COMMANDS_UNDER_WAY, "audio:command_result:")

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")


def check_identifier(identifier: str) -> str:
    """Give a receiver's or channel's id back when it may stand in a key.

    Raises
    ------
    WireError
        If it is not 1 to 64 letters, digits, dots, dashes and underlines, beginning with a letter or digit.
    """
    if not _IDENTIFIER.fullmatch(identifier):
        raise WireError(f"not an id (1 to 64 letters, digits, '.', '-', '_'): {identifier[:80]!r}")
    return identifier


def samples(receiver_id: str) -> str:
    """Channel on which a receiver's samples are published."""
    return f"sdr:samples:{receiver_id}"


def history(receiver_id: str) -> str:
    """Stream of a receiver's last samples messages; see `app_core.bridge.history` for its entries."""
    return f"sdr:history:{receiver_id}"


def spectrum(receiver_id: str) -> str:
    """Key, and channel of the same name, of a receiver's latest spectrum."""
    return f"sdr:spectrum:{receiver_id}"


def ring_buffer(receiver_id: str) -> str:
    """Key of a receiver's ring statistics."""
    return f"sdr:ring_buffer:{receiver_id}"


def command_result(command_id: str) -> str:
    """Key of the result of one command to the SDR service."""
    return TO_SDR.result(command_id)


def pcm(channel_id: str) -> str:
    """Channel on which a demodulated channel's audio is published."""
    return f"{_PCM_PREFIX}{channel_id}"


EVERY_PCM = "audio:pcm:*"
"""Pattern of `pcm` for all channels."""

_PCM_PREFIX = "audio:pcm:"


def channel_of_pcm(name: str) -> str:
    """Give whose audio a channel that `EVERY_PCM` matches carries."""
    return name.removeprefix(_PCM_PREFIX)
