"""Resampling into hops, the balance of the tones, and the history."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from app_core.eas.matched_filter import (
    DELAY,
    HOP,
    QUARTERS_PER_HOP,
    RATE,
    FrontEnd,
    SampleHistory,
    interpolation_table,
    low_cut,
)
from tests.unit.eas.same_audio import Pcm


def run(pcm: Pcm, rate_hz: float, sizes: list[int]) -> tuple[Pcm, Pcm]:
    front = FrontEnd(rate_hz)
    samples, balance = [], []
    start = turn = 0
    while start < len(pcm):
        size = sizes[turn % len(sizes)]
        front.push(pcm[start : start + size])
        while (hop := front.pop()) is not None:
            samples.append(hop[0])
            balance.append(hop[1])
        start, turn = start + size, turn + 1
    return np.concatenate(samples), np.concatenate(balance)


@pytest.mark.parametrize("rate_hz", [8000.0, 11025.0, 22050.0, 24000.0, 44100.0, 48000.0, 192000.0])
@pytest.mark.parametrize("frequency_hz", [1000.0, 1562.5, 2083.0, 2700.0])
def test_tones_pass_as_the_low_cut_says(rate_hz: float, frequency_hz: float) -> None:
    pcm = np.sin(2 * np.pi * frequency_hz * np.arange(int(0.4 * rate_hz)) / rate_hz).astype(np.float32)
    samples, _ = run(pcm, rate_hz, [1000])
    gain = response(frequency_hz)
    wanted = np.abs(gain) * np.sin(2 * np.pi * frequency_hz * np.arange(len(samples)) / float(RATE) + np.angle(gain))
    np.testing.assert_allclose(samples[200:], wanted[200:], atol=0.02)


def response(frequency_hz: float) -> complex:
    return complex(signal.sosfreqz(low_cut(), [frequency_hz], fs=float(RATE))[1][0])


def test_the_low_cut_spares_the_tones_and_takes_hum_away() -> None:
    assert abs(response(6250 / 3)) == pytest.approx(1.0, abs=0.01)
    assert abs(response(1562.5)) == pytest.approx(1.0, abs=0.01)
    assert abs(response(60.0)) < 1e-4
    # Its delay at the beat of the two tones is what positions are corrected by.
    turn = np.angle(response(1562.5) / response(6250 / 3)) / (2 * np.pi * (6250 / 3 - 1562.5))
    assert turn * float(RATE) == pytest.approx(DELAY, abs=0.05)


@pytest.mark.parametrize("rate_hz", [22050.0, 48000.0])
def test_what_would_fold_onto_the_tones_is_kept_out(rate_hz: float) -> None:
    frequency_hz = float(RATE) - 2083.0
    pcm = np.sin(2 * np.pi * frequency_hz * np.arange(int(0.4 * rate_hz)) / rate_hz).astype(np.float32)
    samples, _ = run(pcm, rate_hz, [1000])
    assert np.abs(samples[100:]).max() < 0.01


@pytest.mark.parametrize("rate_hz", [8000.0, 48000.0])
def test_the_table_has_unit_gain(rate_hz: float) -> None:
    np.testing.assert_allclose(interpolation_table(rate_hz).sum(axis=1), 1.0, rtol=1e-5)


NOISE = np.random.default_rng(3).standard_normal(30000).astype(np.float32)
WHOLE = run(NOISE, 22050.0, [len(NOISE)])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=8).filter(any))
def test_hops_do_not_depend_on_the_blocks(sizes: list[int]) -> None:
    for got, wanted in zip(run(NOISE, 22050.0, sizes), WHOLE, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_balance_tells_mark_from_space_where_it_says() -> None:
    rate_hz = float(RATE)
    t = np.arange(3 * HOP) / rate_hz
    change = 1504
    pcm = np.where(np.arange(len(t)) < change, np.sin(2 * np.pi * 6250 / 3 * t), np.sin(2 * np.pi * 1562.5 * t))
    _, balance = run(pcm.astype(np.float32), rate_hz, [500])
    assert len(balance) == 2 * QUARTERS_PER_HOP
    at_change = (change + 12) // 4
    assert np.all(balance[10 : at_change - 6] > 0.95)
    assert np.all(balance[at_change + 3 :] < -0.95)


def test_samples_that_are_not_finite_count_as_zero() -> None:
    pcm = np.full(4000, np.nan, np.float32)
    pcm[1000:2000] = np.inf
    samples, balance = run(pcm, 8000.0, [4000])
    assert not samples.any()
    assert not balance.any()


@pytest.mark.parametrize("rate_hz", [7999.0, 192001.0, float("nan")])
def test_other_rates_are_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="sample_rate_hz"):
        FrontEnd(rate_hz)


def test_history_gives_what_it_was_given_and_zeros_elsewhere() -> None:
    history = SampleHistory(2000)
    samples = np.arange(1, 40 * 300 + 1, dtype=np.float32)
    for start in range(0, len(samples), 300):
        history.append(samples[start : start + 300])
    assert history.end == len(samples)
    np.testing.assert_array_equal(history.cut(history.end - 2000, history.end), samples[-2000:])
    np.testing.assert_array_equal(history.cut(history.end - 2, history.end + 2), [*samples[-2:], 0, 0])
    assert not history.cut(0, 100).any()
    assert len(history.cut(50, 40)) == 0
