"""The JSON of the contract: every field by its name, as users and their scripts know it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.errors import WireError
from app_core.bridge.messages import (
    MAX_MESSAGE_BYTES,
    AudioHeartbeatMessage,
    AudioMetricsMessage,
    HeartbeatMessage,
    Message,
    RingBufferMessage,
    SamplesMessage,
    SdrMetricsMessage,
    SpectrumMessage,
    plain_number,
)

# Written out by hand from the contract, so that a renamed field shows here.
_DOCUMENTS: dict[type[Message], dict[str, Any]] = {
    SamplesMessage: {
        "receiver_id": "noaa-1",
        "timestamp": 1701532800.123,
        "sample_count": 32768,
        "sample_rate": 2500000,
        "center_frequency": 162550000,
        "encoding": "zlib+base64",
        "samples": "eJw=",
        "first_sample": 98304,
        "sequence": 3,
        "config_epoch": 1701532800000000000,
        "frequency_correction_ppm": -2.5,
    },
    SpectrumMessage: {
        "identifier": "noaa-1",
        "spectrum": [0.1, 0.2],
        "fft_size": 2048,
        "sample_rate": 2500000,
        "center_frequency": 162550000,
        "timestamp": 1701532800.123,
        "status": "available",
        "dbfs_min": -120.0,
        "dbfs_max": 0.0,
    },
    RingBufferMessage: {
        "fill_percentage": 25.5,
        "overflow_count": 1,
        "underflow_count": 2,
        "total_samples_written": 1234567890,
        "total_samples_read": 1234567000,
        "size": 2500096,
        "dropped_samples": 5,
    },
    HeartbeatMessage: {"timestamp": 1701532800.123, "pid": 12345, "receiver_count": 1},
    AudioHeartbeatMessage: {"timestamp": 1701532800.123, "pid": 12345, "channel_count": 7},
    SdrMetricsMessage: {
        "service": "sdr_service",
        "timestamp": 1701532800.123,
        "pid": 12345,
        "receivers": {
            "noaa-1": {
                "running": True,
                "locked": True,
                "signal_strength": 0.42,
                "frequency_hz": 162550000,
                "sample_rate": 2500000,
                "ring_buffer": {"fill_percentage": 25.5, "overflow_count": 0},
            }
        },
    },
    AudioMetricsMessage: {
        "service": "audio_service",
        "timestamp": 1701532800.123,
        "pid": 12345,
        "receivers": {},
        "channels": {},
        "fft_library": "FFTW",
    },
}

_ADDED = {
    "first_sample",
    "sequence",
    "config_epoch",
    "frequency_correction_ppm",
    "dropped_samples",
    "service",
    "fft_library",
}
"""Fields that the seed's document does not have, or that have a fixed value: they may be missing."""

_KINDS = list(_DOCUMENTS)


@pytest.mark.parametrize("kind", _KINDS)
def test_the_contracts_fields_are_read_and_written_by_their_names(kind: type[Message]) -> None:
    document = _DOCUMENTS[kind]
    written = json.loads(kind.from_json(json.dumps(document)).to_json())
    assert {name: written[name] for name in document} == document


@pytest.mark.parametrize("kind", _KINDS)
def test_a_message_has_no_field_that_this_test_does_not_know(kind: type[Message]) -> None:
    grown = {"alerts", "commands", "redis", "workers"}
    assert set(kind.model_fields) - grown == set(_DOCUMENTS[kind])


@pytest.mark.parametrize("kind", _KINDS)
def test_a_missing_field_is_named(kind: type[Message]) -> None:
    for name in set(_DOCUMENTS[kind]) - _ADDED:
        document = {key: value for key, value in _DOCUMENTS[kind].items() if key != name}
        with pytest.raises(WireError, match=rf"{kind.__name__}: {name}: "):
            kind.from_json(json.dumps(document))


@pytest.mark.parametrize("kind", _KINDS)
def test_unknown_fields_are_left_alone(kind: type[Message]) -> None:
    document = {**_DOCUMENTS[kind], "added_by_a_later_version": [1, {"a": None}]}
    assert kind.from_json(json.dumps(document)) == kind.from_json(json.dumps(_DOCUMENTS[kind]))


@pytest.mark.parametrize("kind", _KINDS)
@given(payload=st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_wire_error(kind: type[Message], payload: bytes) -> None:
    with pytest.raises(WireError):
        kind.from_json(payload)


@pytest.mark.parametrize("kind", [kind for kind in _KINDS if kind is not SamplesMessage])
def test_a_long_message_is_refused_before_it_is_parsed(kind: type[Message]) -> None:
    with pytest.raises(WireError, match="longer than"):
        kind.from_json(b" " * (MAX_MESSAGE_BYTES + 1))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (SpectrumMessage, {"spectrum": [1.01]}),
        (SpectrumMessage, {"spectrum": [-0.01]}),
        (SpectrumMessage, {"spectrum": ["0.5"]}),
        (SpectrumMessage, {"fft_size": 0}),
        (RingBufferMessage, {"fill_percentage": 100.1}),
        (RingBufferMessage, {"overflow_count": -1}),
        (HeartbeatMessage, {"pid": "12345"}),
        (HeartbeatMessage, {"receiver_count": 1.0}),
        (SdrMetricsMessage, {"service": "audio_service"}),
        (SdrMetricsMessage, {"receivers": []}),
        (AudioMetricsMessage, {"service": "sdr_service"}),
    ],
)
def test_a_senseless_value_is_refused_by_its_name(kind: type[Message], changes: dict[str, Any]) -> None:
    with pytest.raises(WireError, match=next(iter(changes))):
        kind.from_json(json.dumps({**_DOCUMENTS[kind], **changes}))


def test_a_refusal_does_not_repeat_what_it_was_given() -> None:
    document = {**_DOCUMENTS[HeartbeatMessage], "pid": "x" * 10_000}
    with pytest.raises(WireError) as refusal:
        HeartbeatMessage.from_json(json.dumps(document))
    assert len(str(refusal.value)) < 200


def test_whole_numbers_lose_their_point() -> None:
    assert repr(plain_number(162_550_000.0)) == "162550000"
    assert repr(plain_number(162_550_000.5)) == "162550000.5"
