"""PCM frames between the jobs: 16 bits exact, and nothing that a hostile frame can break."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.blocks import PcmBlock
from app_core.base.errors import WireError
from app_core.bridge.pcm_frame import MAX_SAMPLES_PER_FRAME, decode_pcm, encode_pcm

_LAYOUT = "<4sBBHdQdQII"


def _block(pcm: list[float] | np.ndarray[Any, Any]) -> PcmBlock:
    return PcmBlock(
        np.asarray(pcm, dtype=np.float32), 16_000.0, 2**40 + 1, 1_701_532_800.125, 1_701_532_800_000_000_001
    )


def _frame(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "magic": b"HPCM",
        "version": 1,
        "format": 1,
        "channels": 1,
        "rate": 16_000.0,
        "first": 0,
        "timestamp": 1.7e9,
        "epoch": 0,
        "count": 2,
        "reserved": 0,
        **changes,
    }
    samples: bytes = fields.pop("samples", bytes(4))
    return struct.pack(_LAYOUT, *fields.values()) + samples


@given(samples=st.lists(st.integers(-32767, 32767), max_size=200))
def test_sixteen_bits_come_back_exactly(samples: list[int]) -> None:
    pcm = np.array(samples, dtype=np.float32) / np.float32(32767)
    sent = _block(pcm)
    got = decode_pcm(encode_pcm(sent))
    assert np.array_equal(np.rint(got.pcm * 32767), np.array(samples, dtype=np.float32))
    assert got.pcm.dtype == np.float32
    for name in ("sample_rate_hz", "first_sample", "timestamp", "config_epoch"):
        assert getattr(got, name) == getattr(sent, name)


def test_the_layout_is_the_documented_one() -> None:
    frame = encode_pcm(_block([0.0, 1.0, -1.0]))
    assert frame[:4] == b"HPCM"
    assert tuple(frame[4:6]) == (1, 1)
    assert struct.unpack_from("<H", frame, 6) == (1,)
    assert struct.unpack_from("<d", frame, 8) == (16_000.0,)
    assert struct.unpack_from("<Q", frame, 16) == (2**40 + 1,)
    assert struct.unpack_from("<d", frame, 24) == (1_701_532_800.125,)
    assert struct.unpack_from("<Q", frame, 32) == (1_701_532_800_000_000_001,)
    assert struct.unpack_from("<II", frame, 40) == (3, 0)
    assert struct.unpack("<3h", frame[48:]) == (0, 32767, -32767)


def test_what_is_beyond_full_scale_is_clipped_to_it_and_nan_is_silence() -> None:
    got = decode_pcm(encode_pcm(_block([1.5, -1.5, np.inf, -np.inf, np.nan, 1e30, -1e30])))
    assert got.pcm.tolist() == [1.0, -1.0, 1.0, -1.0, 0.0, 1.0, -1.0]


@pytest.mark.parametrize("rate_hz", [4_000.0, 8_000.0, 192_000.0, 384_000.0])
def test_every_rate_that_audio_has_is_read(rate_hz: float) -> None:
    assert decode_pcm(_frame(rate=rate_hz)).sample_rate_hz == rate_hz


def test_a_frame_made_by_hand_is_read() -> None:
    assert decode_pcm(_frame()).pcm.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        _frame()[:47],
        _frame()[:-1],
        _frame() + b"\x00",
        _frame(magic=b"RIFF"),
        _frame(version=2),
        _frame(format=2),
        _frame(channels=0),
        _frame(channels=2),
        _frame(rate=0.0),
        _frame(rate=-1.0),
        _frame(rate=1e-308),
        _frame(rate=3_999.0),
        _frame(rate=384_001.0),
        _frame(rate=1e12),
        _frame(rate=float("nan")),
        _frame(rate=float("inf")),
        _frame(rate=1e-308),
        _frame(rate=3_999.0),
        _frame(rate=384_001.0),
        _frame(rate=1e12),
        _frame(timestamp=float("nan")),
        _frame(count=3),
        _frame(count=0),
        _frame(count=0xFFFFFFFF),
        _frame(count=MAX_SAMPLES_PER_FRAME + 1, samples=bytes(2 * (MAX_SAMPLES_PER_FRAME + 1))),
    ],
)
def test_a_malformed_frame_is_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        decode_pcm(frame)


@pytest.mark.parametrize("rate_hz", [4_000.0, 22_050.0, 384_000.0])
def test_the_rates_of_audio_are_taken(rate_hz: float) -> None:
    assert decode_pcm(_frame(rate=rate_hz)).sample_rate_hz == rate_hz


@given(
    frame=st.one_of(st.binary(max_size=200), st.binary(max_size=100).map(lambda tail: b"HPCM\x01\x01\x01\x00" + tail))
)
def test_no_bytes_raise_anything_but_a_wire_error(frame: bytes) -> None:
    with contextlib.suppress(WireError):
        decode_pcm(frame)


def test_two_channels_are_carried_side_by_side() -> None:
    sent = PcmBlock(np.array([[0.5, -0.5], [0.25, 0.0], [1.0, -1.0]], np.float32), 48_000.0, 7, 1e9, 3)
    frame = encode_pcm(sent)
    assert frame[6:8] == b"\x02\x00"
    got = decode_pcm(frame)
    assert got.pcm.shape == (3, 2)
    assert np.allclose(got.pcm, sent.pcm, atol=1e-4)
    with pytest.raises(WireError):
        decode_pcm(frame[:-4])
    with pytest.raises(WireError):
        decode_pcm(frame[:6] + b"\x03\x00" + frame[8:])
