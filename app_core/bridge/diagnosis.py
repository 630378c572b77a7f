"""What is broken, first stage first: the judgement behind the health check, the status and every other page.

It judges ages, not words: a metrics key that says "running" and is five seconds old proves nothing. A station is
looked at from the antenna to the alerts, so the first verdict is the cause and the rest mostly its consequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app_core.base.errors import HeraldError, LinkError
from app_core.bridge import keys
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.freshness import Aged, read_aged
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage, StreamsMessage
from app_core.bridge.stream_diagnosis import stream_warnings

MAX_AGE_S = 5.0
"""Age of the newest samples or audio from which on the flow is said to be broken. [seconds]"""

MISSED_S = 1.5
"""Age of a status from which on at least one is missing: a new one is due every second. [seconds]"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One broken stage.

    Attributes
    ----------
    stage
        What is broken, as a person calls it.
    reason
        What was seen.
    command
        What looks closer; `command_for` completes it for a Redis that is not the local one.
    """

    stage: str
    reason: str
    command: str

    def command_for(self, settings: RedisSettings) -> str:
        """Give the command as it is to be typed, without any secret."""
        program, _, rest = self.command.partition(" ")
        return f"{redis_cli(settings)} {rest}" if program == "redis-cli" else self.command


def redis_cli(settings: RedisSettings) -> str:
    """Give the ``redis-cli`` call that reaches this Redis; a password is left to ``REDISCLI_AUTH``."""
    words = ["redis-cli"]
    host, port, db, user = settings.host, settings.port, settings.db, settings.username
    if settings.url is not None:
        parts = urlsplit(settings.url)
        user = user or parts.username
        if parts.scheme == "unix":
            return " ".join([*words, "-s", parts.path])
        host, port = parts.hostname or host, parts.port or 6379
        db = int(parts.path[1:]) if parts.path[1:].isdigit() else db
        words += ["--tls"] if parts.scheme == "rediss" else []
    words += ["-h", host] if host not in ("127.0.0.1", "localhost") else []
    words += ["-p", str(port)] if port != 6379 else []
    words += ["-n", str(db)] if db else []
    words += ["--user", user] if user else []
    return " ".join(words)


@dataclass(frozen=True, slots=True)
class StationHealth:
    """All that the station says of itself at one moment; None where it says nothing.

    Attributes
    ----------
    sdr, audio, streams
        What the SDR service, the decode job and the stream job last said.
    error
        Why the first two could not be read; empty when they could.
    redis_reached
        Whether there was anybody to ask.
    streams_wanted
        Whether the station has anything to stream.
    streams_error
        Why the stream job's word could not be read; empty when it could.
    """

    sdr: Aged[SdrMetricsMessage] | None = None
    audio: Aged[AudioMetricsMessage] | None = None
    error: str = ""
    redis_reached: bool = True
    streams: Aged[StreamsMessage] | None = None
    streams_wanted: bool = False
    streams_error: str = ""


def read_station_health(link: RedisLink, *, streams_wanted: bool = False) -> StationHealth:
    """Ask Redis for the metrics of all; what goes wrong is told in the answer, not raised.

    Parameters
    ----------
    link
        Where they are read from.
    streams_wanted
        Whether the station has anything to stream: a stream job that says nothing is then told of.
    """
    errors = []
    streams_error = ""
    streams: Aged[StreamsMessage] | None = None
    sdr: Aged[SdrMetricsMessage] | None = None
    audio: Aged[AudioMetricsMessage] | None = None
    try:
        sdr = read_aged(link, keys.METRICS, keys.METRICS_TTL_S, SdrMetricsMessage)
    except LinkError as error:
        return StationHealth(error=str(error), redis_reached=False)
    except HeraldError as error:
        errors.append(str(error))
    try:
        audio = read_aged(link, keys.AUDIO_METRICS, keys.METRICS_TTL_S, AudioMetricsMessage)
    except LinkError as error:
        return StationHealth(error=str(error), redis_reached=False)
    except HeraldError as error:
        errors.append(str(error))
    try:
        streams = read_aged(link, keys.STREAMS, keys.METRICS_TTL_S, StreamsMessage)
    except LinkError as error:
        return StationHealth(error=str(error), redis_reached=False)
    except HeraldError as error:
        streams_error = str(error)
    return StationHealth(
        sdr,
        audio,
        "; ".join(errors),
        streams=streams,
        streams_wanted=streams_wanted,
        streams_error=streams_error,
    )


def diagnose_redis(health: StationHealth) -> list[Verdict]:
    """Judge the meeting point of both services."""
    if health.redis_reached:
        return []
    return [Verdict("Redis", health.error, "redis-cli PING")]


def diagnose_sdr(health: StationHealth, max_age_s: float = MAX_AGE_S) -> list[Verdict]:
    """Judge the way from the antenna to Redis; empty when fresh samples of every receiver flow.

    A receiver that a person has stopped is no fault, unless all of them are.
    """
    if not health.redis_reached:
        return diagnose_redis(health)
    aged = health.sdr
    look = f"redis-cli GET {keys.METRICS}"
    if aged is None:
        reason = health.error or f"no {keys.METRICS} for {keys.METRICS_TTL_S} s: it is not running, or cannot publish"
        return [Verdict("SDR service", reason, "herald sdr")]
    receivers = aged.message.receivers
    if _is_silent(aged.age_s, [entry.get("last_sample_age_s") for entry in receivers.values()], max_age_s):
        reason = f"silent for {aged.age_s:.1f} s: it hangs, is stopped, or cannot publish"
        return [Verdict("SDR service", reason, f"redis-cli GET {keys.HEARTBEAT}")]
    found = [
        Verdict(stage, f"{receiver_id}: {reason}", look if stage != "ring" else _ring_command(receiver_id))
        for receiver_id, entry in receivers.items()
        if not is_stopped(entry)
        for stage, reason in _receiver_faults(entry, aged.age_s, max_age_s)
    ]
    if receivers and all(is_stopped(entry) for entry in receivers.values()):
        found.append(Verdict("receiver", "every receiver was stopped by a command", look))
    return found


def diagnose_audio(health: StationHealth, max_age_s: float = MAX_AGE_S) -> list[Verdict]:
    """Judge the way from Redis to decoded audio, and what stands before it where that is the cause."""
    if not health.redis_reached:
        return diagnose_redis(health)
    aged = health.audio
    look = f"redis-cli GET {keys.AUDIO_METRICS}"
    if aged is None:
        reason = f"no {keys.AUDIO_METRICS} for {keys.METRICS_TTL_S} s: it is not running, or cannot publish"
        return [Verdict("decode job", health.error or reason, "herald audio")]
    channels = aged.message.channels
    if _is_silent(aged.age_s, [entry.get("last_pcm_age_s") for entry in channels.values()], max_age_s):
        reason = f"silent for {aged.age_s:.1f} s: it hangs, was killed, or cannot publish"
        return [Verdict("decode job", reason, f"redis-cli GET {keys.AUDIO_HEARTBEAT}")]
    late: list[Verdict] = []
    unheard: list[Verdict] = []
    for channel_id, entry in channels.items():
        if entry.get("out_of_band"):
            unheard.append(Verdict("channel", f"{channel_id}: {_misfit(entry)}", look))
            continue
        age_s = total_age_s(entry.get("last_pcm_age_s"), aged.age_s)
        if (age_s is not None and age_s <= max_age_s) or entry.get("ended"):
            continue
        if _is_of_radio(entry):
            late.append(Verdict("decoder", f"{channel_id}: {_since('audio', age_s)}", look))
        else:
            reason = entry.get("last_error") or "it gives none"
            late.append(Verdict("source", f"{channel_id}: {_since('audio', age_s)}: {reason}", look))
    if len(late) + len(unheard) == len(channels):
        # As long as another one is heard they are for `warnings_of` to tell.
        late += unheard
    if not any(verdict.stage == "decoder" for verdict in late):
        return late
    # No samples, no audio: the cause then stands before this service. The two statuses are not of the same moment.
    return [*diagnose_sdr(health, max(MISSED_S, max_age_s - 1.0)), *late]


def diagnose(health: StationHealth, max_age_s: float = MAX_AGE_S) -> list[Verdict]:
    """Judge the whole station from the antenna to decoded audio; empty when all is well.

    A station that listens to streams alone has no radio that could be missing.
    """
    channels = health.audio.message.channels if health.audio is not None else {}
    has_radio = health.sdr is not None or not channels or any(_is_of_radio(entry) for entry in channels.values())
    of_radio = diagnose_sdr(health, max_age_s) if has_radio else []
    # A dictionary keeps the order and drops what both name.
    return list(dict.fromkeys([*of_radio, *diagnose_audio(health, max_age_s)]))


def warnings_of(health: StationHealth, max_age_s: float = MAX_AGE_S) -> list[str]:
    """Say what a person should know although the station decodes.

    That is: the channels that no receiver's capture holds, and what is wrong with the audio on its way out.
    """
    channels = {} if health.audio is None else health.audio.message.channels
    unheard = [
        f"channel {channel_id} is not heard: {_misfit(entry)}"
        for channel_id, entry in channels.items()
        if entry.get("out_of_band")
    ]
    if not health.redis_reached:
        return unheard
    return unheard + stream_warnings(
        health.streams, max_age_s, is_wanted=health.streams_wanted, error=health.streams_error
    )


def is_stopped(entry: dict[str, Any]) -> bool:
    """Whether a person has stopped this receiver."""
    return entry.get("state") == "stopped"


def _is_of_radio(entry: dict[str, Any]) -> bool:
    """Whether a channel's audio comes from a receiver, and not from a stream, a sound card or a file."""
    return str(entry.get("source_type", "sdr")) == "sdr"


def total_age_s(reported_s: object, message_age_s: float) -> float | None:
    """Give the age that something has now, from the age that it had when the message was made. [seconds]"""
    return float(reported_s) + message_age_s if isinstance(reported_s, int | float) else None


def _receiver_faults(entry: dict[str, Any], message_age_s: float, max_age_s: float) -> list[tuple[str, str]]:
    """Give stage and reason of everything that keeps a receiver's samples from flowing."""
    faults = [fault for fault in entry.get("faults", ()) if isinstance(fault, dict)]
    found = []
    age_s = total_age_s(entry.get("last_sample_age_s"), message_age_s)
    ended = entry.get("state") == "ended"
    if not ended and (age_s is None or age_s > max_age_s):
        reason = entry.get("error") or "the device is silent"
        found.append(("receiver", f"{_since('samples', age_s)}: {reason}"))
    else:
        published_s = total_age_s(entry.get("last_published_age_s"), message_age_s)
        # A message of a slow receiver may itself last longer than the age that is asked for.
        message_s = total_age_s(entry.get("message_s"), 0.0) or 0.0
        # A publisher can give out no more than what comes: it is late when the samples went on without it.
        if not ended and (published_s is None or published_s - (age_s or 0.0) > max_age_s + message_s):
            found.append(("publisher", _since("published samples", published_s)))
    found += [
        (str(fault.get("stage")), str(fault.get("text")))
        for fault in faults
        # A gap of a second or two is judged by the age that the caller asked for.
        if fault.get("severity") == "error" and fault.get("name") not in ("no_samples", "publisher_late")
    ]
    return found


def _misfit(entry: dict[str, Any]) -> str:
    return str(entry.get("misfit") or "it is outside of what its receiver captures")


def _is_silent(message_age_s: float, reported_ages_s: list[object], max_age_s: float) -> bool:
    """Whether it is the service that says nothing, rather than its source that gives nothing.

    Both add up to the age of what flows; where that is too old, the larger part is to blame.
    """
    if message_age_s > max_age_s:
        return True
    totals_s = [total_s for age in reported_ages_s if (total_s := total_age_s(age, message_age_s)) is not None]
    return message_age_s > MISSED_S and any(
        total_s > max_age_s and total_s <= 2.0 * message_age_s for total_s in totals_s
    )


def _since(what: str, age_s: float | None) -> str:
    return f"no {what} yet" if age_s is None else f"no {what} for {age_s:.1f} s"


def _ring_command(receiver_id: str) -> str:
    return f"redis-cli GET {keys.ring_buffer(receiver_id)}"
