"""Channels that are zoomed into, against the same channels out of whole frames."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.dsp._stack_kernels import copy_sane, deal_sane, turn_rows, unfold_bins
from app_core.dsp._zoom_kernels import zoom_samples
from app_core.dsp.capture_frame import Loops
from app_core.dsp.channel_stack import PLAIN_LOOPS
from app_core.dsp.channelizer import Channelizer, ChannelSpec
from app_core.dsp.frame_bank import FrameBank
from app_core.dsp.frame_plan import MAX_FRAME_S
from app_core.dsp.zoom import IMAGES_DB, Zoom, ZoomFilter
from app_core.dsp.zoom_bank import ZoomBank
from tests.support.signals import complex_noise, complex_tone

KINDS = [ChannelSpec(0.0, 16_000.0, 24_000.0), ChannelSpec(0.0, 1.0, 8_000.0)]
RATES = [1.2e6, 2.048e6, 2.4e6, 2.88e6, 10e6]


def _zoom(
    parts: NDArray[np.float32], taps: NDArray[np.float32], decimation: int, zoomed: NDArray[np.complex64]
) -> bool:
    return bool(zoom_samples(parts, taps, decimation, 1e6, zoomed))


LOOPS = Loops(
    lambda target, source: copy_sane(target, source, 1e6),
    turn_rows,
    lambda rows, place, iq: deal_sane(rows, place, iq, 1e6),
    unfold_bins,
    _zoom,
)


def nfm(offset_hz: float) -> ChannelSpec:
    return ChannelSpec(offset_hz, 16_000.0, 24_000.0)


def zooming(rate_hz: float, specs: Sequence[ChannelSpec]) -> Channelizer:
    channelizer = Channelizer(rate_hz, specs, KINDS, LOOPS, expected=[nfm(0.0)])
    assert isinstance(channelizer._bank, ZoomBank)
    return channelizer


def run(channelizer: Channelizer, iq: NDArray[np.complex64], *cuts: int) -> list[NDArray[np.complex64]]:
    parts = [channelizer.push(iq[a:b]) for a, b in pairwise([0, *sorted(cuts), iq.shape[0]])]
    parts.append(channelizer.flush())
    return [np.concatenate(channel) for channel in zip(*parts, strict=True)]


@pytest.mark.parametrize("decimation", [8, 25, 32, 37])
def test_the_filter_keeps_images_out_and_the_channel_in(decimation: int) -> None:
    reach = 0.004
    zoom_filter = ZoomFilter.design(decimation, reach)
    assert zoom_filter is not None
    frequency = np.fft.fftfreq(1 << 16).astype(np.float64)
    gain = np.abs(np.fft.fft(zoom_filter.taps, 1 << 16))
    np.testing.assert_allclose(gain, np.abs(zoom_filter.response(frequency)), atol=1e-9)
    inside = np.abs(frequency) <= reach
    image = (np.abs(frequency * decimation - np.round(frequency * decimation)) <= reach * decimation) & ~inside
    assert gain[inside].max() == pytest.approx(1.0, abs=1e-6)
    assert 20.0 * np.log10(gain[inside].min() / gain[image].max()) > IMAGES_DB - 0.1


def test_there_is_no_filter_for_a_band_that_fills_the_lower_rate() -> None:
    assert ZoomFilter.design(37, 0.004) is not None
    assert ZoomFilter.design(38, 0.004) is None


def test_zooming_needs_its_loop() -> None:
    zoom_filter = ZoomFilter.design(8, 0.004)
    assert zoom_filter is not None
    with pytest.raises(ValueError, match="no loop"):
        Zoom(zoom_filter, Fraction(0), PLAIN_LOOPS)


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("offset_hz", [0.0, 37_500.0, -123_456.789, 591_999.0, 60_000.0])
def test_a_zoomed_channel_is_the_one_out_of_whole_frames(rate_hz: float, offset_hz: float) -> None:
    iq = complex_noise(int(0.1 * rate_hz), 0.1, seed=1)
    (got,) = run(zooming(rate_hz, [nfm(offset_hz)]), iq)
    (wanted,) = run(Channelizer(rate_hz, [nfm(offset_hz)], KINDS), iq)
    # Both let something through of what is beyond the stop band: 85 dB less than the noise in it.
    np.testing.assert_allclose(got, wanted, atol=2e-5)


@pytest.mark.parametrize("rate_hz", RATES)
def test_nothing_beyond_the_stop_band_is_heard_and_no_image(rate_hz: float) -> None:
    offset_hz = 150_000.0
    channelizer = zooming(rate_hz, [nfm(offset_hz)])
    assert isinstance(channelizer._bank, ZoomBank)
    zoomed_hz = rate_hz / channelizer._bank._stacks[0][1][0]._decimation
    near = [12_000.0, 13_000.0, 17_000.0, 25_000.0, -25_000.0]
    images = [k * zoomed_hz + error_hz for k in (1, -1, 2, 7) for error_hz in (0.0, 3_000.0, -8_000.0, 9_600.0, 11e3)]
    for distance_hz in near + images:
        if abs(offset_hz + distance_hz) < rate_hz / 2.0:
            (got,) = channelizer.push(complex_tone(offset_hz + distance_hz, rate_hz, int(0.05 * rate_hz)))
            channelizer.reset()
            assert got.shape[0] > 300
            assert np.abs(got[60:]).max() < 10.0 ** ((-84.0 if distance_hz in near else -90.0) / 20.0)


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 100_000), max_size=12),
    rate_hz=st.sampled_from([1.2e6, 2.4e6]),
)
def test_cutting_the_input_changes_nothing(cuts: list[int], rate_hz: float) -> None:
    # The last is too wide for a zoom.
    specs = [nfm(25_000.0), nfm(-31_234.5), ChannelSpec(0.0, 200_000.0, 250_000.0)]
    iq = complex_noise(100_000, 0.1, seed=4)
    wanted = run(zooming(rate_hz, specs), iq)
    for a, b in zip(run(zooming(rate_hz, specs), iq, *cuts), wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [one.shape[0] for one in wanted] == [
        -(-100_000 * int(spec.output_rate_hz) // int(rate_hz)) for spec in specs
    ]


def test_single_samples_are_as_good_as_a_block() -> None:
    iq = complex_noise(9000, 0.1, seed=5)
    wanted = run(zooming(2.4e6, [nfm(10_000.0)]), iq)
    np.testing.assert_array_equal(run(zooming(2.4e6, [nfm(10_000.0)]), iq, *range(1, 9000)), wanted)


@settings(max_examples=20, deadline=None)
@given(places=st.lists(st.integers(0, 150_000), min_size=2, max_size=2))
def test_channels_that_come_and_go_leave_the_others_as_they_are(places: list[int]) -> None:
    rate_hz, n = 2.4e6, 150_000
    away, new = sorted(places)
    iq = complex_noise(n, 0.1, seed=6)
    staying, going, coming = nfm(25_000.0), nfm(-75_000.0), [nfm(50_000.0), ChannelSpec(0.0, 100_000.0, 150_000.0)]
    channelizer = zooming(rate_hz, [going, staying])
    parts = [channelizer.push(iq[:away])]
    last = channelizer.remove(0)
    kept = [parts[0][1], *channelizer.push(iq[away:new])]
    assert channelizer.add(coming) == [2, 3]
    later = [channelizer.push(iq[new:]), channelizer.flush()]
    (wanted,) = run(zooming(rate_hz, [staying]), iq)
    np.testing.assert_array_equal(np.concatenate([*kept, later[0][0], later[1][0]]), wanted)
    (whole,) = run(zooming(rate_hz, [going]), iq[:away])
    np.testing.assert_array_equal(np.concatenate((parts[0][0], last)), whole)
    for row, spec in enumerate(coming, start=1):
        # It begins as if it had always been there.
        (whole,) = run(zooming(rate_hz, [spec]), iq)
        first = -(-new * int(spec.output_rate_hz) // int(rate_hz))
        np.testing.assert_allclose(np.concatenate((later[0][row], later[1][row])), whole[first:], atol=2e-6)


def test_a_channel_that_is_not_there_cannot_be_removed() -> None:
    channelizer = zooming(2.4e6, [nfm(0.0), nfm(50_000.0)])
    assert channelizer.remove(0).shape == (0,)
    assert len(channelizer.push(np.zeros(10_000, np.complex64))) == 1
    with pytest.raises(KeyError):
        channelizer.remove(0)


def test_broken_samples_count_as_0() -> None:
    iq = complex_noise(200_000, 0.1, seed=7)
    broken, mended = iq.copy(), iq.copy()
    broken[[0, 50_000, 50_001, 199_999]] = [np.nan, np.inf, 1e30, complex(0.0, np.nan)]
    mended[[0, 50_000, 50_001, 199_999]] = 0.0
    (got,) = run(zooming(2.4e6, [nfm(10_000.0)]), broken, 50_001)
    (wanted,) = run(zooming(2.4e6, [nfm(10_000.0)]), mended)
    np.testing.assert_array_equal(got, wanted)


def test_every_output_comes_within_the_stated_latency_which_is_short() -> None:
    channelizer = zooming(2.4e6, [nfm(0.0)])
    assert channelizer.latency < MAX_FRAME_S * 2.4e6
    fed = came = 0
    for _ in range(200):
        (got,) = channelizer.push(np.zeros(9_973, np.complex64))
        fed, came = fed + 9_973, came + got.shape[0]
        assert came >= (fed - channelizer.latency) * 24_000 / 2.4e6


def test_reset_forgets_the_past() -> None:
    iq = complex_noise(100_000, 0.1, seed=8)
    channelizer = zooming(2.4e6, [nfm(12_345.0)])
    (first,) = channelizer.push(iq)
    channelizer.reset()
    (again,) = channelizer.push(iq)
    np.testing.assert_array_equal(again, first)


def test_only_few_narrow_channels_of_a_wide_capture_are_zoomed_into() -> None:
    wide = ChannelSpec(0.0, 200_000.0, 250_000.0)
    for rate_hz, expected, bank in (
        (2.4e6, [nfm(0.0)], ZoomBank),
        (2.4e6, [nfm(25_000.0 * i) for i in range(7)], FrameBank),
        (2.4e6, [wide], FrameBank),
        (2.4e6, [], FrameBank),
        (10e6, [nfm(0.0), nfm(50_000.0)], ZoomBank),
        (250e3, [nfm(0.0)], FrameBank),
    ):
        assert isinstance(Channelizer(rate_hz, (), KINDS, LOOPS, expected=expected)._bank, bank)
