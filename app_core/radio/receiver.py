"""What every source of IQ is to the reader thread, and how a receiver is described in ``station.toml``.

A receiver is opened, read and closed by one thread, the reader. It fills memory that it is given, and says what was
lost.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app_core.base.errors import ConfigError, WireError
from app_core.base.iq_file import IqFormat
from app_core.base.machine_memory import memory_share_bytes
from app_core.bridge.keys import check_identifier


def _identifier(value: str) -> str:
    try:
        return check_identifier(value)
    except WireError as error:
        raise ValueError(str(error)) from error


MIN_ROWS_PER_SECOND = 10.0
"""Spectra a second that every receiver publishes, at the least."""


class ReceiverSettings(BaseModel):
    """What all receivers have in common: one ``[[receivers]]`` table of ``station.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, AfterValidator(_identifier)]
    samples_per_message: Annotated[int, Field(ge=1024, le=1_048_576)] = 32_768
    ring_seconds: Annotated[float, Field(gt=0.0, le=60.0)] = 1.0
    ring_min_samples: Annotated[int, Field(ge=4096)] = 262_144
    ring_max_samples: Annotated[int, Field(ge=4096)] = 4_194_304
    fft_size: Annotated[int, Field(ge=64, le=65_536)] = 2048
    spectrum_rows_per_second: Annotated[float, Field(ge=MIN_ROWS_PER_SECOND, le=100.0)] = 12.0
    locked_snr_db: Annotated[float, Field(ge=0.0, le=80.0)] = 6.0
    exit_after_failed_opens: Annotated[int, Field(ge=1)] | None = None
    cpu_affinity: tuple[Annotated[int, Field(ge=0, le=4095)], ...] = ()
    reader_nice: Annotated[int, Field(ge=-20, le=19)] | None = None
    publisher_nice: Annotated[int, Field(ge=-20, le=19)] | None = None
    publish_sample_rate_hz: Annotated[float, Field(gt=0.0, le=1e9)] | None = None
    publish_center_frequency_hz: Annotated[float, Field(ge=0.0, le=1e12)] | None = None
    history_seconds: Annotated[float, Field(ge=0.0, le=600.0)] = 30.0
    encode_share_max: Annotated[float, Field(gt=0.0, le=1.0)] = 0.6
    capture_memory_s: Annotated[float, Field(ge=0.0, le=600.0)] = 30.0
    # An eighth of the memory that this process may count on.
    capture_memory_max_bytes: Annotated[int, Field(ge=0)] = Field(default_factory=partial(memory_share_bytes, 1 / 8))

    @model_validator(mode="after")
    def _check_ring(self) -> Self:
        """Refuse a ring in which a message would never be full."""
        if self.ring_min_samples > self.ring_max_samples:
            raise ValueError(f"ring_min_samples ({self.ring_min_samples}) is above ring_max_samples")
        if self.ring_max_samples < 4 * self.samples_per_message:
            raise ValueError(f"ring_max_samples must be at least 4 messages' worth: {4 * self.samples_per_message}")
        return self


class ReplaySettings(ReceiverSettings):
    """A recording played as if it came off the air: SigMF, or raw samples with rate and frequency given."""

    driver: Literal["replay"]
    path: Path
    iq_format: Literal["cf32", "cs16", "cu8"] | None = None
    sample_rate_hz: Annotated[float, Field(gt=0.0, le=1e9)] | None = None
    center_frequency_hz: Annotated[float, Field(ge=0.0, le=1e12)] | None = None
    loop: bool = True
    realtime: bool = True


class RtlTcpSettings(ReceiverSettings):
    """A dongle behind an ``rtl_tcp`` server."""

    driver: Literal["rtl_tcp"]
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 1234
    sample_rate_hz: Annotated[int, Field(gt=0, lt=2**32)] = 250_000
    center_frequency_hz: Annotated[int, Field(ge=0, lt=2**32)] = 162_487_500
    gain_db: Annotated[float, Field(ge=0.0, le=100.0)] | None = None
    frequency_correction_ppm: Annotated[int, Field(ge=-1000, le=1000)] = 0


def parse_device_args(text: str) -> dict[str, str]:
    """Take ``driver=airspy,serial=…`` apart, as SoapySDR writes it.

    Raises
    ------
    ValueError
        If a part is not NAME=VALUE, a name stands twice, or there is no driver.
    """
    args: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not name:
            raise ValueError(f"{part!r} is not NAME=VALUE; a device is described as in driver=rtlsdr,serial=00000001")
        if name in args:
            raise ValueError(f"{name} stands there twice")
        args[name] = value
    if not args.get("driver"):
        raise ValueError("a driver is missing: driver=rtlsdr, driver=airspy, ... (herald devices lists what there is)")
    return args


def _device_args(text: str) -> str:
    parse_device_args(text)
    return text


class SoapySettings(ReceiverSettings):
    """Any device that SoapySDR has a driver for.

    `sample_rate_hz` None is the lowest rate that the device lists and that holds all NWR channels. `gain_db` None is
    "auto" where the device has it, else what the driver sets by itself. `gains_db` sets gains by their names, instead.
    """

    driver: Literal["soapy"]
    args: Annotated[str, AfterValidator(_device_args)]
    serial: str | None = None
    sample_rate_hz: Annotated[float, Field(gt=0.0, le=1e9)] | None = None
    center_frequency_hz: Annotated[float, Field(ge=0.0, le=1e12)] = 162_487_500.0
    gain_db: Annotated[float, Field(ge=-200.0, le=200.0)] | Literal["auto"] | None = None
    gains_db: dict[str, Annotated[float, Field(ge=-200.0, le=200.0)]] = {}
    antenna: str | None = None
    bandwidth_hz: Annotated[float, Field(gt=0.0, le=1e9)] | None = None
    frequency_correction_ppm: Annotated[float, Field(ge=-1000.0, le=1000.0)] = 0.0
    bias_tee: bool | None = None
    device_settings: dict[str, bool | int | float | str] = {}
    stream_format: Literal["auto", "CF32", "CS16", "CU8"] = "auto"

    @model_validator(mode="after")
    def _check_device(self) -> Self:
        """Refuse what says two things at once."""
        named = parse_device_args(self.args).get("serial")
        if self.serial is not None and named is not None and named != self.serial:
            raise ValueError(f"serial is {self.serial!r}, and {named!r} in args")
        if self.gain_db is not None and self.gains_db:
            raise ValueError("gain_db and gains_db exclude each other")
        return self


AnyReceiverSettings = Annotated[ReplaySettings | RtlTcpSettings | SoapySettings, Field(discriminator="driver")]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How an open receiver is tuned, and how its samples came from the device. [samples per second, Hz]

    `iq_format` is the narrowest format that holds them without loss: captures are kept and written in it.
    `frequency_correction_ppm` is the one in force, by the settings or by a command; None where the device has none.
    """

    sample_rate_hz: float
    center_frequency_hz: float
    iq_format: IqFormat = "cs16"
    frequency_correction_ppm: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read gave.

    Attributes
    ----------
    n_samples
        Samples written to the start of the memory given; 0 after a timeout.
    lost_samples
        Samples that the device lost right before them.
    timestamp
        Capture time of the first of them. [UTC seconds]
    ended
        The receiver has no more samples, ever: a recording played once.
    """

    n_samples: int
    timestamp: float
    lost_samples: int = 0
    ended: bool = False


class Receiver(Protocol):
    """A source of IQ. All calls come from one thread.

    Attributes
    ----------
    waits
        Whether it may be kept waiting: a recording that is played as fast as it is taken. Live samples that find no
        room are lost; these are read later.
    """

    @property
    def waits(self) -> bool:
        """As above."""
        ...

    def open(self) -> Tuning:
        """Open the device and give how it is tuned.

        Raises
        ------
        DeviceError
            If it is not there, or refuses; it will be tried again.
        ConfigError
            If trying again cannot help.
        """
        ...

    def read_into(self, iq: NDArray[np.complex64], timeout_s: float) -> Reading:
        """Fill `iq`, complex64 of shape (n,), from its start, waiting no longer than `timeout_s`.

        Raises
        ------
        DeviceError
            If the device failed or is gone; it shall then be closed and opened again.
        """
        ...

    def close(self) -> None:
        """Close the device; harmless when it is not open."""
        ...


@runtime_checkable
class Tunable(Protocol):
    """A receiver whose frequency can be changed while it is open."""

    def tune(self, frequency_hz: float) -> Tuning:
        """Change the centre frequency, at an unchanged rate; called by the thread that reads, between two reads.

        Raises
        ------
        ConfigError
            If the device cannot be tuned there.
        DeviceError
            If the device failed.
        """
        ...


@runtime_checkable
class GainControl(Protocol):
    """A receiver whose gain can be changed while it is open."""

    def set_gain(self, gain_db: float | Literal["auto"]) -> object:
        """Change the gain, or let the device choose it; called by the thread that reads, between two reads.

        Raises
        ------
        ConfigError
            If the device has no such gain.
        DeviceError
            If the device failed.
        """
        ...


@runtime_checkable
class CountsErrors(Protocol):
    """A receiver that counts what the device says of its stream.

    Attributes
    ----------
    counts
        Times that each was said, by SoapySDR's names.
    """

    counts: Counter[str]


@runtime_checkable
class KeepsTuning(Protocol):
    """A receiver that can take over what was asked of another one by command, before it is opened."""

    def tune_as(self, other: Receiver) -> None:
        """Take over frequency, gain and correction, and which device it is; from another kind of receiver nothing."""
        ...


@runtime_checkable
class FrequencyCorrection(Protocol):
    """A receiver whose crystal's error can be corrected while it is open."""

    def set_frequency_correction(self, correction_ppm: float) -> float:
        """Change the correction and give the one that was taken; called by the thread that reads, between two reads.

        A greater one brings carriers to a higher frequency. What it does to the tuning holds from the next one on.
        [parts per million]

        Raises
        ------
        ConfigError
            If the device has no such correction.
        DeviceError
            If the device failed.
        """
        ...


def check_fft_size(fft_size: int, sample_rate_hz: float) -> None:
    """Refuse a spectrum that cannot be new ten times a second.

    Raises
    ------
    ConfigError
        If one transform takes in more than a tenth of a second of samples.
    """
    largest = int(sample_rate_hz / MIN_ROWS_PER_SECOND)
    if fft_size > largest:
        raise ConfigError(
            f"fft_size {fft_size} at {sample_rate_hz:.0f} samples a second gives fewer than "
            f"{MIN_ROWS_PER_SECOND:.0f} spectra a second; the largest is {largest}"
        )


def read_size(sample_rate_hz: float) -> int:
    """Give the samples to ask for in one read: 50 ms, at least 1024.

    Raises
    ------
    ConfigError
        If the rate is not above zero.
    """
    if not sample_rate_hz > 0:
        raise ConfigError(f"sample_rate_hz must be above zero, not {sample_rate_hz}")
    return max(1024, round(sample_rate_hz * 0.05))
