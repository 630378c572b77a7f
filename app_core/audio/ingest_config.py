"""The ``[[sources]]`` tables: streams, sound cards and files that are listened to like a radio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app_core.audio.sources import AudioSourceConfig, AudioSourceType
from app_core.base.errors import WireError
from app_core.bridge.keys import check_identifier
from app_core.network.playlist import is_hls_address


def _identifier(value: str) -> str:
    try:
        return check_identifier(value)
    except WireError as error:
        raise ValueError(str(error)) from error


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an address of http or https: {value[:100]!r}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a password in an address is shown to everybody: use username and password_file")
    if any(character.isspace() for character in value):
        raise ValueError("there is a space in it: write it as %20")
    return value


def _device(value: str) -> str:
    if value.startswith("-") or not value.isprintable():
        raise ValueError(f"not the name of a device: {value[:60]!r}")
    return value


def _name(value: str) -> str:
    if not value.isprintable():
        raise ValueError("a name is one line of printable characters; it is shown to people and to players")
    return value


class IngestSettings(BaseModel):
    """What every source has.

    Attributes
    ----------
    id
        Names it in Redis, as a channel's id does; no channel has the same.
    name
        For people; empty for the id.
    sample_rate_hz
        Of the audio it gives. [samples per second]
    loudness_lufs
        Level the audio for listeners to this loudness; None leaves it. [LUFS]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, AfterValidator(_identifier)]
    name: Annotated[str, Field(max_length=120), AfterValidator(_name)] = ""
    sample_rate_hz: Literal[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000] = 24_000
    loudness_lufs: Annotated[float, Field(ge=-40.0, le=-5.0)] | None = None

    def source_config(self, source_type: AudioSourceType) -> AudioSourceConfig:
        """Give what outputs know of it."""
        return AudioSourceConfig(id=self.id, source_type=source_type, name=self.name)


class StreamSettings(IngestSettings):
    """Somebody's stream: any codec that FFmpeg reads, by HTTP, from Icecast or SHOUTcast, or in pieces (HLS).

    Attributes
    ----------
    url
        Of the stream, or of a playlist (M3U, PLS) that names it.
    protocol
        ``auto``: ``hls`` where the address ends in ``.m3u8``, else ``icecast``. ``icecast`` asks for titles, ``http``
        does not; ``hls`` has FFmpeg fetch the pieces.
    username, password_file
        For a stream that asks for them (Basic authentication); the password is the first line of the file.
    ca_file
        Certificates (PEM) that are trusted instead of the machine's.
    """

    type: Literal["stream"]
    url: Annotated[str, Field(max_length=2000), AfterValidator(_address)]
    protocol: Literal["auto", "icecast", "http", "hls"] = "auto"
    username: Annotated[str, Field(pattern=r"^[^:\r\n]+$")] | None = None
    password_file: Path | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> StreamSettings:
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together")
        if self.is_hls and (self.password_file is not None or self.ca_file is not None):
            raise ValueError("hls takes no password_file and no ca_file: FFmpeg's arguments are seen by every user")
        return self

    @property
    def is_hls(self) -> bool:
        """Whether FFmpeg fetches it."""
        return self.protocol == "hls" or (self.protocol == "auto" and is_hls_address(self.url))


class AlsaSettings(IngestSettings):
    """A sound card, by ALSA.

    Attributes
    ----------
    device
        As ``arecord -L`` names it.
    device_rate_hz, device_channels
        What the card is asked for; what it has more than one of is mixed. [samples per second]
    """

    type: Literal["alsa"]
    device: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_device)] = "default"
    device_rate_hz: Annotated[int, Field(ge=8_000, le=192_000)] = 48_000
    device_channels: Annotated[int, Field(ge=1, le=8)] = 2


class PulseSettings(IngestSettings):
    """A source of PulseAudio or PipeWire.

    Attributes
    ----------
    device
        As ``pactl list short sources`` names it.
    """

    type: Literal["pulse"]
    device: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_device)] = "default"


class FileSettings(IngestSettings):
    """A recording, played at its own speed.

    Attributes
    ----------
    path
        Any audio file.
    repeat
        Begin again at its end.
    """

    type: Literal["file"]
    path: Path
    repeat: bool = False


AnyIngestSettings = Annotated[StreamSettings | AlsaSettings | PulseSettings | FileSettings, Field(discriminator="type")]
