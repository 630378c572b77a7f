"""Metrics for Prometheus, on a port of their own, made of the very messages that go to Redis.

Nothing is counted here: at every scrape the latest ``sdr:metrics``, ``audio:metrics`` or ``audio:streams`` message is
written in another form, so the two cannot disagree. Names carry base units, counters end in ``_total``; labels are
``receiver``, ``channel``, and what a family is counted by. Ages are those of the scrape, not of the message, so that a
program which hangs is seen to grow old.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app_core.bridge import keys, stream_metrics
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage, StreamsMessage

log = logging.getLogger(__name__)

MetricsSource = Callable[[], SdrMetricsMessage | AudioMetricsMessage | StreamsMessage | None]

# Field of the status table: name of the metric, what it says. A path through nested tables is written with dots.
_Table = Mapping[str, tuple[str, str]]

_RECEIVER_GAUGES: _Table = {
    "running": ("herald_receiver_running", "1 while samples came within the last second."),
    "locked": ("herald_receiver_locked", "1 while a signal stands above the threshold and samples come."),
    "signal_strength": ("herald_receiver_signal_strength_ratio", "Strength of the signal, 0 to 1."),
    "frequency_hz": ("herald_receiver_frequency_hertz", "Centre frequency."),
    "sample_rate": ("herald_receiver_sample_rate_hertz", "Nominal sample rate."),
    "effective_sample_rate": ("herald_receiver_effective_sample_rate_hertz", "Sample rate measured over 30 s."),
    "level_dbfs": ("herald_receiver_level_dbfs", "Level of the whole band."),
    "snr_db": ("herald_receiver_snr_decibels", "Signal over noise."),
    "clipping": ("herald_receiver_clipping_ratio", "Share of samples at full scale."),
    "ring_buffer.fill_percentage": ("herald_ring_fill_ratio", "Fill of the ring buffer, 0 to 1."),
    "captures.open": ("herald_captures_open", "Captures under way."),
    "captures.memory_s": ("herald_capture_memory_seconds", "How far back captures reach now."),
    "captures.memory_limit_s": ("herald_capture_memory_limit_seconds", "How far back they can reach at this rate."),
    "captures.memory_wanted_s": ("herald_capture_memory_wanted_seconds", "How far back they shall reach."),
    "captures.memory_bytes": ("herald_capture_memory_bytes", "What is kept in memory for them."),
}
_RECEIVER_COUNTERS: _Table = {
    "lost_samples": ("herald_receiver_lost_samples", "Samples lost before Redis."),
    "gap_count": ("herald_receiver_gaps", "Places at which samples were lost before Redis."),
    "overflow_count": ("herald_receiver_device_overflows", "Overflows that the device reported."),
    "timeout_count": ("herald_receiver_read_timeouts", "Reads that gave nothing in time."),
    "reopen_count": ("herald_receiver_reopens", "Times at which the device was opened again."),
    "messages_published": ("herald_receiver_messages", "Samples messages handed to the outbox."),
    "ring_buffer.overflow_count": ("herald_ring_overflows", "Times at which the ring was full."),
    "captures.written_count": ("herald_captures_written", "Captures that were written."),
    "captures.failed_count": ("herald_captures_failed", "Captures that were not."),
}
_RECEIVER_AGES: _Table = {
    "last_sample_age_s": ("herald_receiver_last_sample_age_seconds", "Age of the last sample."),
    "last_published_age_s": ("herald_receiver_last_message_age_seconds", "Age of the last published message."),
}
_INPUT_GAUGES: _Table = {
    "connected": ("herald_input_connected", "1 while the subscription to a receiver's samples stands."),
    "queue_depth": ("herald_input_queue_messages", "Messages that wait to be decoded."),
    "queue_age_s": ("herald_input_queue_age_seconds", "Age of the oldest of them."),
}
_INPUT_COUNTERS: _Table = {
    "messages": ("herald_input_messages", "Samples messages received."),
    "gaps": ("herald_input_gaps", "Jumps of the sample counter."),
    "lost_samples": ("herald_input_lost_samples", "Samples that never came."),
    "malformed": ("herald_input_malformed", "Messages dropped as malformed."),
    "duplicates": ("herald_input_duplicates", "Messages dropped as doubles."),
    "dropped": ("herald_input_dropped", "Messages dropped because the decoder was late."),
}
_INPUT_AGES: _Table = {"last_message_age_s": ("herald_input_last_message_age_seconds", "Age of the last message.")}
_CHANNEL_GAUGES: _Table = {
    "running": ("herald_channel_running", "1 while audio is decoded."),
    "frequency_hz": ("herald_channel_frequency_hertz", "Frequency of the channel."),
    "level_dbfs": ("herald_channel_level_dbfs", "Level in the channel."),
    "snr_db": ("herald_channel_snr_decibels", "Signal over noise in the channel."),
    "frequency_error_hz": ("herald_channel_frequency_error_hertz", "How far the carrier is off."),
    "frequency_error_ppm": ("herald_channel_frequency_error_ppm", "The same in millionths of the carrier."),
    "deviation_hz": ("herald_channel_deviation_hertz", "Deviation of the carrier."),
}
_CHANNEL_COUNTERS: _Table = {
    "bursts_heard": ("herald_channel_bursts", "SAME bursts heard."),
    "headers_decoded": ("herald_channel_headers", "SAME headers decoded with certainty."),
    "headers_unverified": ("herald_channel_headers_unverified", "SAME headers heard, but not certain."),
    "lost_samples": ("herald_channel_lost_samples", "Audio samples lost."),
    "audited_s": ("herald_channel_audited_seconds", "Time truly listened to."),
}
_CHANNEL_AGES: _Table = {"last_pcm_age_s": ("herald_channel_last_audio_age_seconds", "Age of the last audio.")}
_OUTBOX_GAUGES: _Table = {
    "connected": ("herald_outbox_connected", "1 while Redis is reached."),
    "depth": ("herald_outbox_frames", "Frames that wait for Redis."),
    "waiting_bytes": ("herald_outbox_bytes", "Their size."),
    "limit_bytes": ("herald_outbox_limit_bytes", "Size from which on the oldest are dropped."),
    "holds_s": ("herald_outbox_hold_seconds", "Time without Redis that it outlasts at the present rate."),
    "dropping": ("herald_outbox_dropping", "1 while frames are dropped, and for 10 s after."),
}
_OUTBOX_COUNTERS: _Table = {
    "sent_count": ("herald_outbox_sent", "Frames sent."),
    "dropped_count": ("herald_outbox_dropped", "Frames dropped because they waited too long, or were too many."),
    "dropped_bytes": ("herald_outbox_dropped_bytes", "Their size."),
    "refused_count": ("herald_outbox_refused", "Frames that Redis refused."),
}
_OUTBOX_AGES: _Table = {"oldest_age_s": ("herald_outbox_oldest_age_seconds", "Age of the oldest frame that waits.")}
_HISTORY_GAUGES: _Table = {
    "wanted_s": ("herald_history_wanted_seconds", "How far back a receiver's history in Redis shall reach."),
    "held_s": ("herald_history_held_seconds", "How far back it reaches."),
    "short": ("herald_history_short", "1 while Redis has no room for all of it."),
    "entries": ("herald_history_entries", "Messages in it."),
    "bytes": ("herald_history_bytes", "Their size."),
    "limit_bytes": ("herald_history_limit_bytes", "What it may take in Redis."),
    "memory_s": ("herald_history_memory_seconds", "How far back is remembered for a Redis that comes back empty."),
    "memory_short": ("herald_history_memory_short", "1 while there is no room to remember all of it."),
    "memory_bytes": ("herald_history_memory_bytes", "What is remembered."),
}
_HISTORY_COUNTERS: _Table = {
    "refused_count": ("herald_history_refused", "Messages missing in it since Redis had no memory."),
    "rewritten_count": ("herald_history_rewritten", "Messages written again since Redis had lost them."),
}
_ALERT_GAUGES: _Table = {
    "open_messages": ("herald_alerts_open", "Messages on the air now."),
    "spool_backlog": ("herald_alerts_spool_backlog", "Alerts that wait for the database."),
    "spool_unsaved": ("herald_alerts_spool_unsaved", "Alerts that could not be written to disk."),
}
_ALERT_COUNTERS: _Table = {
    "alerts": ("herald_alerts", "Alerts taken in."),
    "store_failures": ("herald_alerts_store_failures", "Writes to the database that failed."),
    "publish_failures": ("herald_alerts_publish_failures", "Writes to eas:alerts that failed."),
    "spool_write_errors": ("herald_alerts_spool_write_errors", "Writes to the spool that failed."),
}

_SCALES = {"ring_buffer.fill_percentage": 0.01}
"""Factors from a status field to the base unit."""


class StatusCollector(Collector):
    """Write the latest message of a program as metrics.

    Parameters
    ----------
    source
        Gives the message that was last published; None before the first one.
    """

    def __init__(self, source: MetricsSource) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        """Give every metric of one scrape."""
        message = self._source()
        age = GaugeMetricFamily("herald_status_age_seconds", "Age of this program's own status.", labels=["service"])
        if message is None:
            return [age]
        age_s = max(0.0, time.time() - message.timestamp)
        age.add_metric([message.service], age_s)
        found: list[Metric] = [age]
        if isinstance(message, StreamsMessage):
            return found + _streams(message, age_s)
        receivers = message.receivers
        if isinstance(message, SdrMetricsMessage):
            found += _families("receiver", receivers, _RECEIVER_GAUGES, _RECEIVER_COUNTERS, _RECEIVER_AGES, age_s)
            found += [_states(receivers), _faults(receivers), _stream_errors(receivers)]
            found += _families("receiver", _histories(message.redis), _HISTORY_GAUGES, _HISTORY_COUNTERS, {}, age_s)
            queues: Mapping[str, Mapping[str, Any]] = {"out": message.redis}
        else:
            found += _families("receiver", receivers, _INPUT_GAUGES, _INPUT_COUNTERS, _INPUT_AGES, age_s)
            found += _families("channel", message.channels, _CHANNEL_GAUGES, _CHANNEL_COUNTERS, _CHANNEL_AGES, age_s)
            found += _families("", {"": message.alerts}, _ALERT_GAUGES, _ALERT_COUNTERS, {}, age_s)
            queues = message.redis
        found += _families("queue", queues, _OUTBOX_GAUGES, _OUTBOX_COUNTERS, _OUTBOX_AGES, age_s)
        found += _commands(message.commands)
        found.append(_restarts(message.workers))
        return found


class MetricsServer:
    """The port that Prometheus scrapes.

    Parameters
    ----------
    source
        As in `StatusCollector`.
    host, port
        Where to listen; port 0 takes a free one.

    Raises
    ------
    OSError
        If that address cannot be listened on.
    """

    def __init__(self, source: MetricsSource, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(StatusCollector(source))
        server: tuple[WSGIServer, threading.Thread] = start_http_server(port, host, registry)
        self._server, self._thread = server
        self.port = int(self._server.server_port)
        log.info("metrics for Prometheus at http://%s:%d/metrics", host, self.port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _streams(message: StreamsMessage, age_s: float) -> list[Metric]:
    tables = stream_metrics
    mounts, sources = message.mounts, message.feed.get("sources", {})
    return [
        *_families("channel", mounts, tables.MOUNT_GAUGES, tables.MOUNT_COUNTERS, tables.MOUNT_AGES, age_s),
        *_families("", {"": message.feed}, tables.FEED_GAUGES, tables.FEED_COUNTERS, {}, age_s),
        *_families("channel", sources, {}, {}, tables.SOURCE_AGES, age_s),
        tables.dead_air(message),
        *_families("queue", {"out": message.redis}, _OUTBOX_GAUGES, _OUTBOX_COUNTERS, _OUTBOX_AGES, age_s),
        _restarts(message.workers),
    ]


def _restarts(workers: Mapping[str, Mapping[str, Any]]) -> Metric:
    family = CounterMetricFamily("herald_worker_restarts", "Restarts of a thread.", labels=["worker"])
    for name, worker in workers.items():
        family.add_metric([name], float(worker.get("restarts", 0)))
    return family


def _families(
    label: str,
    tables: Mapping[str, Mapping[str, Any]],
    gauges: _Table,
    counters: _Table,
    ages: _Table,
    age_s: float,
) -> list[Metric]:
    """Write one field of every table as one metric, labelled with the table's name."""
    found: list[Metric] = []
    labels = [label] if label else []
    for kind, fields, added in (
        (GaugeMetricFamily, gauges, 0.0),
        (CounterMetricFamily, counters, 0.0),
        (GaugeMetricFamily, ages, age_s),
    ):
        for path, (name, text) in fields.items():
            family: Any = kind(name, text, labels=labels)
            for owner, table in tables.items():
                value = _number(table, path)
                if value is not None:
                    family.add_metric([owner] if label else [], value * _SCALES.get(path, 1.0) + added)
            if family.samples:
                found.append(family)
    return found


def _states(receivers: Mapping[str, Mapping[str, Any]]) -> Metric:
    family = GaugeMetricFamily(
        "herald_receiver_state", "1 for running, opening, stopped or ended.", labels=["receiver", "state"]
    )
    for receiver_id, entry in receivers.items():
        family.add_metric([receiver_id, str(entry.get("state", ""))], 1.0)
    return family


def _faults(receivers: Mapping[str, Mapping[str, Any]]) -> Metric:
    family = GaugeMetricFamily(
        "herald_receiver_fault", "1 for every fault that a receiver has now.", labels=["receiver", "fault", "severity"]
    )
    for receiver_id, entry in receivers.items():
        for fault in entry.get("faults", ()):
            family.add_metric([receiver_id, fault["name"], fault["severity"]], 1.0)
    return family


def _stream_errors(receivers: Mapping[str, Mapping[str, Any]]) -> Metric:
    family = CounterMetricFamily(
        "herald_receiver_stream_errors",
        "Reads that gave one of the driver's error codes.",
        labels=["receiver", "error"],
    )
    for receiver_id, entry in receivers.items():
        errors = entry.get("stream_errors")
        for name, count in errors.items() if isinstance(errors, Mapping) else ():
            family.add_metric([receiver_id, str(name)], float(count))
    return family


def _histories(redis: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Give the tables of the histories by receiver."""
    prefix = keys.history("")
    return {str(key).removeprefix(prefix): table for key, table in (redis.get("histories") or {}).items()}


def _commands(counts: Mapping[str, Any]) -> list[Metric]:
    """Write the counts of commands by outcome, and how many wait: of each receiver, or of the program."""
    done = CounterMetricFamily(
        "herald_commands", "Commands that were taken, by what became of them.", labels=["outcome"]
    )
    waiting = GaugeMetricFamily("herald_commands_waiting", "Commands that wait.", labels=["receiver"])
    for name, count in counts.items():
        if name == "waiting":
            for receiver_id, depth in (count if isinstance(count, Mapping) else {"": count}).items():
                waiting.add_metric([receiver_id], float(depth))
        elif isinstance(count, int) and not isinstance(count, bool):
            done.add_metric([name], float(count))
    return [done, waiting]


def _number(table: Mapping[str, Any], path: str) -> float | None:
    value: Any = table
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
