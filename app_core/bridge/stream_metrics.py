"""What of ``audio:streams`` becomes which metric: the tables that `app_core.bridge.prometheus` writes it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from app_core.bridge.messages import StreamsMessage

MOUNT_GAUGES: Mapping[str, tuple[str, str]] = {
    "connected": ("herald_mount_connected", "1 while Icecast carries the mount."),
    "connected_s": ("herald_mount_connected_seconds", "For how long it has."),
    "listeners": ("herald_mount_listeners", "Who listens, by Icecast's word."),
    "queue.depth_s": ("herald_mount_queue_seconds", "Audio that waits to be encoded."),
    "backlog.depth_s": ("herald_mount_backlog_seconds", "Encoded audio that waits for Icecast."),
    "backlog.bytes": ("herald_mount_backlog_bytes", "Its size."),
    "encoder.starving": ("herald_mount_starving", "1 while the mount carries silence since its source says nothing."),
    "encoder.longest_write_s": ("herald_mount_longest_write_seconds", "Longest write to FFmpeg."),
}
MOUNT_COUNTERS: Mapping[str, tuple[str, str]] = {
    "sent_bytes": ("herald_mount_sent_bytes", "Sent to Icecast."),
    "connections": ("herald_mount_connections", "Times at which Icecast took the mount."),
    "tries": ("herald_mount_tries", "Times at which it was asked to."),
    "queue.dropped_s": ("herald_mount_queue_dropped_seconds", "Audio dropped since the encoder was late."),
    "backlog.dropped_s": ("herald_mount_backlog_dropped_seconds", "Encoded audio dropped since Icecast was late."),
    "encoder.restarts": ("herald_mount_encoder_restarts", "Times at which FFmpeg ended unasked."),
    "encoder.fed_s": ("herald_mount_audio_seconds", "Audio of the source that was encoded."),
    "encoder.silence_s": ("herald_mount_silence_seconds", "Silence that was encoded in its place."),
}
MOUNT_AGES: Mapping[str, tuple[str, str]] = {
    "encoder.last_output_age_s": ("herald_mount_last_output_age_seconds", "Age of FFmpeg's last output.")
}
FEED_GAUGES: Mapping[str, tuple[str, str]] = {
    "connected": ("herald_feed_connected", "1 while the subscription to the audio stands.")
}
FEED_COUNTERS: Mapping[str, tuple[str, str]] = {
    "messages": ("herald_feed_messages", "Frames of audio received."),
    "malformed": ("herald_feed_malformed", "Frames dropped as malformed."),
}
SOURCE_AGES: Mapping[str, tuple[str, str]] = {
    "last_pcm_age_s": ("herald_feed_last_audio_age_seconds", "Age of a channel's last audio.")
}


def dead_air(message: StreamsMessage) -> Metric:
    """Write the channels that are dead air now, with the fault's name."""
    family = GaugeMetricFamily(
        "herald_dead_air", "1 while a channel brings silence, noise or nothing.", labels=["channel", "fault"]
    )
    verdicts: Mapping[str, Any] = message.outputs.get("dead_air", {})
    for channel_id, verdict in verdicts.items():
        if isinstance(verdict, Mapping) and verdict.get("fault"):
            family.add_metric([channel_id, str(verdict["fault"])], 1.0)
    return family
