"""The ``[[receivers]]`` tables: what may stand in them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app_core.base.errors import ConfigError
from app_core.radio.receiver import AnyReceiverSettings, ReplaySettings, RtlTcpSettings, read_size

_ADAPTER: TypeAdapter[Any] = TypeAdapter(AnyReceiverSettings)


def test_the_driver_says_what_a_table_is() -> None:
    assert isinstance(_ADAPTER.validate_python({"id": "a", "driver": "replay", "path": "x.cu8"}), ReplaySettings)
    assert isinstance(_ADAPTER.validate_python({"id": "a", "driver": "rtl_tcp"}), RtlTcpSettings)


def test_the_defaults_are_the_contracts() -> None:
    settings = RtlTcpSettings(id="noaa-1", driver="rtl_tcp")
    assert (settings.samples_per_message, settings.ring_seconds, settings.fft_size) == (32_768, 1.0, 2048)
    assert (settings.ring_min_samples, settings.ring_max_samples) == (262_144, 4_194_304)
    assert settings.spectrum_rows_per_second >= 10


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "a b"},
        {"driver": "soapy"},
        {"port": 0},
        {"sample_rate_hz": 0},
        {"sample_rat_hz": 250_000},
        {"spectrum_rows_per_second": 9.9},
        {"ring_seconds": 0},
        {"samples_per_message": 2_000_000},
        {"locked_snr_db": float("nan")},
        # A message that the ring cannot hold four times would never be full, or leave no room to write.
        {"ring_max_samples": 4 * 32_768 - 1, "ring_min_samples": 4096},
        {"ring_max_samples": 200_000},
    ],
)
def test_a_senseless_table_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        _ADAPTER.validate_python({"id": "a", "driver": "rtl_tcp", **changes})


def test_a_read_is_fifty_milliseconds() -> None:
    assert read_size(2_500_000) == 125_000
    assert read_size(1000.0) == 1024


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan")])
def test_a_rate_of_nothing_is_refused(rate_hz: float) -> None:
    with pytest.raises(ConfigError):
        read_size(rate_hz)
