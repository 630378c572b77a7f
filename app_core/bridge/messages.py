"""Every JSON message that crosses Redis: typed, checked, frozen.

Writers and readers, and the tests, use these classes alone, so the two ends cannot disagree. Readers ignore fields they
do not know, since new fields may be added; a missing or mistyped field is a `WireError`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app_core.base.errors import WireError
from app_core.bridge.keys import check_identifier

MAX_SAMPLES_PER_MESSAGE = 1_048_576
"""Most samples that one message may claim: 8 MiB once expanded."""

MAX_SAMPLES_MESSAGE_BYTES = 16 * MAX_SAMPLES_PER_MESSAGE
"""Longest samples message that is looked at: stored zlib plus base64 needs 10.7 bytes a sample."""

MAX_MESSAGE_BYTES = 1_048_576
"""Longest message of any other kind that is looked at."""


def _identifier(value: str) -> str:
    try:
        return check_identifier(value)
    except WireError as error:
        raise ValueError(str(error)) from error


Identifier = Annotated[str, AfterValidator(_identifier)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0.0, lt=1e11)]
RateHz = Annotated[int | float, Field(gt=0.0, le=1e9)]
FrequencyHz = Annotated[int | float, Field(ge=0.0, le=1e12)]


def plain_number(value: float) -> int | float:
    """Give a whole number as an int, so that JSON shows 162550000 and not 162550000.0."""
    return int(value) if float(value).is_integer() else value


class Message(BaseModel):
    """A JSON object that crosses Redis."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)
    max_bytes: ClassVar[int] = MAX_MESSAGE_BYTES

    def to_json(self) -> bytes:
        """Write the message as UTF-8 JSON."""
        return orjson.dumps(self.model_dump())

    @classmethod
    def from_json(cls, payload: bytes | str) -> Self:
        """Read a message.

        Raises
        ------
        WireError
            If `payload` is too long, not JSON, or lacks a field or holds one of the wrong type or range.
        """
        if len(payload) > cls.max_bytes:
            raise WireError(f"{cls.__name__} of {len(payload)} bytes is longer than {cls.max_bytes}")
        try:
            return cls.model_validate(orjson.loads(payload))
        except orjson.JSONDecodeError as error:
            raise WireError(f"{cls.__name__} is not JSON: {error}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "message"
            raise WireError(f"{cls.__name__}: {where}: {first['msg']}") from error


class SamplesMessage(Message):
    """Samples of one receiver: channel ``sdr:samples:{receiver_id}``.

    ``samples`` is base64 of zlib of interleaved little-endian float32 (I, Q, I, Q, …); see `sample_codec`.
    """

    max_bytes: ClassVar[int] = MAX_SAMPLES_MESSAGE_BYTES

    receiver_id: Identifier
    timestamp: Seconds
    sample_count: Annotated[int, Field(ge=1, le=MAX_SAMPLES_PER_MESSAGE)]
    sample_rate: RateHz
    center_frequency: FrequencyHz
    encoding: Literal["zlib+base64"]
    samples: str
    first_sample: Count = 0
    sequence: Count = 0
    config_epoch: Count = 0
    frequency_correction_ppm: Annotated[int | float, Field(ge=-1e6, le=1e6)] | None = None


class SpectrumMessage(Message):
    """Latest spectrum of one receiver: key and channel ``sdr:spectrum:{receiver_id}``.

    ``spectrum`` holds 0 at `dbfs_min` and below, 1 at `dbfs_max` and above, and is affine in dBFS between.
    """

    identifier: Identifier
    spectrum: list[Annotated[float, Field(ge=0.0, le=1.0)]]
    fft_size: Annotated[int, Field(ge=1, le=1_048_576)]
    sample_rate: RateHz
    center_frequency: FrequencyHz
    timestamp: Seconds
    status: str
    dbfs_min: float
    dbfs_max: float


class RingBufferMessage(Message):
    """Statistics of one receiver's ring: key ``sdr:ring_buffer:{receiver_id}``."""

    fill_percentage: Annotated[float, Field(ge=0.0, le=100.0)]
    overflow_count: Count
    underflow_count: Count
    total_samples_written: Count
    total_samples_read: Count
    size: Count
    dropped_samples: Count = 0


class HeartbeatMessage(Message):
    """Sign of life of the SDR service: key ``sdr:heartbeat``."""

    timestamp: Seconds
    pid: Count
    receiver_count: Count


class AudioHeartbeatMessage(Message):
    """Sign of life of the audio service: key ``audio:heartbeat``."""

    timestamp: Seconds
    pid: Count
    channel_count: Count


class SdrMetricsMessage(Message):
    """Health of the SDR service: key ``sdr:metrics``.

    The table of a receiver holds the fields of docs/reference/redis.md; it may grow.
    """

    service: Literal["sdr_service"] = "sdr_service"
    timestamp: Seconds
    pid: Count
    receivers: dict[str, dict[str, Any]]
    redis: dict[str, Any] = Field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    commands: dict[str, Any] = Field(default_factory=dict)


class AudioMetricsMessage(Message):
    """Health of the audio service: key ``audio:metrics``, with tables as those of ``sdr:metrics``."""

    service: Literal["audio_service"] = "audio_service"
    timestamp: Seconds
    pid: Count
    receivers: dict[str, dict[str, Any]]
    channels: dict[str, dict[str, Any]]
    fft_library: str = ""
    alerts: dict[str, Any] = Field(default_factory=dict)
    redis: dict[str, Any] = Field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    commands: dict[str, Any] = Field(default_factory=dict)


class StreamHeartbeatMessage(Message):
    """Sign of life of the stream job: key ``audio:stream_heartbeat``."""

    timestamp: Seconds
    pid: Count
    mount_count: Count


class StreamsMessage(Message):
    """Health of the stream job: key ``audio:streams``.

    Attributes
    ----------
    mounts
        Of each Icecast mount, by its channel's id: state, listeners, encoder, backlog, last error in words.
    feed
        The way in: subscription, and of each channel its audio and the queues of those who take it.
    outputs
        What else takes audio (web, loudspeaker, watch over dead air), by its name.
    """

    service: Literal["stream_service"] = "stream_service"
    timestamp: Seconds
    pid: Count
    mounts: dict[str, dict[str, Any]] = Field(default_factory=dict)
    feed: dict[str, Any] = Field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    redis: dict[str, Any] = Field(default_factory=dict)
    workers: dict[str, dict[str, Any]] = Field(default_factory=dict)
