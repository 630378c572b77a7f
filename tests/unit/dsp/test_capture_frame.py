import numpy as np
import pytest

from app_core.dsp import fft
from app_core.dsp._stack_kernels import deal_sane, turn_rows, unfold_bins
from app_core.dsp.capture_frame import CaptureFrame, FoldedFrame, Loops, WholeFrame, make_frame
from app_core.dsp.channel_stack import PLAIN_LOOPS
from tests.support.signals import complex_noise

SIZE = 1200
COMPILED = Loops(np.copyto, turn_rows, lambda rows, place, iq: deal_sane(rows, place, iq, 1e6), unfold_bins)


@pytest.fixture(params=["whole", "folded", "folded by scipy"])
def frame(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CaptureFrame:
    if request.param == "folded by scipy":
        monkeypatch.setattr(fft, "pyfftw", None)
    return make_frame(SIZE, 1 if request.param == "whole" else 15, COMPILED)


def test_a_channel_gets_its_bins_with_their_weights(frame: CaptureFrame) -> None:
    samples = complex_noise(2 * SIZE, 1.0, seed=1)
    numbers = (np.array([[0], [70], [SIZE - 50], [640]]) + np.arange(100)) % SIZE
    weights = complex_noise(400, 1.0, seed=2).reshape(4, 100)
    bins = frame.bins(numbers, weights)
    rows = np.zeros((4, 100), np.complex64)
    for place, end in ((0, 7), (7, 8), (8, 900), (900, SIZE)):
        frame.put(place, samples[place:end])
    frame.transform()
    bins.write(rows)
    whole = np.fft.fft(samples[:SIZE].astype(np.complex128))
    np.testing.assert_allclose(rows, whole[numbers] * weights, atol=2e-6 * np.abs(whole).max())
    fewer = np.zeros((2, 100), np.complex64)
    bins.take([3, 1]).write(fewer)
    np.testing.assert_array_equal(fewer, rows[[3, 1]])
    # The next frame begins 900 samples on, with 300 of this one.
    frame.move(900)
    frame.put(300, samples[SIZE : SIZE + 900])
    frame.transform()
    bins.write(rows)
    whole = np.fft.fft(samples[900 : SIZE + 900].astype(np.complex128))
    np.testing.assert_allclose(rows, whole[numbers] * weights, atol=2e-6 * np.abs(whole).max())


def test_a_frame_can_be_put_aside_and_taken_up_again(frame: CaptureFrame) -> None:
    samples = complex_noise(SIZE, 1.0, seed=3)
    bins = frame.bins(np.arange(50)[None], np.ones((1, 50), np.complex64))
    frame.put(0, samples)
    kept = frame.samples.copy()
    frame.transform()
    wanted, got = np.zeros((1, 50), np.complex64), np.zeros((1, 50), np.complex64)
    bins.write(wanted)
    frame.samples[:] = 0
    frame.transform()
    bins.write(got)
    np.testing.assert_array_equal(got, 0.0)
    frame.samples[:] = kept
    frame.transform()
    bins.write(got)
    np.testing.assert_array_equal(got, wanted)


def test_frames_are_folded_only_by_loops_that_can() -> None:
    assert isinstance(make_frame(SIZE, 1, COMPILED), WholeFrame)
    assert isinstance(make_frame(SIZE, 15, COMPILED), FoldedFrame)
    with pytest.raises(ValueError, match="15 rows"):
        make_frame(SIZE, 15, PLAIN_LOOPS)
