"""The outputs of the stream job beside its Icecast mounts, from their tables in ``station.toml``."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class OutputTables:
    """The tables of the outputs, checked; None where there is none.

    Attributes
    ----------
    web_audio, loudspeaker, dead_air
        As their modules say.
    """

    web_audio: WebAudioSettings | None
    loudspeaker: LoudspeakerSettings | None
    dead_air: DeadAirSettings | None


def output_tables_of(loaded: Loaded) -> OutputTables:
    """Check and give the tables of the outputs.

    Raises
    ------
    ConfigError
        If a table is wrong, or the demo would be heard on another machine.
    """
    web: WebAudioSettings | None = _table(loaded, WebAudioSettings, "web_audio")
    if web is not None and loaded.station.demo and not _is_loopback(web.host):
        raise ConfigError(
            f"station.toml: web_audio.host: the demo's audio never leaves this machine, and {web.host} is heard "
            f"on others; take demo out of [station], or set host to 127.0.0.1"
        )
    return OutputTables(
        web, _table(loaded, LoudspeakerSettings, "loudspeaker"), _table(loaded, DeadAirSettings, "dead_air")
    )


def outputs_of(loaded: Loaded) -> dict[str, OutputMaker]:
    """Give what makes each output of this station, by its name.

    Raises
    ------
    ConfigError
        As `output_tables_of`.
    """
    tables = output_tables_of(loaded)
    makers: dict[str, OutputMaker] = {}
    if (web := tables.web_audio) is not None:
        makers["web_audio"] = lambda around: WebAudio(around.feed, around.entries, web, _uses_re)
    if (loudspeaker := tables.loudspeaker) is not None:
        makers["loudspeaker"] = lambda around: Loudspeaker(around.feed, loudspeaker, around.alerts.on_the_air)
    if (dead_air := tables.dead_air) is not None:
        makers["dead_air"] = lambda around: _dead_air_watch(around, dead_air, loaded.redis)
    return makers


def _table(loaded: Loaded, kind: type[Any], name: str) -> Any:
    return parse_table(kind, loaded.tables[name], name) if name in loaded.tables else None


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
