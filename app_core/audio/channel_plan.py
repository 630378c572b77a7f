"""Which channels there shall be: those of ``station.toml``, and what commands have made of them.

A channel is kept as the table that describes it, with nothing filled in, so that a setting that was never given follows
its default when the mode changes. What commands have changed stands in an overlay file in the data directory: it names
the ``station.toml`` that it goes with by a digest, and is put aside when the channels there have been edited since, for
then it is the file that the owner means.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app_core.alerts.spool import write_durably
from app_core.base.errors import ConfigError, LinkError, WireError
from app_core.demod.channel_config import ChannelConfig

log = logging.getLogger(__name__)

Table = dict[str, Any]
"""One channel as it was described: in ``[[channels]]``, or in a command."""

MAX_CHANNELS = 256
"""Most channels of one process; a slip in a script shall not take the machine."""

MAX_OVERLAY_BYTES = 16 * 1024 * 1024
"""Largest overlay that is read."""

OF_MODE = ("bandwidth_hz", "deviation_hz", "deemphasis_us", "stereo", "ctcss_hz", "squelch", "agc")
"""Settings that mean another thing in another mode."""


def digest_of(tables: Sequence[Mapping[str, Any]]) -> str:
    """Name the channels of a ``station.toml`` by what they say."""
    return hashlib.sha256(orjson.dumps(tables, default=str, option=orjson.OPT_SORT_KEYS)).hexdigest()


class ChannelOverlay:
    """The file that keeps changed channels over a restart.

    Parameters
    ----------
    path
        Where it is.
    digest
        Of the channels of ``station.toml`` as they are now.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path = path
        self._digest = digest

    def load(self) -> list[Table] | None:
        """Give the channels that commands have left; None where the ones of ``station.toml`` hold.

        A file that is malformed, or belongs to other channels, is put aside and said.
        """
        try:
            if self.path.stat().st_size > MAX_OVERLAY_BYTES:
                raise WireError(f"it is larger than {MAX_OVERLAY_BYTES} bytes")
            document = orjson.loads(self.path.read_bytes())
            digest, tables = document["digest"], document["channels"]
            if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
                raise WireError("its channels are no list of tables")
        except FileNotFoundError:
            return None
        except (OSError, WireError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            self.put_aside(f"it is malformed ({error})")
            return None
        if digest != self._digest:
            self.put_aside("the channels of station.toml have been edited since")
            return None
        return tables

    def save(self, tables: Sequence[Table]) -> None:
        """Keep the channels; they are on the disk when this returns.

        Raises
        ------
        LinkError
            If the disk does not take them; an earlier file is then still there.
        """
        try:
            write_durably(self.path, orjson.dumps({"digest": self._digest, "channels": list(tables)}))
        except OSError as error:
            raise LinkError(f"{self.path} cannot be written: {error.strerror}") from error

    def remove(self) -> None:
        """Let the channels of ``station.toml`` hold from the next start on.

        Raises
        ------
        LinkError
            If the file cannot be removed.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise LinkError(f"{self.path} cannot be removed: {error.strerror}") from error

    def put_aside(self, why: str) -> None:
        """Move the file out of the way, for a person to look at, and say why."""
        aside = self.path.with_suffix(".dropped.json")
        log.warning("the channels changed by command are dropped, as %s; %s is kept as %s", why, self.path, aside.name)
        try:
            self.path.replace(aside)
        except OSError as error:
            log.error("%s could not be put aside: %s", self.path, error)


@dataclass(frozen=True, slots=True)
class Channels:
    """One state of the plan.

    Attributes
    ----------
    tables
        The channels as they were described.
    configs
        The same, checked and with every default filled in.
    """

    tables: tuple[Table, ...]
    configs: tuple[ChannelConfig, ...]

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return [config.id for config in self.configs]


class ChannelPlan:
    """The channels there shall be, and what a change makes of them. It changes nothing by itself: see `adopt`.

    Parameters
    ----------
    station_tables
        Channels of ``station.toml``.
    overlay
        Where changes are kept.
    make_config
        Makes a channel of its table; a `ConfigError` says in words what is wrong with it.
    expand
        Puts settings in the place of a preset in what a command says; raises a `ConfigError`, too.
    known_receivers
        Gives the ids of the receivers that there are; empty when nobody knows.

    Attributes
    ----------
    now
        The channels that were last adopted.

    Raises
    ------
    ConfigError
        If a channel of ``station.toml`` is wrong, or two have one id.
    """

    def __init__(
        self,
        station_tables: Sequence[Table],
        overlay: ChannelOverlay,
        make_config: Callable[[Table], ChannelConfig],
        expand: Callable[[Table], Table] = dict,
        known_receivers: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self._overlay = overlay
        self._make_config = make_config
        self._expand = expand
        self._known_receivers = known_receivers
        self.of_station = self._make(station_tables)
        self.now = self._restored() or self.of_station

    @property
    def is_changed(self) -> bool:
        """Whether the channels are other ones than those of ``station.toml``."""
        return self.now.tables != self.of_station.tables

    def with_channel(self, table: Table) -> Channels:
        """Give the plan with one more channel.

        Raises
        ------
        ConfigError
            If its table is wrong, its id is taken, its receiver is unknown, or there are `MAX_CHANNELS`.
        """
        table = _said(self._expand(table))
        config = self._make_config(table)
        if config.id in self.now.ids:
            raise ConfigError(f"there is a channel {config.id!r} already; set_channel changes it")
        if len(self.now.tables) >= MAX_CHANNELS:
            raise ConfigError(f"there are {len(self.now.tables)} channels, and more are not taken")
        self._check_receiver(config)
        return Channels((*self.now.tables, table), (*self.now.configs, config))

    def with_changes(self, channel_id: str, changes: Table) -> Channels:
        """Give the plan with one channel changed.

        Parameters
        ----------
        channel_id
            Which one.
        changes
            Settings by name; None takes one back to its default. A table in it, such as ``squelch``, is merged. With
            another mode the settings of the old one that are not named here go, too.

        Raises
        ------
        ConfigError
            If there is no such channel, or what comes of it is wrong.
        """
        place = self._place_of(channel_id)
        if changes.get("id", channel_id) != channel_id:
            raise ConfigError("the id of a channel does not change: add another one, and remove this one")
        changes = self._expand(changes)
        table, before = dict(self.now.tables[place]), self.now.configs[place]
        if changes.get("mode", before.mode.value) != before.mode.value:
            table = {name: value for name, value in table.items() if name not in OF_MODE}
        for name, value in changes.items():
            inner = table.get(name)
            table[name] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
        table = _said(table)
        config = self._make_config(table)
        if config.receiver_id != before.receiver_id:
            self._check_receiver(config)
        tables, configs = list(self.now.tables), list(self.now.configs)
        tables[place], configs[place] = table, config
        return Channels(tuple(tables), tuple(configs))

    def without_channel(self, channel_id: str) -> Channels:
        """Give the plan with one channel less.

        Raises
        ------
        ConfigError
            If there is no such channel, or it is the only one.
        """
        place = self._place_of(channel_id)
        if len(self.now.tables) == 1:
            raise ConfigError(f"{channel_id!r} is the only channel: add another one first")
        tables, configs = list(self.now.tables), list(self.now.configs)
        del tables[place], configs[place]
        return Channels(tuple(tables), tuple(configs))

    def adopt(self, channels: Channels) -> None:
        """Take a plan for the one that holds, and keep it over a restart.

        Raises
        ------
        LinkError
            If it could not be kept; it holds all the same, until this process ends.
        """
        self.now = channels
        if self.is_changed:
            self._overlay.save(channels.tables)
        else:
            self._overlay.remove()

    def find(self, channel_id: str) -> ChannelConfig:
        """Give a channel by its id.

        Raises
        ------
        ConfigError
            If there is none; the text names those there are.
        """
        return self.now.configs[self._place_of(channel_id)]

    def _restored(self) -> Channels | None:
        """Give the channels of the overlay, if it has any that can be received."""
        tables = self._overlay.load()
        if tables is None:
            return None
        try:
            channels = self._make(tables)
            if not channels.configs:
                raise ConfigError("it holds no channel")
        except ConfigError as error:
            self._overlay.put_aside(f"one of them cannot be used ({error})")
            return None
        log.info("%d channels as commands have left them, of %s", len(tables), self._overlay.path)
        return channels

    def _make(self, tables: Sequence[Table]) -> Channels:
        channels = Channels(tuple(tables), tuple(self._make_config(table) for table in tables))
        for identifier in channels.ids:
            if channels.ids.count(identifier) > 1:
                raise ConfigError(f"two channels have the id {identifier!r}")
        return channels

    def _place_of(self, channel_id: str) -> int:
        if channel_id not in self.now.ids:
            raise ConfigError(f"unknown channel {channel_id!r}; known are {', '.join(self.now.ids)}")
        return self.now.ids.index(channel_id)

    def _check_receiver(self, config: ChannelConfig) -> None:
        known = self._known_receivers()
        if known and config.receiver_id not in known:
            raise ConfigError(f"unknown receiver {config.receiver_id!r}; known are {', '.join(sorted(known))}")


def _said(table: Table) -> Table:
    """Leave out what is None, also in the tables within."""
    return {
        name: _said(value) if isinstance(value, dict) else value for name, value in table.items() if value is not None
    }
