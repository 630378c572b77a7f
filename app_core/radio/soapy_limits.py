"""What a device can do, as its driver lists it, and the checks of settings against it.

No driver is needed here: `DeviceLimits` is a plain description. What is refused is refused with the legal list, since
drivers themselves throw a number, or take something else in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app_core.base.errors import ConfigError

LEAST_RATE_HZ = 250_000.0
"""All seven NWR channels fit into this rate: without a set rate, none below it is chosen. [samples per second]"""

BUFFERED_S = 0.5
"""Time for which a driver shall keep samples while we are held up, where it can be told. [seconds]"""

_BUFFER_S = 0.02
_BUFFER_STEP_BYTES = 16_384

BIAS_TEE_KEYS = ("biastee", "bias_tee", "bias_tx", "biasT_ctrl", "biasT", "biastee_rx")
"""Names under which drivers have the switch of the antenna's supply."""

FALLBACK_RATES_HZ: dict[str, tuple[float, ...]] = {
    "airspy": (2.5e6, 3e6, 6e6, 10e6),
    "airspyhf": (192e3, 256e3, 384e3, 768e3, 912e3),
    "rtlsdr": (250e3, 1.024e6, 1.536e6, 1.792e6, 1.92e6, 2.048e6, 2.16e6, 2.4e6, 2.56e6),
}
"""Rates of devices whose driver lists none. [samples per second]"""


@dataclass(frozen=True, slots=True)
class Span:
    """Values from `low` to `high`, both legal; a single value where they are equal."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a value is legal, but for rounding."""
        slack = 1e-6 * max(abs(self.low), abs(self.high), 1e-6)
        return self.low - slack <= value <= self.high + slack

    def __str__(self) -> str:
        """Give the words for a message."""
        return f"{self.low:.10g}" if self.low == self.high else f"{self.low:.10g} to {self.high:.10g}"


@dataclass(frozen=True, slots=True)
class BufferArgument:
    """A stream argument that sets a driver's buffers: its default, and whether it counts bytes or samples."""

    key: str
    default: int
    in_bytes: bool


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """What one device can do.

    Attributes
    ----------
    driver, serial, label
        As enumerated; empty where the driver gives none.
    rates
        Legal sample rates, lowest first; empty where the driver lists none. [samples per second]
    frequencies, bandwidths
        As `rates`. [Hz]
    gain
        The gain as a whole; None where there is none. [dB]
    gain_elements
        The gains by name. [dB]
    has_automatic_gain, has_frequency_correction
        Whether the driver has them.
    antennas, settings, formats
        Names, as the driver gives them.
    length_argument, count_argument
        Stream arguments for the length and the number of the driver's buffers; None where it has none.
    """

    driver: str
    serial: str
    label: str
    rates: tuple[Span, ...]
    frequencies: tuple[Span, ...]
    bandwidths: tuple[Span, ...]
    gain: Span | None
    gain_elements: Mapping[str, Span]
    has_automatic_gain: bool
    has_frequency_correction: bool
    antennas: tuple[str, ...]
    settings: tuple[str, ...]
    formats: tuple[str, ...]
    length_argument: BufferArgument | None = None
    count_argument: BufferArgument | None = None

    @property
    def name(self) -> str:
        """What messages call the device."""
        return f"{self.driver} {self.serial or self.label}".strip()

    @property
    def legal_rates(self) -> tuple[Span, ...]:
        """The rates, from a table where the driver lists none; empty where nobody knows."""
        return self.rates or tuple(Span(rate, rate) for rate in FALLBACK_RATES_HZ.get(self.driver, ()))


def words(legal: Sequence[Span | str]) -> str:
    """Give a list of legal values in words."""
    return ", ".join(str(value) for value in legal) if legal else "none"


def check_rate(limits: DeviceLimits, sample_rate_hz: float | None) -> float:
    """Give the rate to set: what is asked for, or else the lowest that holds the NWR band. [samples per second]

    Raises
    ------
    ConfigError
        If the device lists rates and this is none of them, or none is asked for and it lists none.
    """
    legal = limits.legal_rates
    if sample_rate_hz is None:
        for span in legal:
            if span.high >= LEAST_RATE_HZ:
                return max(span.low, LEAST_RATE_HZ)
        if legal:
            return legal[-1].high
        raise ConfigError(f"{limits.name} lists no sample rates: set sample_rate_hz")
    if legal and not any(span.holds(sample_rate_hz) for span in legal):
        raise ConfigError(
            f"sample_rate_hz = {sample_rate_hz:.10g} is not a rate of {limits.name}; legal are {words(legal)}"
        )
    return sample_rate_hz


def check_frequency(limits: DeviceLimits, frequency_hz: float) -> None:
    """Refuse a frequency outside of what the device lists.

    Raises
    ------
    ConfigError
        If it is.
    """
    if limits.frequencies and not any(span.holds(frequency_hz) for span in limits.frequencies):
        raise ConfigError(
            f"{frequency_hz:.10g} Hz is out of the range of {limits.name}: {words(limits.frequencies)} Hz"
        )


def check_bandwidth(limits: DeviceLimits, bandwidth_hz: float) -> None:
    """Refuse a bandwidth that the device does not list.

    Raises
    ------
    ConfigError
        If it does not, or lists none.
    """
    if not any(span.holds(bandwidth_hz) for span in limits.bandwidths):
        raise ConfigError(
            f"bandwidth_hz = {bandwidth_hz:.10g} is not a bandwidth of {limits.name}; legal are "
            f"{words(limits.bandwidths)}"
        )


def check_antenna(limits: DeviceLimits, antenna: str) -> None:
    """Refuse an antenna that the device does not list.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if antenna not in limits.antennas:
        raise ConfigError(f'antenna = "{antenna}" is none of {limits.name}; legal are {words(limits.antennas)}')


def check_gain(limits: DeviceLimits, gain_db: float | str) -> None:
    """Refuse a gain as a whole, or "auto", that the device does not have.

    Raises
    ------
    ConfigError
        If it does not.
    """
    span = limits.gain
    if gain_db == "auto":
        if not limits.has_automatic_gain:
            raise ConfigError(f"{limits.name} has no automatic gain; set gain_db: {span if span else 'none'} dB")
    elif isinstance(gain_db, str):
        raise ConfigError(f'gain_db is a number or "auto", not "{gain_db}"')
    elif span is None or not span.holds(gain_db):
        raise ConfigError(
            f"gain_db = {gain_db:.10g} is out of the range of {limits.name}: {span if span else 'none'} dB"
        )


def check_gain_element(limits: DeviceLimits, name: str, gain_db: float) -> None:
    """Refuse a gain by name that the device does not have.

    Raises
    ------
    ConfigError
        If it has no gain of that name, or not this value.
    """
    if name not in limits.gain_elements:
        raise ConfigError(f"gains_db.{name} is none of {limits.name}; legal are {words(list(limits.gain_elements))}")
    span = limits.gain_elements[name]
    if not span.holds(gain_db):
        raise ConfigError(f"gains_db.{name} = {gain_db:.10g} is out of the range of {limits.name}: {span} dB")


def check_device_setting(limits: DeviceLimits, key: str) -> None:
    """Refuse a setting that the device does not list; one that lists none may have any.

    Raises
    ------
    ConfigError
        If it lists others.
    """
    if limits.settings and key not in limits.settings:
        raise ConfigError(f"device_settings.{key} is none of {limits.name}; legal are {words(limits.settings)}")


def bias_tee_key(limits: DeviceLimits) -> str:
    """Give the name of the bias tee's setting.

    Raises
    ------
    ConfigError
        If the device lists none.
    """
    for key in BIAS_TEE_KEYS:
        if key in limits.settings:
            return key
    raise ConfigError(f"{limits.name} has no bias tee; its settings are {words(limits.settings)}")


def buffer_arguments(limits: DeviceLimits, sample_rate_hz: float, bytes_per_sample: int) -> dict[str, str]:
    """Give stream arguments with which a driver keeps samples for `BUFFERED_S`; empty where it cannot be told.

    A driver's default is in bytes, for its usual rate: at 250 kS/s a buffer of 256 KiB takes half a second to fill, and
    15 of 16 KiB hold 50 ms at 2.4 MS/s. So buffers of about 20 ms are asked for, and as many as are needed.
    """
    if limits.count_argument is None:
        return {}
    arguments = {}
    bytes_per_second = sample_rate_hz * bytes_per_sample
    length = limits.length_argument
    if length is None:
        return {}
    n_bytes = max(1, round(bytes_per_second * _BUFFER_S / _BUFFER_STEP_BYTES)) * _BUFFER_STEP_BYTES
    arguments[length.key] = str(n_bytes if length.in_bytes else n_bytes // bytes_per_sample)
    needed = int(BUFFERED_S * bytes_per_second / n_bytes) + 2  # one is being filled, one is being read
    arguments[limits.count_argument.key] = str(max(limits.count_argument.default, needed))
    return arguments
