"""Combining bursts, and refusing what is doubtful."""

import math

import numpy as np
import pytest

from app_core.eas.assembler import agreement, assemble, likeness
from app_core.eas.framing import Burst
from app_core.eas.matched_filter import HOP, RATE, SampleHistory
from tests.unit.eas.same_audio import HEADER, Pcm, burst, noisy, silence

RATE_HZ = float(RATE)
SAME_LENGTH = HEADER.replace("029095", "048113").replace("TOR", "SVR").replace("KEAX", "KLOT")
BITS = np.unpackbits(np.frombuffer(HEADER.encode(), np.uint8), bitorder="little").astype(np.int8)


def received(pcm: Pcm) -> Burst:
    history = SampleHistory(60000)
    padded = np.concatenate([np.zeros(100, np.float32), pcm])
    for start in range(0, len(padded), HOP):
        history.append(padded[start : start + HOP])
    result = Burst(start=100.0, clock=0.0, detuning=0.0, limit=1e9)
    result.receive(history, [])
    return result


def heard(text: str, eb_n0_db: float, seed: int = 1) -> Burst:
    pcm = np.concatenate([burst(text, RATE_HZ), silence(0.4, RATE_HZ)])
    return received(noisy(pcm, eb_n0_db, seed, RATE_HZ))


def test_three_bursts_are_sure_where_one_is_not() -> None:
    alone = assemble([heard(HEADER, 8.5)], [])
    together = assemble([heard(HEADER, 8.5, seed) for seed in (1, 2, 3)], [])
    assert alone.header(early=False) is None
    header = together.header(early=False)
    assert header is not None
    assert header.text == HEADER
    assert together.error_probability < 1e-4 < alone.error_probability
    assert together.snr_db == pytest.approx(8.5, abs=1.0)


def test_no_probability_is_below_plain_zero() -> None:
    verdicts = [assemble([heard(HEADER, 20.0, seed), heard(HEADER, 20.0, seed + 1)], []) for seed in range(12)]
    certain = [v.error_probability for v in verdicts if v.error_probability <= 0.0]
    # Rounding decides which of them are certain.
    assert certain
    assert all(math.copysign(1.0, probability) == 1.0 for probability in certain)


def test_more_is_asked_while_more_may_come() -> None:
    for seed in range(40):
        verdict = assemble([heard(HEADER, 9.0, seed), heard(HEADER, 9.0, seed + 100)], [])
        if verdict.header(early=True) is None and verdict.header(early=False) is not None:
            return
    pytest.fail("the two rules never differed")


def test_a_lone_burst_is_never_given_early() -> None:
    verdict = assemble([heard(HEADER, 25.0)], [])
    assert verdict.header(early=True) is None
    header = verdict.header(early=False)
    assert header is not None
    assert header.text == HEADER


def test_bursts_that_are_wrecked_in_different_places_make_one_header() -> None:
    bursts = []
    for i in range(3):
        pcm = noisy(np.concatenate([burst(HEADER, RATE_HZ), silence(0.4, RATE_HZ)]), 20.0, i, RATE_HZ)
        at = (140 + 120 * i) * 16
        pcm[at : at + 100 * 16] = 3.0 * np.random.default_rng(i).standard_normal(1600)
        bursts.append(received(pcm))
    header = assemble(bursts, []).header(early=False)
    assert header is not None
    assert header.text == HEADER


@pytest.mark.parametrize("place", [14, 20, 35, 46, 52, 55])
def test_one_character_that_cannot_stand_there_refuses_the_header(place: int) -> None:
    wrong = HEADER[:place] + "\x7f" + HEADER[place + 1 :]
    verdict = assemble([heard(wrong, 20.0, seed) for seed in (1, 2, 3)], [])
    assert not verdict.sound
    assert verdict.header(early=False) is None


def test_noise_that_repeats_is_counted_once() -> None:
    alone = assemble([heard(HEADER, 9.0, 1)], [])
    independent = assemble([heard(HEADER, 9.0, seed) for seed in (1, 2, 3)], [])
    repeated = assemble([heard(HEADER, 9.0, 1) for _ in range(3)], [])
    assert alone.error_probability < 0.5
    assert independent.error_probability < 1e-3 * alone.error_probability
    assert repeated.error_probability > 0.1 * alone.error_probability


def test_much_small_contradiction_refuses_the_header() -> None:
    garbage = HEADER.replace("029095-029047-020091", "x2y0#5-k29!47-(20]91")
    verdicts = [assemble([heard(garbage, 5.0, seed)], []) for seed in range(12)]
    small = [v for v in verdicts if v.misfit > 0.02 and v.contradiction < 12.0]
    assert small
    assert not any(v.sound for v in small)


def test_agreement_tells_a_header_from_another() -> None:
    share, contradiction = agreement(heard(HEADER, 20.0), BITS)
    assert share > 0.99
    assert contradiction < 1.0
    share, contradiction = agreement(heard(HEADER, 8.0), BITS)
    assert share > 0.85
    assert contradiction < 10.0
    share, contradiction = agreement(heard(SAME_LENGTH, 12.0), BITS)
    assert share < 0.95
    assert contradiction > 10.0
    assert agreement(heard("ZCZC-EAS-RWT-048113+0015-0010000-WTSP/TV -", 20.0), BITS)[0] < 0.7


def test_likeness_tells_bursts_of_one_message_from_others() -> None:
    first = heard(HEADER, 8.0, 1)
    assert likeness(first, heard(HEADER, 8.0, 2), len(BITS)) > 0.85
    other = heard("ZCZC-EAS-RWT-048113+0015-0010000-WTSP/TV -", 8.0, 3)
    assert likeness(first, other, len(BITS)) < 0.7


def test_silence_is_nothing() -> None:
    verdict = assemble([received(np.zeros(9000, np.float32))], [])
    assert verdict.header(early=False) is None
    assert agreement(received(np.zeros(9000, np.float32)), BITS) == (0.0, 0.0)
