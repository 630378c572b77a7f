"""Settings to an open SoapySDR device: each is checked against what the device lists, and then made.

A `RuntimeError` from here is the driver's: the device failed. A `ConfigError` is a setting that the device cannot have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

from app_core.base.errors import ConfigError
from app_core.base.iq_file import IqFormat
from app_core.radio import soapy_limits as legal
from app_core.radio.receiver import SoapySettings
from app_core.radio.soapy import CHANNEL, RX
from app_core.radio.soapy_limits import DeviceLimits

log = logging.getLogger(__name__)

_RATE_TOLERANCE = 1e-4
"""A tuner's divider is off by parts per million; what is off by more is another rate, taken in silence."""

_NATIVE_SIZES = {"CU8": 2, "CS8": 2, "CS16": 4, "CU16": 4}


def apply_settings(device: Any, limits: DeviceLimits, settings: SoapySettings) -> float:
    """Make everything but frequency and gain, and give the rate that the device took. [samples per second]

    Raises
    ------
    ConfigError
        If the device has not what a setting asks for.
    """
    for key, value in settings.device_settings.items():
        legal.check_device_setting(limits, key)
        device.writeSetting(key, str(value).lower() if isinstance(value, bool) else str(value))
    rate_hz = _set_rate(device, limits, settings.sample_rate_hz)
    if settings.bandwidth_hz is not None:
        legal.check_bandwidth(limits, settings.bandwidth_hz)
        device.setBandwidth(RX, CHANNEL, settings.bandwidth_hz)
    if settings.antenna is not None:
        legal.check_antenna(limits, settings.antenna)
        device.setAntenna(RX, CHANNEL, settings.antenna)
    if settings.frequency_correction_ppm:
        set_frequency_correction(device, limits, settings.frequency_correction_ppm)
    if settings.bias_tee:
        device.writeSetting(legal.bias_tee_key(limits), "true")
    elif settings.bias_tee is False and any(key in limits.settings for key in legal.BIAS_TEE_KEYS):
        device.writeSetting(legal.bias_tee_key(limits), "false")
    return rate_hz


def _set_rate(device: Any, limits: DeviceLimits, sample_rate_hz: float | None) -> float:
    rate_hz = legal.check_rate(limits, sample_rate_hz)
    device.setSampleRate(RX, CHANNEL, rate_hz)
    actual_hz = float(device.getSampleRate(RX, CHANNEL))
    if abs(actual_hz - rate_hz) > _RATE_TOLERANCE * rate_hz:
        raise ConfigError(
            f"{limits.name} took {actual_hz:.10g} S/s instead of sample_rate_hz = {rate_hz:.10g}; legal are "
            f"{legal.words(limits.legal_rates)}"
        )
    return actual_hz


def set_frequency(device: Any, limits: DeviceLimits, frequency_hz: float) -> float:
    """Tune, and give the frequency that the device took. [Hz]

    Raises
    ------
    ConfigError
        If it is out of the device's range.
    """
    legal.check_frequency(limits, frequency_hz)
    device.setFrequency(RX, CHANNEL, float(frequency_hz))
    return float(device.getFrequency(RX, CHANNEL))


def set_frequency_correction(device: Any, limits: DeviceLimits, correction_ppm: float) -> None:
    """Set the correction of the device's crystal. [parts per million]

    Raises
    ------
    ConfigError
        If the device has none.
    """
    if not limits.has_frequency_correction:
        raise ConfigError(f"{limits.name} has no frequency correction: remove frequency_correction_ppm")
    device.setFrequencyCorrection(RX, CHANNEL, float(correction_ppm))


def set_gains(
    device: Any, limits: DeviceLimits, gain_db: float | Literal["auto"] | None, gains_db: Mapping[str, float]
) -> None:
    """Set the gain as a whole, else the gains by name, else have the device choose. [dB]

    Raises
    ------
    ConfigError
        If the device has no such gain.
    """
    if gain_db is not None:
        set_gain(device, limits, gain_db)
    elif gains_db:
        for name, value_db in gains_db.items():
            legal.check_gain_element(limits, name, value_db)
        if limits.has_automatic_gain:
            device.setGainMode(RX, CHANNEL, False)
        for name, value_db in gains_db.items():
            device.setGain(RX, CHANNEL, name, value_db)
    elif limits.has_automatic_gain:
        device.setGainMode(RX, CHANNEL, True)
    elif limits.gain is not None:
        own_db = device.getGain(RX, CHANNEL)
        log.warning("%s has no automatic gain and stays at %.4g dB; set gain_db (%s)", limits.name, own_db, limits.gain)


def set_gain(device: Any, limits: DeviceLimits, gain_db: float | Literal["auto"]) -> None:
    """Set the gain as a whole, or have the device choose it. [dB]

    Raises
    ------
    ConfigError
        If the device has no such gain, or no automatic one.
    """
    legal.check_gain(limits, gain_db)
    if limits.has_automatic_gain:
        device.setGainMode(RX, CHANNEL, gain_db == "auto")
    if gain_db != "auto":
        device.setGain(RX, CHANNEL, float(gain_db))


def choose_format(limits: DeviceLimits, wanted: str) -> str:
    """Give the format of the stream: CF32, unless another is wanted.

    Raises
    ------
    ConfigError
        If the device has not the one that is wanted.
    """
    if wanted == "auto":
        return "CF32"
    if wanted not in limits.formats:
        raise ConfigError(
            f'stream_format = "{wanted}" is none of {limits.name}; legal are auto, {legal.words(limits.formats)}'
        )
    return wanted


def iq_format_of(limits: DeviceLimits, stream_format: str) -> IqFormat:
    """Give the narrowest format that holds a stream's samples."""
    if stream_format != "CF32":
        return "cu8" if stream_format == "CU8" else "cs16"
    # The floats of a converter of up to 16 bits; how a driver scales 8 bits is its own affair.
    return "cs16" if any(name in _NATIVE_SIZES for name in limits.formats) else "cf32"


def native_size(limits: DeviceLimits) -> int:
    """Give the size of one of the device's samples on its way, as its narrowest format tells. [bytes]"""
    return min((_NATIVE_SIZES.get(name, 8) for name in limits.formats), default=8)
