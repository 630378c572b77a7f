"""The ``[[sources]]`` tables of ``station.toml``: checked, and told apart from the channels."""

from __future__ import annotations

from collections.abc import Collection

from app_core.audio.ingest_config import AnyIngestSettings
from app_core.base.errors import ConfigError
from services.settings import Loaded, parse_table


def sources_of(loaded: Loaded, channel_ids: Collection[str] = ()) -> list[AnyIngestSettings]:
    """Check and give the ``[[sources]]`` tables.

    Parameters
    ----------
    loaded
        The settings.
    channel_ids
        Ids that are taken.

    Raises
    ------
    ConfigError
        If one is wrong, or has the id of another one or of a channel.
    """
    tables = loaded.tables.get("sources", [])
    sources: list[AnyIngestSettings] = parse_table(list[AnyIngestSettings], tables, "sources")
    seen = set(channel_ids)
    for source in sources:
        if source.id in seen:
            what = "a channel" if source.id in channel_ids else "another source"
            raise ConfigError(f"station.toml: source {source.id!r} has the id of {what}")
        seen.add(source.id)
    return sources
