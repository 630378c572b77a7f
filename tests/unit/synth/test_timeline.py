"""What a channel sends when."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.synth.modulation import LOW_RATE_HZ, MODULATION_STEP, emphasis_gain
from app_core.synth.plan import Tone
from app_core.synth.timeline import ClipCarrier, SilentCarrier, Timeline, ToneCarrier

RAMP = np.arange(1, 41, dtype=np.int16)


def read(timeline: Timeline, sizes: Sequence[int]) -> NDArray[np.int64]:
    """Read pieces of these sizes, as stored units."""
    pieces = [np.full(size, np.nan, np.float32) for size in sizes]
    for piece in pieces:
        timeline.read(piece)
    stored: NDArray[np.int64] = np.rint(np.concatenate(pieces) / MODULATION_STEP).astype(np.int64)
    return stored


SIZES = st.lists(st.integers(1, 90), min_size=1, max_size=12)


@given(SIZES, st.integers(40, 70), st.integers(0, 100))
def test_a_loop_repeats_with_its_pause_from_before_the_start(sizes: list[int], period: int, start: int) -> None:
    position = np.arange(sum(sizes))
    index = (position - start) % period
    expected = np.where(index < 40, index + 1, 0)
    carrier = ClipCarrier(RAMP, start=start, period=period)
    np.testing.assert_array_equal(read(Timeline(carrier), sizes), expected)


@given(SIZES, st.integers(0, 100))
def test_a_clip_that_is_played_once_has_silence_around_it(sizes: list[int], start: int) -> None:
    position = np.arange(sum(sizes)) - start
    expected = np.where((position >= 0) & (position < 40), position + 1, 0)
    np.testing.assert_array_equal(read(Timeline(ClipCarrier(RAMP, start=start)), sizes), expected)


@given(SIZES, st.integers(0, 100))
def test_an_insertion_replaces_the_programme_which_goes_on_unseen(sizes: list[int], start: int) -> None:
    timeline = Timeline(ClipCarrier(RAMP, period=40))
    assert timeline.insert(start, np.full(30, 500, np.int16)) == start
    position = np.arange(sum(sizes))
    expected = np.where((position >= start) & (position < start + 30), 500, position % 40 + 1)
    np.testing.assert_array_equal(read(timeline, sizes), expected)


def test_an_insertion_that_comes_too_late_begins_now() -> None:
    timeline = Timeline(SilentCarrier())
    read(timeline, [100])
    assert timeline.insert(10, RAMP) == 100
    np.testing.assert_array_equal(read(timeline, [40]), RAMP)


def test_an_insertion_waits_for_the_one_before() -> None:
    timeline = Timeline(SilentCarrier())
    timeline.insert(10, RAMP)
    assert timeline.insert(20, RAMP) == 10 + 40 + LOW_RATE_HZ


def test_a_tone_is_continuous_and_has_its_pre_emphasised_level() -> None:
    timeline = Timeline(ToneCarrier(Tone(2_000.0, 0.25)))
    joined = np.concatenate([np.empty(n, np.float32) for n in (17, 400, 83)])
    for begin, end in ((0, 17), (17, 417), (417, 500)):
        timeline.read(joined[begin:end])
    spectrum = np.abs(np.fft.rfft(joined)) / 250
    assert spectrum.argmax() == 40
    assert spectrum[40] == pytest.approx(0.25 * emphasis_gain(2_000.0), rel=1e-3)
    assert np.delete(spectrum, 40).max() < 1e-5
