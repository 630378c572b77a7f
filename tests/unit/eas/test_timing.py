"""Finding the start of a burst, and fitting time and clock to it."""

import numpy as np
import pytest

from app_core.eas.matched_filter import QUARTERS_PER_HOP, RATE, FrontEnd
from app_core.eas.timing import (
    KNOWN_BITS,
    N_KNOWN_BITS,
    N_PREAMBLE_BITS,
    BurstSearch,
    Candidate,
    data_phase,
    fit_bit_clock,
    fit_start,
    known_bits,
    peak_position,
)
from tests.unit.eas.same_audio import HEADER, Pcm, burst, noisy, silence

RATE_HZ = float(RATE)


def search(pcm: Pcm) -> list[Candidate]:
    front, finder = FrontEnd(RATE_HZ), BurstSearch()
    front.push(np.concatenate([pcm, silence(1.5, RATE_HZ)]))
    found = []
    while (hop := front.pop()) is not None:
        found += finder.push(hop[1])
    assert not finder.pending
    return found


def test_known_bits_leave_the_eighth_bit_open() -> None:
    bits = known_bits(b"ZCZC")
    assert len(bits) == N_KNOWN_BITS
    assert bits[:8].tolist() == [1, 1, 0, 1, 0, 1, 0, 1]
    assert np.flatnonzero(bits < 0).tolist() == [135, 143, 151, 159]


@pytest.mark.parametrize("clock", [-0.033, -0.011, 0.0, 0.008, 0.033])
@pytest.mark.parametrize("eb_n0_db", [6.0, 20.0])
def test_a_burst_is_found_once_at_any_clock(clock: float, eb_n0_db: float) -> None:
    pcm = np.concatenate([silence(0.3, RATE_HZ), burst(HEADER, RATE_HZ, clock), silence(0.5, RATE_HZ)])
    found = search(noisy(pcm, eb_n0_db, rate_hz=RATE_HZ))
    assert len(found) == 1
    assert found[0].start == pytest.approx(0.3 * RATE_HZ, abs=8)
    assert found[0].clock == pytest.approx(clock, abs=0.0056)


@pytest.mark.parametrize("weak_cycles", [3, 4])
def test_one_tone_may_be_much_weaker(weak_cycles: int) -> None:
    pcm = np.concatenate([silence(0.3, RATE_HZ), burst(HEADER, RATE_HZ), silence(0.3, RATE_HZ)])
    # A notch that takes one tone down by some 12 dB against the other.
    turn = 2 * np.cos(2 * np.pi * weak_cycles / 16)
    weak = pcm[1:] - 0.75 * turn * pcm[:-1] + 0.75 * np.concatenate([[0], pcm[:-2]])
    assert len(search(noisy(weak.astype(np.float32), 30.0, rate_hz=RATE_HZ))) == 1


@pytest.mark.parametrize("offset", [-0.5, 0.5])
def test_a_balance_that_leans_to_one_side_does_not_hide_a_burst(offset: float) -> None:
    bits = np.where(KNOWN_BITS[0] < 0, 0, KNOWN_BITS[0])
    start = 3 * QUARTERS_PER_HOP
    balance = np.zeros(12 * QUARTERS_PER_HOP, np.float32)
    balance[start : start + 4 * N_KNOWN_BITS] = np.repeat(0.45 * (2.0 * bits - 1.0), 4) + offset
    finder = BurstSearch()
    found = [c for hop in balance.reshape(12, -1) for c in finder.push(hop)]
    assert len(found) == 1


@pytest.mark.parametrize("kind", ["noise", "mark", "space", "silence", "speechlike"])
def test_other_sounds_are_no_burst(kind: str) -> None:
    n = int(6 * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    sounds = {
        "noise": np.random.default_rng(2).standard_normal(n),
        "mark": np.sin(2 * np.pi * 6250 / 3 * t),
        "space": np.sin(2 * np.pi * 1562.5 * t),
        "silence": np.zeros(n),
        "speechlike": np.sign(np.sin(2 * np.pi * (110 + 20 * np.sin(3 * t)) * t)) * (np.sin(9 * t) > 0),
    }
    assert search(sounds[kind].astype(np.float32)) == []


def test_header_text_is_not_taken_for_a_start() -> None:
    text = "ZCZC-WXR-TOR-" + "-".join(f"0{i:05d}" for i in range(31)) + "+0045-1232359-KEAX/NWS-"
    pcm = np.concatenate([silence(0.2, RATE_HZ), burst(text, RATE_HZ), silence(0.2, RATE_HZ)])
    assert len(search(noisy(pcm, 12.0, rate_hz=RATE_HZ))) == 1


@pytest.mark.parametrize(("text", "word"), [(HEADER, 0), ("NNNN", 1)])
@pytest.mark.parametrize("clock", [-0.03, 0.0, 0.0123])
def test_fit_is_exact_to_a_fraction_of_a_sample(text: str, word: int, clock: float) -> None:
    pcm = np.concatenate([np.zeros(40, np.float32), burst(text, RATE_HZ, clock), np.zeros(400, np.float32)])
    fit = fit_start(noisy(pcm, 9.0, rate_hz=RATE_HZ), 38.0, clock + 0.002)
    assert fit.word == word
    assert fit.errors <= 3
    assert fit.detuning == 0.0
    # A standard deviation of half a sample, 0.03 bit, is what the noise of 9 dB leaves.
    assert fit.start == pytest.approx(40.0, abs=1.5)
    assert fit.clock == pytest.approx(clock, abs=1e-4)
    assert fit.snr_db == pytest.approx(9.0, abs=2.0)


def test_another_word_is_neither() -> None:
    pcm = np.concatenate([np.zeros(40, np.float32), burst("QWER", RATE_HZ), np.zeros(400, np.float32)])
    assert fit_start(pcm, 40.0, 0.0).word == -1


def test_two_letters_are_enough_for_an_end_of_message() -> None:
    pcm = np.concatenate([np.zeros(40, np.float32), burst(b"NN\x15\x0c", RATE_HZ), np.zeros(400, np.float32)])
    assert fit_start(pcm, 40.0, 0.0).word == 1


def test_fit_finds_tones_that_do_not_follow_the_bit_clock() -> None:
    bits = np.where(KNOWN_BITS[0] < 0, 0, KNOWN_BITS[0])
    length, n = 16.0 / 1.008, int(N_KNOWN_BITS * 16.0 / 1.008)
    tone = np.where(bits == 1, 4.0, 3.0)[np.minimum((np.arange(n) / length).astype(int), N_KNOWN_BITS - 1)] / 16.0
    pcm = np.concatenate([np.zeros(40), np.sin(2 * np.pi * np.cumsum(tone)), np.zeros(400)]).astype(np.float32)
    fit = fit_start(noisy(pcm, 15.0, rate_hz=RATE_HZ), 40.0, 0.0055)
    assert fit.word == 0
    assert fit.clock == pytest.approx(0.008, abs=5e-4)
    assert fit.detuning == pytest.approx(-0.008, abs=5e-4)


def test_bit_clock_is_fitted_without_phases() -> None:
    bits = KNOWN_BITS[0]
    pcm = np.concatenate([np.zeros(40, np.float32), burst("ZCZC", RATE_HZ, 0.004), np.zeros(100, np.float32)])
    start, clock = fit_bit_clock(pcm, 42.0, 0.003, bits, 0.25, 0.3)
    assert start == pytest.approx(40.0, abs=1.0)
    assert clock == pytest.approx(0.004, abs=4e-4)


def test_data_phase_counts_four_and_three_cycles() -> None:
    np.testing.assert_allclose(data_phase(np.array([1, 0, -1, 1], np.int8)), [2.0, 5.5, 8.75, 12.5])


def test_peak_position_interpolates() -> None:
    x = np.arange(9.0)
    assert peak_position(-((x - 4.3) ** 2)) == pytest.approx(4.3)
    assert peak_position(x) == pytest.approx(8.0)
    assert N_PREAMBLE_BITS == 128
