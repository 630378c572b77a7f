"""The ``[icecast]`` table: where the mounts are, what they are called, and the exceptions for single channels."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app_core.audio.broadcast_queue import ICECAST_LONGEST_S
from app_core.base.errors import ConfigError
from app_core.base.secret_file import reader
from app_core.network.icecast_server import IcecastServer
from app_core.network.icecast_url import check_public_url, mount_path

CodecName = Literal["mp3", "vorbis", "opus", "aac", "flac"]
Bitrate = Annotated[int, Field(ge=8, le=320)]

_WEAK = frozenset({"", "hackme", "password", "changeme", "secret", "icecast", "source", "admin"})


def _public_url(value: str) -> str:
    try:
        return check_public_url(value) if value else ""
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _mount_pattern(value: str) -> str:
    try:
        mount_path(value, "channel", ".mp3")
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return value


def _host(value: str) -> str:
    if "/" in value or "@" in value or any(character.isspace() for character in value):
        raise ValueError("is a name or an address alone, without http:// and without a password")
    host = value.strip("[]")
    try:
        if ":" in host:
            ipaddress.IPv6Address(host)
        else:
            host.encode("idna")
    except ValueError as error:  # a UnicodeError is one too
        raise ValueError("is no name and no address; a port stands in port, not here") from error
    if not host:
        raise ValueError("is empty")
    return host


class MountSettings(BaseModel):
    """One ``[[icecast.mounts]]`` table: what is otherwise for one channel.

    Attributes
    ----------
    channel
        Whose mount; any source that there is.
    enabled
        False for a channel that has none.
    mount, codec, bitrate_kbps, genre, description, public
        As in `IcecastSettings`; None for what stands there.
    name
        What listeners see; None for the channel's own name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: Annotated[str, Field(min_length=1, max_length=64)]
    enabled: bool = True
    mount: Annotated[str, AfterValidator(_mount_pattern)] | None = None
    codec: CodecName | None = None
    bitrate_kbps: Bitrate | None = None
    name: str | None = None
    genre: str | None = None
    description: str | None = None
    public: bool | None = None


class IcecastSettings(BaseModel):
    """The ``[icecast]`` table.

    Attributes
    ----------
    host, port, tls
        Where the server is.
    ca_file
        Certificates (PEM) that are trusted instead of this machine's: of a server that signs for itself.
    username, password_file
        Of a source.
    admin_username, admin_password_file
        For titles and listeners; without them the source's own are tried.
    public_url
        Where people reach the server; empty for the address above.
    codec, bitrate_kbps
        Of every mount; the codec's own bitrate when none is given. [kbit/s]
    mount
        Path of a mount; ``{id}`` stands for the channel, and the codec's extension is added.
    max_mounts
        More sources than this get none.
    genre, description
        What listeners see.
    public
        Whether the server may list the mounts in directories.
    longest_queue_s
        Audio that may wait for one mount before the oldest goes. [seconds]
    mounts
        Exceptions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1), AfterValidator(_host)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    tls: bool = False
    ca_file: Path | None = None
    username: Annotated[str, Field(min_length=1)] = "source"
    password_file: Path
    admin_username: str = "admin"
    admin_password_file: Path | None = None
    public_url: Annotated[str, AfterValidator(_public_url)] = ""
    codec: CodecName = "mp3"
    bitrate_kbps: Bitrate | None = None
    mount: Annotated[str, AfterValidator(_mount_pattern)] = "/{id}"
    max_mounts: Annotated[int, Field(ge=1, le=1000)] = 20
    genre: str = ""
    description: str = ""
    public: bool = False
    longest_queue_s: Annotated[float, Field(ge=1.0, le=60.0)] = ICECAST_LONGEST_S
    mounts: tuple[MountSettings, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether the server is this machine's own, reached by the loopback."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def exception_for(self, channel_id: str) -> MountSettings:
        """Give what is otherwise for a channel."""
        for mount in self.mounts:
            if mount.channel == channel_id:
                return mount
        return MountSettings(channel=channel_id)


def server_of(settings: IcecastSettings) -> IcecastServer:
    """Read the passwords, and give the server.

    Raises
    ------
    ConfigError
        If a password file cannot be read, or holds no password or one that everybody knows; two mounts are of one
        channel.
    """
    channels = [mount.channel for mount in settings.mounts]
    for channel_id in channels:
        if channels.count(channel_id) > 1:
            raise ConfigError(f"station.toml: two [[icecast.mounts]] are of channel {channel_id!r}")
    admin_file = settings.admin_password_file
    return IcecastServer(
        host=settings.host,
        port=settings.port,
        tls=settings.tls,
        username=settings.username,
        password=read_password(settings.password_file, "password_file"),
        ca_file="" if settings.ca_file is None else str(settings.ca_file),
        admin_username=settings.admin_username,
        admin_password="" if admin_file is None else read_password(admin_file, "admin_password_file"),
    )


def read_password(path: Path, setting: str) -> str:
    """Read a password of [icecast].

    Raises
    ------
    ConfigError
        If the file cannot be read, or what it holds is none; the text says how to make one.
    """
    try:
        password = path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"icecast.{setting}: {path} cannot be read by the user {reader()}: {reason}") from error
    if password.strip().lower() in _WEAK:
        what = "a password that everybody knows" if password.strip() else "nothing"
        raise ConfigError(
            f"icecast.{setting}: {path} holds {what}; make one, and put it into icecast.xml too: "
            f"(umask 077; openssl rand -hex 16 > {path})"
        )
    if "\n" in password or "\r" in password:
        raise ConfigError(f"icecast.{setting}: {path} holds more than one line")
    return password
