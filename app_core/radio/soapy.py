"""The door to SoapySDR: the one module that imports the binding, and only when it is asked to.

Everything else works without it. The binding lets other threads run while a driver works, in enumeration and opening
too, so a slow driver holds up nobody. SoapySDR reports failures as `RuntimeError`; what is called here turns them into
ours, and whoever uses a device that `open_device` gave does the same.
"""

from __future__ import annotations

import atexit
import enum
import importlib
import logging
import threading
from typing import Any

from app_core.base.errors import ConfigError, DeviceError
from app_core.radio.soapy_limits import BufferArgument, DeviceLimits, Span

log = logging.getLogger(__name__)
_driver_log = logging.getLogger("SoapySDR")

_log_lock = threading.Lock()
_log_handlers: list[object] = []
"""Keeps the handler alive whatever the binding does with its own reference: its end puts the default back."""

RX = 1
HAS_TIME = 4
CHANNEL = 0
"""SoapySDR's constants for the direction and the flag of a time, and the one channel that is used."""

_PACKAGES = {name: name for name in ("airspy", "audio", "bladerf", "hackrf", "osmosdr", "redpitaya", "remote")} | {
    "lime": "lms7",
    "miri": "mirisdr",
    "rfspace": "rfspace",
    "rtlsdr": "rtlsdr",
    "uhd": "uhd",
}
"""Debian's ``soapysdr-module-*`` by the driver that is in it."""

# FATAL, CRITICAL, ERROR, WARNING, NOTICE, INFO; what lies above, single characters at overflows among it, is DEBUG.
_LEVELS = {1: 50, 2: 50, 3: 40, 4: 30, 5: 20, 6: 20}


class StreamCode(enum.IntEnum):
    """What `readStream` gives instead of a number of samples, by SoapySDR's names."""

    TIMEOUT = -1
    STREAM_ERROR = -2
    CORRUPTION = -3
    OVERFLOW = -4
    NOT_SUPPORTED = -5
    TIME_ERROR = -6
    UNDERFLOW = -7


HARMLESS = frozenset({StreamCode.TIMEOUT, StreamCode.OVERFLOW, StreamCode.TIME_ERROR, StreamCode.UNDERFLOW})
"""After these, reading goes on."""


def lock_name(entry: dict[str, str]) -> str:
    """Give the name under which a listed device is locked."""
    return f"{entry.get('driver', '')} {entry.get('serial') or entry.get('label', '')}".strip()


def code_name(code: int) -> str:
    """Give SoapySDR's name of an error code."""
    try:
        return StreamCode(code).name
    except ValueError:
        return f"error {code}"


def load_binding(driver: str = "") -> Any:
    """Import SoapySDR, and have its log go into ours.

    Raises
    ------
    ConfigError
        If it is not installed for this Python; the text says what to type.
    """
    try:
        binding = importlib.import_module("SoapySDR")
    except ImportError as error:
        raise ConfigError(
            f"SoapySDR's Python binding cannot be imported ({error}); type: apt-get install python3-soapysdr "
            f"{_package(driver)}"
        ) from error
    _take_over_log(binding)
    return binding


def _take_over_log(binding: Any) -> None:
    """Have SoapySDR's log go into ours, once: a second handler would put the default back as the first one is freed."""
    with _log_lock:
        if binding._SoapySDR_globalLogHandlers[0] is None:
            binding.registerLogHandler(_take_log)
            _log_handlers.append(binding._SoapySDR_globalLogHandlers[0])
            atexit.register(_leave_log, binding)


def _leave_log(binding: Any) -> None:
    """Put the default back: a driver's thread must not call into an interpreter that is gone."""
    with _log_lock:
        _log_handlers.clear()
        binding.registerLogHandler(None)


def _take_log(level: int, message: str) -> None:
    _driver_log.log(_LEVELS.get(level, logging.DEBUG), "%s", message.strip())


def _package(driver: str) -> str:
    return f"soapysdr-module-{_PACKAGES.get(driver, 'all')}"


def enumerate_devices(args: dict[str, str]) -> list[dict[str, str]]:
    """Give the devices that match; without a driver all are asked, which is slow and noisy.

    Raises
    ------
    ConfigError
        If the binding is missing, or no driver of that name is installed.
    """
    driver = args.get("driver", "")
    binding = load_binding(driver)
    try:
        found = [dict(entry) for entry in binding.Device.enumerate(args)]
    except RuntimeError as error:
        log.warning("the devices of driver %s cannot be listed: %s", driver or "(any)", error)
        found = []
    if not found and driver:
        # A driver that is not installed looks like a device that is not plugged in, but waiting for it is no use.
        drivers = {name for path in binding.listModules() for name in dict(binding.getLoaderResult(path))}
        if driver not in drivers:
            raise ConfigError(
                f"SoapySDR has no driver {driver!r}; it has {', '.join(sorted(drivers)) or 'none'}; type: "
                f"apt-get install {_package(driver)}"
            )
    return found


def describe(entry: dict[str, str], device: Any) -> DeviceLimits:
    """Ask an open device what it can do."""
    has_gain = bool(device.listGains(RX, CHANNEL))
    formats = tuple(device.getStreamFormats(RX, CHANNEL))
    arguments = {argument.key: argument for argument in device.getStreamArgsInfo(RX, CHANNEL)}
    length_key = next((key for key in ("bufflen", "buflen") if key in arguments), "")
    rates = [Span(rate, rate) for rate in device.listSampleRates(RX, CHANNEL)]
    bandwidths = [Span(width, width) for width in device.listBandwidths(RX, CHANNEL)]
    return DeviceLimits(
        driver=entry.get("driver", ""),
        serial=entry.get("serial", ""),
        label=entry.get("label", ""),
        rates=_merge(rates, device.getSampleRateRange(RX, CHANNEL)),
        frequencies=_merge([], device.getFrequencyRange(RX, CHANNEL)),
        bandwidths=_merge(bandwidths, device.getBandwidthRange(RX, CHANNEL)),
        gain=_span(device.getGainRange(RX, CHANNEL)) if has_gain else None,
        gain_elements={name: _span(device.getGainRange(RX, CHANNEL, name)) for name in device.listGains(RX, CHANNEL)},
        has_automatic_gain=bool(device.hasGainMode(RX, CHANNEL)),
        has_frequency_correction=bool(device.hasFrequencyCorrection(RX, CHANNEL)),
        antennas=tuple(device.listAntennas(RX, CHANNEL)),
        settings=tuple(setting.key for setting in device.getSettingInfo()),
        formats=formats,
        length_argument=_buffer_argument(arguments.get(length_key)),
        count_argument=_buffer_argument(arguments.get("buffers")),
    )


def _span(span: Any) -> Span:
    return Span(span.minimum(), span.maximum())


def _merge(values: list[Span], spans: Any) -> tuple[Span, ...]:
    """Join single values and ranges; a driver may list either or both."""
    ranges = [_span(span) for span in spans]
    alone = [value for value in values if not any(span.holds(value.low) for span in ranges)]
    return tuple(sorted({*alone, *ranges}, key=lambda span: (span.low, span.high)))


def _buffer_argument(argument: Any) -> BufferArgument | None:
    if argument is None or not argument.value.isdecimal():
        return None
    return BufferArgument(argument.key, int(argument.value), argument.units.lower() in ("bytes", "byte", "b"))


def open_device(entry: dict[str, str], args: dict[str, str], *, only_one: bool) -> Any:
    """Open an enumerated device: by its serial, else, when there is `only_one`, without.

    Raises
    ------
    DeviceError
        If it cannot be opened.
    """
    binding = load_binding()
    # Some drivers refuse their own label, so what the device was listed with is not simply handed back.
    listed = {key: value for key, value in entry.items() if key not in ("label", "serial")}
    serial = entry.get("serial") or args.get("serial")
    plain = {**listed, **{key: value for key, value in args.items() if key != "serial"}}
    name = f"{plain.get('driver')} {serial or entry.get('label', '')}".strip()
    try:
        return binding.Device({**plain, "serial": serial} if serial else plain)
    except RuntimeError as error:
        if not serial or not only_one or entry.get("serial"):
            raise DeviceError(f"{name} cannot be opened: {error}") from error
        log.warning("%s cannot be opened by its serial number (%s); opening the only one there is", name, error)
    try:
        return binding.Device(plain)
    except RuntimeError as error:
        raise DeviceError(f"{name} cannot be opened: {error}") from error
