"""What ``herald config check`` looks at before any audio is streamed: passwords, mounts, and the names of channels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from app_core.audio.codecs import CODECS
from app_core.audio.icecast_settings import IcecastSettings, server_of
from app_core.audio.ingest_config import AnyIngestSettings, FileSettings, StreamSettings
from app_core.base.errors import ConfigError
from app_core.base.secret_file import exposure, reader
from app_core.network.icecast_url import mount_path
from services.stream_outputs import OutputTables


def check_icecast(settings: IcecastSettings | None, channel_ids: Sequence[str]) -> None:
    """Check what would keep the stream job, or a mount, down for good.

    Parameters
    ----------
    settings
        The ``[icecast]`` table; None for a station without.
    channel_ids
        Channels and sources of the file.

    Raises
    ------
    ConfigError
        If a password file cannot be used, or two channels have one mount.
    """
    if settings is None:
        return
    server_of(settings)
    owners: dict[str, str] = {}
    # A channel that only a command will bring counts where its mount is written down.
    expected = [mount.channel for mount in settings.mounts if mount.mount is not None]
    for channel_id in dict.fromkeys([*channel_ids, *expected]):
        exception = settings.exception_for(channel_id)
        if not exception.enabled:
            continue
        codec = CODECS[exception.codec or settings.codec]
        path = mount_path(exception.mount or settings.mount, channel_id, codec.extension)
        if path in owners:
            raise ConfigError(
                f"station.toml: the mount {path} is that of {owners[path]} and of {channel_id}: put {{id}} into mount "
                f"of [icecast], or give one of them another in [[icecast.mounts]]"
            )
        owners[path] = channel_id


def warnings_of_streams(
    settings: IcecastSettings | None,
    outputs: OutputTables,
    sources: Sequence[AnyIngestSettings],
    channel_ids: Sequence[str],
) -> list[str]:
    """Say what may be meant, but is more likely a slip: names that no channel has, and files that are not there.

    Parameters
    ----------
    settings, outputs, sources
        The tables, checked.
    channel_ids
        Channels and sources of the file; others may be added by a command later.
    """
    found = [
        f"{setting} names {channel_id!r}, which station.toml does not have"
        for setting, channel_id in _named_channels(settings, outputs)
        if channel_id not in channel_ids
    ]
    for setting, path, is_secret in _files(settings, sources):
        if not path.is_file() or not os.access(path, os.R_OK):
            found.append(f"{setting}: {path} is no file that {reader()} can read")
        elif is_secret and (reason := exposure(path)):
            found.append(f"{setting}: {reason}")
    return found


def _named_channels(settings: IcecastSettings | None, outputs: OutputTables) -> Iterator[tuple[str, str]]:
    for mount in () if settings is None else settings.mounts:
        yield "icecast.mounts.channel", mount.channel
    if outputs.loudspeaker is not None and outputs.loudspeaker.channel is not None:
        yield "loudspeaker.channel", outputs.loudspeaker.channel
    for channel_id in () if outputs.dead_air is None else outputs.dead_air.ignore:
        yield "dead_air.ignore", channel_id


def _files(settings: IcecastSettings | None, sources: Sequence[AnyIngestSettings]) -> Iterator[tuple[str, Path, bool]]:
    """Give each file that a table names: by which setting, where, and whether it holds a secret."""
    if settings is not None:
        yield "icecast.password_file", settings.password_file, True
        if settings.admin_password_file is not None:
            yield "icecast.admin_password_file", settings.admin_password_file, True
        if settings.ca_file is not None:
            yield "icecast.ca_file", settings.ca_file, False
    for source in sources:
        if isinstance(source, FileSettings):
            yield f"source {source.id!r}: path", source.path, False
        elif isinstance(source, StreamSettings):
            if source.password_file is not None:
                yield f"source {source.id!r}: password_file", source.password_file, True
            if source.ca_file is not None:
                yield f"source {source.id!r}: ca_file", source.ca_file, False
