"""Samples as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.errors import ConfigError
from app_core.synth.quantise import to_bytes, to_ci16, to_cu8


@given(st.lists(st.complex_numbers(max_magnitude=3.0), min_size=1, max_size=50))
def test_eight_bits_are_nearest_and_clip_at_full_scale(values: list[complex]) -> None:
    iq = np.array(values, np.complex64)
    codes = to_cu8(iq)
    read = (codes.astype(np.float64) - 127.5) / 127.5
    expected = np.clip(iq.view(np.float32), -1.0, 1.0)
    assert codes.dtype == np.uint8
    assert np.abs(read - expected).max() <= 0.5 / 127.5 + 1e-6


def test_eight_bits_have_no_offset() -> None:
    noise = np.random.default_rng(1).normal(0.0, 0.02, 400_000).astype(np.float32).view(np.complex64)
    assert abs(to_cu8(noise).mean() - 127.5) < 0.02


def test_sixteen_bits_are_nearest_and_clip_at_full_scale() -> None:
    iq = np.array([0.5 - 0.25j, 2.0 - 2.0j, 1e-5j], np.complex64)
    np.testing.assert_array_equal(to_ci16(iq), [16_384, -8_192, 32_767, -32_767, 0, 0])


def test_bytes_are_interleaved_little_endian() -> None:
    iq = np.array([1.0 - 1.0j], np.complex64)
    assert to_bytes(iq, "cu8") == b"\xff\x00"
    assert to_bytes(iq, "ci16_le") == b"\xff\x7f\x01\x80"
    assert to_bytes(iq, "cf32_le") == b"\x00\x00\x80\x3f\x00\x00\x80\xbf"


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ci8' is none of cu8, ci16_le and cf32_le"):
        to_bytes(np.zeros(1, np.complex64), "ci8")
