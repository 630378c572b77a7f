"""The published slice: nothing folds in, cuts do not matter, gaps and times stay true."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.errors import ConfigError
from app_core.radio.decimator import Decimator, lowest_publish_rate_hz
from tests.support.signals import complex_noise, complex_tone, tone_amplitude

RATE_HZ, SLICE_HZ = 2_400_000.0, 250_000.0
CENTER_HZ, SLICE_CENTER_HZ = 162_800_000.0, 162_475_000.0
EPOCH = 1_700_000_000_000_000_000


def _block(iq: NDArray[np.complex64], first_sample: int = 0, epoch: int = EPOCH) -> IqBlock:
    return IqBlock(iq, RATE_HZ, CENTER_HZ, first_sample, 1.7e9 + first_sample / RATE_HZ, epoch)


def _decimator(samples_per_message: int = 4096) -> Decimator:
    return Decimator(SLICE_HZ, SLICE_CENTER_HZ, samples_per_message)


def _all(decimator: Decimator, *blocks: IqBlock) -> list[IqBlock]:
    return [message for block in blocks for message in decimator.push(block)] + decimator.flush()


def _assert_follows(messages: list[IqBlock]) -> None:
    for before, after in itertools.pairwise(messages):
        assert after.first_sample == before.first_sample + len(before.iq)


@pytest.mark.parametrize("offset_hz", [0.0, 40_000.0, -99_000.0])
def test_a_signal_in_the_slice_keeps_its_level_at_its_frequency(offset_hz: float) -> None:
    tone = complex_tone(SLICE_CENTER_HZ + offset_hz - CENTER_HZ, RATE_HZ, 480_000, 0.5)
    messages = _all(_decimator(), _block(tone))
    slice_iq = np.concatenate([message.iq for message in messages])[5000:45_000]
    assert tone_amplitude(slice_iq, offset_hz, SLICE_HZ) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("away_hz", [125_000.0, 150_000.0, 249_000.0, 500_000.0, -125_500.0, -251_000.0, 1_000_000.0])
def test_a_signal_outside_is_seventy_decibels_down_wherever_it_would_fold_to(away_hz: float) -> None:
    tone = complex_tone(SLICE_CENTER_HZ + away_hz - CENTER_HZ, RATE_HZ, 480_000, 1.0)
    messages = _all(_decimator(), _block(tone))
    slice_iq = np.concatenate([message.iq for message in messages])[5000:45_000]
    assert 10.0 * np.log10(np.mean(np.abs(slice_iq) ** 2)) < -80.0


@given(cuts=st.lists(st.integers(0, 120_000), max_size=8))
def test_the_slice_does_not_depend_on_where_the_capture_is_cut(cuts: list[int]) -> None:
    iq = complex_noise(120_000, 0.01, 3)
    whole = _all(_decimator(1024), _block(iq, 48_000))
    edges = [0, *sorted(cuts), len(iq)]
    parts = [_block(iq[a:b], 48_000 + a) for a, b in itertools.pairwise(edges)]
    cut = _all(_decimator(1024), *parts)
    assert [(m.first_sample, len(m.iq), m.timestamp) for m in cut] == [
        (m.first_sample, len(m.iq), m.timestamp) for m in whole
    ]
    assert np.array_equal(np.concatenate([m.iq for m in cut]), np.concatenate([m.iq for m in whole]))


def test_messages_carry_rate_frequency_count_and_time_of_the_slice() -> None:
    messages = _all(_decimator(4096), _block(complex_noise(960_000, 0.01, 1), 2_400_000))
    assert {(m.sample_rate_hz, m.center_frequency_hz, m.config_epoch) for m in messages} == {
        (SLICE_HZ, SLICE_CENTER_HZ, EPOCH)
    }
    assert messages[0].first_sample == 250_000
    assert sum(len(message.iq) for message in messages) == 100_000
    assert {len(message.iq) for message in messages[:-1]} == {4096}
    _assert_follows(messages)
    for message in messages:
        assert message.timestamp == pytest.approx(1.7e9 + message.first_sample / SLICE_HZ, abs=1e-6)


def test_a_loss_ends_a_message_and_shows_as_a_jump_of_the_same_length() -> None:
    iq = complex_noise(480_000, 0.01, 1)
    lost = 96_000 + 5
    messages = _all(_decimator(), _block(iq[:200_003]), _block(iq[200_003:], 200_003 + lost))
    ends = [message.first_sample + len(message.iq) for message in messages]
    jumps = [after.first_sample - end for end, after in zip(ends[:-1], messages[1:], strict=True)]
    assert sorted(jumps)[-1] == round((200_003 + lost) * SLICE_HZ / RATE_HZ) - round(200_003 * SLICE_HZ / RATE_HZ)
    assert sum(jumps) == max(jumps)
    assert ends[-1] == round((480_000 + lost) * SLICE_HZ / RATE_HZ)
    after = messages[jumps.index(max(jumps)) + 1]
    assert after.timestamp == pytest.approx(1.7e9 + (200_003 + lost) / RATE_HZ, abs=1e-6)


@given(lost=st.integers(1, 30), cut=st.integers(100, 5000))
def test_a_loss_shorter_than_a_published_sample_never_makes_messages_overlap(lost: int, cut: int) -> None:
    iq = complex_noise(10_000, 0.01, 1)
    messages = _all(_decimator(64), _block(iq[:cut], 7), _block(iq[cut:], 7 + cut + lost))
    for before, after in itertools.pairwise(messages):
        assert after.first_sample >= before.first_sample + len(before.iq)


def test_a_new_tuning_begins_a_new_run() -> None:
    decimator = _decimator()
    iq = complex_noise(240_000, 0.01, 1)
    messages = decimator.push(_block(iq))
    retuned = replace(
        _block(iq, 240_000, EPOCH + 1), center_frequency_hz=CENTER_HZ + 50_000.0, frequency_correction_ppm=12.0
    )
    messages += decimator.push(retuned) + decimator.flush()
    assert {(m.config_epoch, m.center_frequency_hz, m.frequency_correction_ppm) for m in messages} == {
        (EPOCH, SLICE_CENTER_HZ, None),
        (EPOCH + 1, SLICE_CENTER_HZ, 12.0),
    }
    assert sum(len(m.iq) for m in messages if m.config_epoch == EPOCH) == 25_000


def test_a_slice_beyond_the_capture_falls_back_to_its_centre(caplog: pytest.LogCaptureFixture) -> None:
    messages = _all(Decimator(SLICE_HZ, 100e6, 4096), _block(complex_noise(96_000, 0.01, 1)))
    assert {message.center_frequency_hz for message in messages} == {CENTER_HZ}
    assert "is not in the capture" in caplog.text


@pytest.mark.parametrize(("rate_hz", "lowest_hz"), [(2_400_000.0, 586.0), (10_000_000.0, 2442.0)])
def test_a_rate_so_low_that_its_filter_would_take_all_memory_is_refused_with_the_lowest(
    rate_hz: float, lowest_hz: float
) -> None:
    assert lowest_publish_rate_hz(rate_hz) == lowest_hz
    block = replace(_block(complex_noise(1000, 0.01, 1)), sample_rate_hz=rate_hz)
    for publish_rate_hz in (1e-9, 1.0, lowest_hz - 1.0):
        with pytest.raises(ConfigError, match=f"S/s: the lowest is {lowest_hz:.0f}$"):
            Decimator(publish_rate_hz, None, 4096).push(block)


def test_the_lowest_rate_that_is_not_refused_gives_a_slice() -> None:
    lowest_hz = lowest_publish_rate_hz(RATE_HZ)
    messages = _all(Decimator(lowest_hz, None, 1024), _block(complex_noise(1_200_000, 0.01, 1)))
    assert sum(len(message.iq) for message in messages) == lowest_hz / 2.0


def test_a_capture_that_is_slower_is_published_as_it_is() -> None:
    iq = complex_noise(10_000, 0.01, 1)
    messages = _all(Decimator(10e6, None, 4096), _block(iq, 5))
    assert [(m.first_sample, len(m.iq), m.sample_rate_hz) for m in messages] == [
        (5, 4096, RATE_HZ),
        (4101, 4096, RATE_HZ),
        (8197, 1808, RATE_HZ),
    ]
    assert np.array_equal(np.concatenate([m.iq for m in messages]), iq)
