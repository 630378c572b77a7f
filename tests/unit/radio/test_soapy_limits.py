"""Settings against what devices list, without a device."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app_core.base.errors import ConfigError
from app_core.radio.soapy_limits import (
    BUFFERED_S,
    BufferArgument,
    DeviceLimits,
    Span,
    bias_tee_key,
    buffer_arguments,
    check_device_setting,
    check_gain,
    check_rate,
)

NOTHING = DeviceLimits("x", "1", "", (), (), (), None, {}, False, False, (), (), ("CF32",))
RTL = replace(
    NOTHING,
    driver="rtlsdr",
    length_argument=BufferArgument("bufflen", 262_144, in_bytes=True),
    count_argument=BufferArgument("buffers", 15, in_bytes=False),
)


def test_devices_that_list_nothing_are_known_by_their_driver() -> None:
    airspy = replace(NOTHING, driver="airspyhf")
    assert check_rate(airspy, None) == 256e3
    with pytest.raises(ConfigError, match="2400000 is not a rate of airspyhf 1; legal are 192000, 256000"):
        check_rate(airspy, 2.4e6)
    assert check_rate(NOTHING, 123_456.0) == 123_456.0


def test_rate_is_taken_from_the_lowest_range_that_reaches_the_band() -> None:
    assert check_rate(replace(NOTHING, rates=(Span(48e3, 48e3), Span(225_001.0, 300e3))), None) == 250e3
    assert check_rate(replace(NOTHING, rates=(Span(48e3, 48e3), Span(96e3, 96e3))), None) == 96e3
    assert check_rate(replace(NOTHING, rates=(Span(2.5e6, 2.5e6),)), 2_500_000.4) == 2_500_000.4


@pytest.mark.parametrize("rate_hz", [250e3, 1.024e6, 2.4e6, 3.2e6, 10e6])
@pytest.mark.parametrize("bytes_per_sample", [2, 4, 8])
def test_buffers_hold_half_a_second_and_come_often(rate_hz: float, bytes_per_sample: int) -> None:
    arguments = buffer_arguments(RTL, rate_hz, bytes_per_sample)
    length, count = int(arguments["bufflen"]), int(arguments["buffers"])
    bytes_per_second = rate_hz * bytes_per_sample
    assert (count - 1) * length >= BUFFERED_S * bytes_per_second
    assert length <= max(16_384, 0.04 * bytes_per_second)
    assert length % 16_384 == 0
    assert count >= 15


def test_length_in_samples_is_given_in_samples() -> None:
    limits = replace(RTL, length_argument=BufferArgument("buflen", 4096, in_bytes=False))
    assert int(buffer_arguments(limits, 2.4e6, 4)["buflen"]) * 4 == int(buffer_arguments(RTL, 2.4e6, 4)["bufflen"])


def test_driver_without_buffer_arguments_gets_none() -> None:
    assert buffer_arguments(NOTHING, 2.4e6, 2) == {}
    assert buffer_arguments(replace(RTL, length_argument=None), 2.4e6, 2) == {}


def test_bias_tee_is_found_under_its_drivers_name() -> None:
    assert bias_tee_key(replace(NOTHING, settings=("notch", "bias_tx"))) == "bias_tx"


def test_device_that_lists_no_settings_may_have_any() -> None:
    check_device_setting(NOTHING, "secret_switch")


@pytest.mark.parametrize("gain_db", ["loud", 10.0, "auto"])
def test_gain_of_a_device_without_one_is_refused(gain_db: float | str) -> None:
    with pytest.raises(ConfigError):
        check_gain(NOTHING, gain_db)
