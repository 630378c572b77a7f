"""What is wrong with the audio on its way out: warnings, since a station decodes and records without any of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app_core.bridge import keys
from app_core.bridge.freshness import Aged
from app_core.bridge.messages import StreamsMessage


def stream_warnings(
    streams: Aged[StreamsMessage] | None, max_age_s: float, *, is_wanted: bool = False, error: str = ""
) -> list[str]:
    """Say what of the stream job a person should know.

    Parameters
    ----------
    streams
        What it last said of itself; None when it says nothing.
    max_age_s
        Age from which on that proves nothing. [seconds]
    is_wanted
        Whether the station has anything to stream, so that a job that says nothing is a fault.
    error
        Why it could not be read.

    Returns
    -------
    warnings
        The job first, then mounts, outputs and dead air; empty when all is well.
    """
    if streams is None:
        if error or is_wanted:
            reason = error or f"no {keys.STREAMS} for {keys.METRICS_TTL_S} s: it is not running, or cannot publish"
            return [f"stream job: {reason}"]
        return []
    if streams.age_s > max_age_s:
        return [f"stream job: silent for {streams.age_s:.1f} s: it hangs, was killed, or cannot publish"]
    message = streams.message
    found = [_mount_warning(channel_id, mount) for channel_id, mount in message.mounts.items()]
    found += [_output_warning(name, status, message.workers.get(name, {})) for name, status in message.outputs.items()]
    found += [
        f"{source_id} is dead air: {air.get('words') or air['fault']}{_seen(air)}"
        for source_id, air in message.outputs.get("dead_air", {}).items()
        if isinstance(air, dict) and air.get("fault")
    ]
    return [warning for warning in found if warning]


def _mount_warning(channel_id: str, mount: Mapping[str, Any]) -> str:
    if mount.get("connected"):
        return ""
    path = mount.get("mount")
    place = f"the mount {path} of {channel_id} is off the air" if path else f"{channel_id} has no mount"
    return f"{place}: {mount.get('error') or 'it is not connected yet'}"


def _output_warning(name: str, status: Mapping[str, Any], worker: Mapping[str, Any]) -> str:
    # The watch over dead air has a source in each of its entries, and no state of its own.
    error = "" if name == "dead_air" else str(status.get("error") or "")
    error = error or str(worker.get("error") or "")
    if worker.get("alive") is False:
        return f"{name} is down: {error or 'it died and is started again'}"
    if status.get("open") is False and status.get("last_error"):
        return f"{name} is silent: {status['last_error']}"
    return f"{name}: {error}" if error else ""


def _seen(air: Mapping[str, Any]) -> str:
    return " (acknowledged)" if air.get("acknowledged") else ""
