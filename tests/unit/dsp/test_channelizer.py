from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.dsp._stack_kernels import deal_sane, turn_rows, unfold_bins
from app_core.dsp.capture_frame import Loops
from app_core.dsp.channel_stack import PLAIN_LOOPS
from app_core.dsp.channelizer import Channelizer, ChannelSpec
from app_core.dsp.frame_bank import FrameBank
from tests.support.signals import complex_noise, complex_tone, tone_amplitude

# The last one fits no FFT pair, so a resampler follows.
RATES = [24e3, 240e3, 250e3, 256e3, 912e3, 1.024e6, 2.4e6, 2.5e6, 2_083_334.0]

# What frames are laid out for where channels come and go: multiples of 8 kS/s, 4 kHz from pass band to stop band.
KINDS = [ChannelSpec(0.0, 16_000.0, 24_000.0), ChannelSpec(0.0, 1.0, 8_000.0)]


COMPILED = Loops(np.copyto, turn_rows, lambda rows, place, iq: deal_sane(rows, place, iq, 1e6), unfold_bins)
LOOPS = {"plain": PLAIN_LOOPS, "compiled": COMPILED}


def nfm(offset_hz: float) -> ChannelSpec:
    return ChannelSpec(offset_hz, 16_000.0, 24_000.0)


def run(channelizer: Channelizer, iq: NDArray[np.complex64], *cuts: int) -> list[NDArray[np.complex64]]:
    parts = [channelizer.push(iq[a:b]) for a, b in pairwise([0, *sorted(cuts), iq.shape[0]])]
    parts.append(channelizer.flush())
    return [np.concatenate(channel) for channel in zip(*parts, strict=True)]


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("share", [0.0, 0.3, -0.4321])
def test_a_tone_keeps_its_amplitude_frequency_and_phase(rate_hz: float, share: float) -> None:
    offset_hz = share * (rate_hz - 16_000.0)
    n = int(0.2 * rate_hz)
    for baseband_hz in (0.0, 3000.0, -7900.0):
        (got,) = run(Channelizer(rate_hz, [nfm(offset_hz)]), complex_tone(offset_hz + baseband_hz, rate_hz, n))
        wanted = complex_tone(baseband_hz, 24_000.0, got.shape[0])
        np.testing.assert_allclose(got[60:-60], wanted[60:-60], atol=1e-3)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("n", [1, 5000, 123_457])
def test_output_count_is_exact(rate_hz: float, n: int) -> None:
    (got,) = run(Channelizer(rate_hz, [nfm(0.0)]), np.zeros(n, np.complex64))
    assert got.shape[0] == -(-n * 24_000 // int(rate_hz))


@pytest.mark.parametrize("rate_hz", RATES[1:])
@pytest.mark.parametrize("offset_hz", [0.0, 25_000.0, -75_000.0, 12_345.678])
def test_the_adjacent_channel_is_70_db_down(rate_hz: float, offset_hz: float) -> None:
    channelizer = Channelizer(rate_hz, [nfm(offset_hz)])
    n = int(0.1 * rate_hz)
    for side in (-1, 1):
        for baseband_hz in (-8000.0, -2000.0, 0.0, 5000.0, 8000.0):
            tone_hz = offset_hz + side * 25_000.0 + baseband_hz
            if abs(tone_hz) > rate_hz / 2.0:
                continue
            (got,) = run(channelizer, complex_tone(tone_hz, rate_hz, n))
            assert np.abs(got[60:-60]).max() < 10.0 ** (-70.0 / 20.0)


@pytest.mark.parametrize("rate_hz", [250e3, 2.4e6, 1_000_001.0])
@pytest.mark.parametrize("spec", [nfm(12_345.678), ChannelSpec(-9_999.0, 19_000.0, 24_000.0)])
def test_nothing_beyond_the_stop_band_is_heard(rate_hz: float, spec: ChannelSpec) -> None:
    channelizer = Channelizer(rate_hz, [spec], KINDS)
    n = int(0.06 * rate_hz)
    for distance_hz in (12_000.0, 12_300.0, 13_000.0, 17_000.0, 24_000.0, 47_000.0, 90_001.0):
        for side in (-1, 1):
            tone_hz = spec.offset_hz + side * distance_hz
            (got,) = channelizer.push(complex_tone(tone_hz, rate_hz, n))
            channelizer.reset()
            limit_db = -84.0 if distance_hz < 24_000.0 else -95.0
            assert np.abs(got[60:]).max() < 10.0 ** (limit_db / 20.0)


@settings(max_examples=80, deadline=None)
@given(
    rate_hz=st.sampled_from([250e3, 912e3, 1.024e6, 1_000_001.0, 2_083_334.0]),
    cuts=st.lists(st.integers(0, 30_000), max_size=12),
    loops=st.sampled_from(sorted(LOOPS)),
)
def test_cutting_the_input_changes_nothing(rate_hz: float, cuts: list[int], loops: str) -> None:
    specs = [nfm(25_000.0), nfm(-31_234.5), ChannelSpec(0.0, 30_000.0, 48_000.0)]
    iq = complex_noise(30_000, 0.1, seed=4)
    wanted = run(Channelizer(rate_hz, specs, loops=LOOPS[loops]), iq)
    got = run(Channelizer(rate_hz, specs, loops=LOOPS[loops]), iq, *cuts)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_single_samples_are_as_good_as_a_block() -> None:
    iq = complex_noise(9000, 0.1, seed=5)
    wanted = run(Channelizer(250e3, [nfm(10_000.0)]), iq)
    got = run(Channelizer(250e3, [nfm(10_000.0)]), iq, *range(1, 9000))
    np.testing.assert_array_equal(got, wanted)


def test_a_block_larger_than_a_batch_is_the_same_as_many_small_ones() -> None:
    iq = complex_noise(700_000, 0.1, seed=5)
    wanted = run(Channelizer(250e3, [nfm(10_000.0)]), iq, *range(10_000, 700_000, 10_000))
    np.testing.assert_array_equal(run(Channelizer(250e3, [nfm(10_000.0)]), iq), wanted)


@settings(max_examples=40, deadline=None)
@given(
    rate_hz=st.sampled_from([250e3, 912e3, 1.024e6, 1_000_001.0]),
    places=st.lists(st.integers(0, 40_000), min_size=4, max_size=4),
    cuts=st.lists(st.integers(0, 40_000), max_size=6),
    loops=st.sampled_from(sorted(LOOPS)),
)
def test_channels_that_come_and_go_leave_the_others_as_they_are(
    rate_hz: float, places: list[int], cuts: list[int], loops: str
) -> None:
    def make(specs: Sequence[ChannelSpec]) -> Channelizer:
        return Channelizer(rate_hz, specs, KINDS, LOOPS[loops], expected=staying)

    staying = [nfm(25_000.0), ChannelSpec(-50_000.0, 25_000.0, 40_000.0), nfm(-33_333.0)]
    going = [nfm(0.0), ChannelSpec(-20_000.0, 19_000.0, 24_000.0)]
    coming = [nfm(50_000.0), ChannelSpec(10_000.0, 25_000.0, 40_000.0)]
    iq = complex_noise(40_000, 0.1, seed=9)
    wanted = run(make(staying), iq)
    alone = run(make(going), iq)
    channelizer = make([going[0], *staying[:2], going[1], staying[2]])
    first_away, first_new, second_away, second_new = sorted(places)
    outputs: dict[int, list[NDArray[np.complex64]]] = {key: [] for key in range(7)}
    keys = list(range(5))
    last = 0
    steps = sorted(
        [(place, "cut") for place in cuts] + list(zip(sorted(places), "abcd", strict=True)) + [(40_000, "z")]
    )
    for place, step in steps:
        for key, part in zip(keys, channelizer.push(iq[last:place]), strict=True):
            outputs[key].append(part)
        last = place
        if step in "ac":
            key = 0 if step == "a" else 3
            outputs[key].append(channelizer.remove(key))
            keys.remove(key)
        elif step in "bd":
            keys += channelizer.add([coming[0] if step == "b" else coming[1]])
    for key, part in zip(keys, channelizer.flush(), strict=True):
        outputs[key].append(part)
    got = {key: np.concatenate(parts) for key, parts in outputs.items()}
    for key, one in zip((1, 2, 4), wanted, strict=True):
        np.testing.assert_array_equal(got[key], one)
    # What went away was given out up to the end of what it had heard, and was the same while it was there.
    for key, end, one in zip((0, 3), (first_away, second_away), alone, strict=True):
        assert got[key].shape[0] == -(-end * 24_000 // int(rate_hz))
        settled = max(got[key].shape[0] - 60, 0)
        np.testing.assert_allclose(got[key][:settled], one[:settled], atol=1e-5)
    for key, begin, spec in zip((5, 6), (first_new, second_new), coming, strict=True):
        ratio = int(spec.output_rate_hz), int(rate_hz)
        first_output = -(-begin * ratio[0] // ratio[1])
        (whole,) = run(make([spec]), iq)
        assert got[key].shape[0] == whole.shape[0] - first_output
        # It begins as if it had always been there, if its resampler, where it has one, has settled.
        np.testing.assert_allclose(got[key][60:], whole[first_output + 60 :], atol=1e-6)
        if rate_hz != 1_000_001.0:
            np.testing.assert_allclose(got[key], whole[first_output:], atol=1e-6)


def test_a_channel_that_is_not_there_cannot_be_removed() -> None:
    channelizer = Channelizer(250e3, [nfm(0.0)])
    channelizer.remove(0)
    assert channelizer.push(np.zeros(10_000, np.complex64)) == []
    with pytest.raises(KeyError):
        channelizer.remove(0)


def test_a_channel_that_cannot_be_added_leaves_the_others_alone() -> None:
    channelizer = Channelizer(250e3, [nfm(0.0)], KINDS)
    with pytest.raises(ValueError, match="beyond"):
        channelizer.add([nfm(10_000.0), nfm(124_000.0)])
    assert len(channelizer.push(np.zeros(10_000, np.complex64))) == 1


def test_alike_channels_that_come_together_stand_in_one_array() -> None:
    wide = ChannelSpec(0.0, 25_000.0, 40_000.0)
    channelizer = Channelizer(250e3, [nfm(0.0), wide, nfm(50_000.0)], KINDS)
    channelizer.add([nfm(-50_000.0)])
    iq = complex_noise(20_000, 0.1, seed=3)
    stacks = channelizer.push_stacks(iq)
    assert [keys for keys, _ in stacks] == [[0, 2], [1], [3]]
    rows = Channelizer(250e3, [nfm(0.0), wide, nfm(50_000.0), nfm(-50_000.0)], KINDS).push(iq)
    for keys, samples in stacks:
        for key, row in zip(keys, samples, strict=True):
            np.testing.assert_array_equal(row, rows[key])


@pytest.mark.parametrize(("rate_hz", "is_folded"), [(250e3, False), (1.024e6, True), (2.4e6, True)])
def test_compiled_loops_and_folded_frames_give_the_same_channels(rate_hz: float, is_folded: bool) -> None:
    # The third reaches around the end of the capture's bins, where its stop band begins.
    specs = [nfm(25_000.0), nfm(-31_234.5), nfm(rate_hz / 2.0 - 8_000.0), ChannelSpec(0.0, 30_000.0, 48_000.0)]
    iq = complex_noise(100_000, 0.1, seed=4)
    compiled = Channelizer(rate_hz, specs, KINDS, COMPILED)
    assert isinstance(compiled._bank, FrameBank)
    assert (compiled._bank.plan.n_rows > 1) == is_folded
    for a, b in zip(run(compiled, iq), run(Channelizer(rate_hz, specs, KINDS), iq), strict=True):
        # The frames are others, and so is what little is left of the stop band.
        np.testing.assert_allclose(a[30:-30], b[30:-30], atol=1e-5)


def test_channels_side_by_side_do_not_disturb_each_other() -> None:
    offsets_hz = [-75e3 + 25e3 * i for i in range(7)]
    iq = complex_noise(50_000, 0.1, seed=6)
    together = run(Channelizer(250e3, [nfm(offset) for offset in offsets_hz]), iq)
    for offset_hz, got in zip(offsets_hz, together, strict=True):
        (alone,) = run(Channelizer(250e3, [nfm(offset_hz)]), iq)
        np.testing.assert_array_equal(got, alone)


def test_noise_power_is_scaled_by_the_bandwidth() -> None:
    (got,) = run(Channelizer(250e3, [nfm(40_000.0)]), complex_noise(500_000, 1.0, seed=7))
    # The filter's half-amplitude points lie at ±10 kHz.
    assert np.mean(np.abs(got) ** 2) == pytest.approx(20_000 / 250_000, rel=0.1)


def test_channels_of_different_rates_come_out_at_their_rates() -> None:
    specs = [nfm(0.0), ChannelSpec(50_000.0, 20_000.0, 40_000.0), ChannelSpec(-30_000.0, 100_000.0, 125_000.0)]
    n = 100_000
    outputs = run(Channelizer(250e3, specs), complex_tone(-30_000.0 + 40_000.0, 250e3, n, 0.5))
    assert [o.shape[0] for o in outputs] == [9600, 16_000, 50_000]
    assert tone_amplitude(outputs[2], 40_000.0, 125_000.0) == pytest.approx(0.5, rel=1e-3)


def test_phase_is_exact_after_a_year() -> None:
    rate_hz, offset_hz = 250e3, 12_345.678
    channelizer = Channelizer(rate_hz, [nfm(offset_hz)])
    bank = channelizer._bank
    assert isinstance(bank, FrameBank)
    hop = bank.plan.hop
    frames = int(365.25 * 86_400 * rate_hz) // hop
    start = frames * hop
    bank.reset(start)
    cycles = (start * 12_345_678 % 250_000_000) / 250_000_000
    iq = complex_tone(offset_hz, rate_hz, 20_000) * np.exp(2j * np.pi * cycles)
    (got,) = channelizer.push(iq.astype(np.complex64))
    np.testing.assert_allclose(got[60:], 1.0, atol=1.5e-3)


def test_reset_forgets_the_past() -> None:
    iq = complex_noise(20_000, 0.1, seed=8)
    channelizer = Channelizer(250e3, [nfm(12_345.0)])
    (first,) = channelizer.push(iq)
    channelizer.reset()
    (again,) = channelizer.push(iq)
    np.testing.assert_array_equal(again, first)


def test_every_output_comes_within_the_stated_latency() -> None:
    for rate_hz in (250e3, 2_083_334.0):
        channelizer = Channelizer(rate_hz, [nfm(0.0)])
        fed = came = 0
        for _ in range(200):
            (got,) = channelizer.push(np.zeros(997, np.complex64))
            fed, came = fed + 997, came + got.shape[0]
            assert came >= (fed - channelizer.latency) * 24_000 / rate_hz


def test_no_channels_and_no_samples_are_legal() -> None:
    assert Channelizer(250e3, []).push(np.zeros(10_000, np.complex64)) == []
    (got,) = Channelizer(250e3, [nfm(0.0)]).push(np.zeros(0, np.complex64))
    assert got.shape == (0,)


@pytest.mark.parametrize(
    "spec",
    [
        ChannelSpec(0.0, 16_000.0, 300_000.0),
        ChannelSpec(0.0, 0.0, 24_000.0),
        ChannelSpec(0.0, 20_000.0, 24_000.0),
        ChannelSpec(120_000.0, 16_000.0, 24_000.0),
    ],
)
def test_a_channel_that_cannot_be_is_refused(spec: ChannelSpec) -> None:
    with pytest.raises(ValueError, match=r"rate|capture"):
        Channelizer(250e3, [spec])
