"""The outputs of the stream job beside its Icecast mounts, from their tables in ``station.toml``."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from app_core.audio.auto_streaming import listed_source
from app_core.audio.dead_air import DeadAirSettings
from app_core.audio.dead_air_watch import DeadAirWatch
from app_core.audio.loudspeaker import Loudspeaker, LoudspeakerSettings
from app_core.audio.sources import uses_re_flag
from app_core.audio.stream_outputs import OutputMaker, StreamSurroundings
from app_core.audio.web_audio import WebAudio, WebAudioSettings
from app_core.base.errors import ConfigError
from app_core.bridge.acknowledgements import Acknowledgements
from app_core.bridge.connection import RedisLink, RedisSettings
from services.settings import Loaded, parse_table

_LOOPBACK_NAMES = ("localhost", "::1")


def outputs_of(loaded: Loaded) -> dict[str, OutputMaker]:
    """Check the tables of the outputs, and give what makes each, by its name.

    Raises
    ------
    ConfigError
        If a table is wrong, or the demo would be heard on another machine.
    """
    makers: dict[str, OutputMaker] = {}
    tables = loaded.tables
    if "web_audio" in tables:
        web: WebAudioSettings = parse_table(WebAudioSettings, tables["web_audio"], "web_audio")
        if loaded.station.demo and not _is_loopback(web.host):
            raise ConfigError(
                f"station.toml: web_audio.host: the demo's audio never leaves this machine, and {web.host} is heard "
                f"on others; take demo out of [station], or set host to 127.0.0.1"
            )
        makers["web_audio"] = lambda around: WebAudio(around.feed, around.entries, web, _uses_re)
    if "loudspeaker" in tables:
        loudspeaker: LoudspeakerSettings = parse_table(LoudspeakerSettings, tables["loudspeaker"], "loudspeaker")
        makers["loudspeaker"] = lambda around: Loudspeaker(around.feed, loudspeaker, around.alerts.on_the_air)
    if "dead_air" in tables:
        dead_air: DeadAirSettings = parse_table(DeadAirSettings, tables["dead_air"], "dead_air")
        makers["dead_air"] = lambda around: _dead_air_watch(around, dead_air, loaded.redis)
    return makers


def _dead_air_watch(around: StreamSurroundings, settings: DeadAirSettings, redis: RedisSettings) -> DeadAirWatch:
    return DeadAirWatch(around.feed, around.entries, settings, Acknowledgements(RedisLink(redis)))


def _uses_re(channel_id: str, entry: Mapping[str, Any]) -> bool:
    return uses_re_flag(listed_source(channel_id, entry))


def _is_loopback(host: str) -> bool:
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return socket.inet_aton(host)[0] == 127
    except OSError:
        return False
