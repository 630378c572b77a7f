"""Combining bursts, and refusing what is doubtful."""

import math

import numpy as np
import pytest

from app_core.eas.assembler import SoftMessage, agreement, assemble, assemble_receivers, likeness
from app_core.eas.framing import Burst
from app_core.eas.matched_filter import HOP, RATE, SampleHistory
from app_core.eas.timing import N_PREAMBLE_BITS
from tests.unit.eas.same_audio import HEADER, OTHER_HEADER, Pcm, burst, noisy, silence

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
    alone = assemble([heard(HEADER, 8.5)])
    together = assemble([heard(HEADER, 8.5, seed) for seed in (1, 2, 3)])
    assert alone.header(early=False) is None
    header = together.header(early=False)
    assert header is not None
    assert header.text == HEADER
    assert together.error_probability < 1e-4 < alone.error_probability
    assert together.snr_db == pytest.approx(8.5, abs=1.0)


def test_no_probability_is_below_plain_zero() -> None:
    verdicts = [assemble([heard(HEADER, 20.0, seed), heard(HEADER, 20.0, seed + 1)]) for seed in range(12)]
    certain = [v.error_probability for v in verdicts if v.error_probability <= 0.0]
    # Rounding decides which of them are certain.
    assert certain
    assert all(math.copysign(1.0, probability) == 1.0 for probability in certain)


def test_more_is_asked_while_more_may_come() -> None:
    for seed in range(40):
        verdict = assemble([heard(HEADER, 9.0, seed), heard(HEADER, 9.0, seed + 100)])
        if verdict.header(early=True) is None and verdict.header(early=False) is not None:
            return
    pytest.fail("the two rules never differed")


def test_a_strong_lone_burst_is_given_early() -> None:
    header = assemble([heard(HEADER, 25.0)]).header(early=True)
    assert header is not None
    assert header.text == HEADER


@pytest.mark.parametrize(
    "unusual",
    [
        HEADER.replace("TOR", "XYZ"),
        HEADER.replace("WXR", "ABC"),
        HEADER.replace("+0045", "+0047"),
        HEADER.replace("-123", "-423"),
        HEADER.replace("2359-", "2459-"),
        HEADER.replace("029095", "0B9095"),
    ],
)
def test_a_lone_burst_that_says_something_unusual_waits_for_others(unusual: str) -> None:
    verdict = assemble([heard(unusual, 25.0)])
    assert verdict.header(early=True) is None
    header = verdict.header(early=False)
    assert header is not None
    assert header.text == unusual


@pytest.mark.parametrize("shorter", [HEADER.replace("KEAX/NWS", "KEA/NWS"), HEADER.replace("1232359", "123235")])
def test_a_lone_burst_that_lacks_a_character_is_not_given(shorter: str) -> None:
    assert assemble([heard(shorter, 25.0)]).header(early=False) is None
    header = assemble([heard(shorter, 25.0, seed) for seed in (1, 2)]).header(early=False)
    assert header is not None
    assert header.text == shorter


@pytest.mark.parametrize("n", [1, 2, 3])
def test_bursts_that_end_before_the_last_dash_are_refused(n: int) -> None:
    verdict = assemble([heard(HEADER[:-1], 20.0, seed) for seed in range(n)])
    assert verdict.reading.text == HEADER
    assert verdict.error_probability < 1e-3
    assert verdict.header(early=False) is None


DIFFERENT = [HEADER.replace("029095", "029094"), HEADER.replace("KEAX", "KEAP"), HEADER.replace("0045", "0030")]


@pytest.mark.parametrize("eb_n0_db", [10.0, 15.0, 25.0])
def test_strong_bursts_that_contradict_each_other_make_no_header(eb_n0_db: float) -> None:
    assert assemble([heard(text, eb_n0_db, i) for i, text in enumerate(DIFFERENT)]).header(early=False) is None
    assert assemble([heard(text, eb_n0_db, i) for i, text in enumerate(DIFFERENT[:2])]).header(early=False) is None


@pytest.mark.parametrize("eb_n0_db", [12.0, 14.0, 25.0])
def test_flipped_bits_of_the_format_do_not_hide_that_bursts_contradict_each_other(eb_n0_db: float) -> None:
    # They are all mended by the grammar, and make the odds of all bits seem worth less than they are.
    flipped = [HEADER.replace("ZCZC-WXR", f"ZCZC{c}WXR") for c in ",/)"]
    texts = [HEADER.replace("029095", "629095"), HEADER.replace("0045", "0845"), HEADER.replace("KEAX", "KEIX")]
    texts = [f"{start[:9]}{text[9:]}" for start, text in zip(flipped, texts, strict=True)]
    verdict = assemble([heard(text, eb_n0_db, i) for i, text in enumerate(texts)])
    assert verdict.header(early=False) is None


@pytest.mark.parametrize("unusual", ["KEAX^NWS", "KEAX.NWS", "keax/NWS"])
def test_a_lone_burst_with_a_strange_callsign_is_not_given(unusual: str) -> None:
    strange = HEADER.replace("KEAX/NWS", unusual)
    assert assemble([heard(strange, 25.0)]).header(early=False) is None
    assert assemble([heard(strange, 25.0, seed) for seed in (1, 2)]).header(early=False) is not None


def test_one_burst_that_contradicts_two_is_set_aside() -> None:
    verdict = assemble([heard(text, 15.0, i) for i, text in enumerate([HEADER, DIFFERENT[0], HEADER])])
    header = verdict.header(early=False)
    assert header is not None
    assert header.text == HEADER
    assert verdict.bursts == 2
    assert len(verdict.each) == 3


@pytest.mark.parametrize("eb_n0_db", [15.0, 25.0])
@pytest.mark.parametrize("change", ["inverted", "late"])
def test_a_lone_burst_with_a_short_spoilt_piece_is_refused(eb_n0_db: float, change: str) -> None:
    for seed in range(6):
        pcm = burst(HEADER, RATE_HZ)
        at = (N_PREAMBLE_BITS + 8 * (20 + seed) + 3) * 16
        piece = slice(at, at + 40)
        pcm[piece] = -pcm[piece] if change == "inverted" else pcm[piece.start - 8 : piece.stop - 8].copy()
        one = received(noisy(np.concatenate([pcm, silence(0.4, RATE_HZ)]), eb_n0_db, seed, RATE_HZ))
        header = assemble([one]).header(early=False)
        assert header is None or header.text == HEADER


def test_bursts_that_are_wrecked_in_different_places_make_one_header() -> None:
    bursts = []
    for i in range(3):
        pcm = noisy(np.concatenate([burst(HEADER, RATE_HZ), silence(0.4, RATE_HZ)]), 20.0, i, RATE_HZ)
        at = (140 + 120 * i) * 16
        pcm[at : at + 100 * 16] = 3.0 * np.random.default_rng(i).standard_normal(1600)
        bursts.append(received(pcm))
    header = assemble(bursts).header(early=False)
    assert header is not None
    assert header.text == HEADER


@pytest.mark.parametrize("place", [14, 20, 35, 46, 52, 55])
def test_one_character_that_cannot_stand_there_refuses_the_header(place: int) -> None:
    wrong = HEADER[:place] + "\x7f" + HEADER[place + 1 :]
    verdict = assemble([heard(wrong, 20.0, seed) for seed in (1, 2, 3)])
    assert not verdict.sound
    assert verdict.header(early=False) is None


def test_noise_that_repeats_is_counted_once() -> None:
    alone = assemble([heard(HEADER, 9.0, 1)])
    independent = assemble([heard(HEADER, 9.0, seed) for seed in (1, 2, 3)])
    repeated = assemble([heard(HEADER, 9.0, 1) for _ in range(3)])
    assert alone.error_probability < 0.5
    assert independent.error_probability < 1e-3 * alone.error_probability
    assert repeated.error_probability > 0.1 * alone.error_probability


def test_much_small_contradiction_refuses_the_header() -> None:
    garbage = HEADER.replace("029095-029047-020091", "x2y0#5-k29!47-(20]91")
    verdicts = [assemble([heard(garbage, 5.0, seed)]) for seed in range(12)]
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
    verdict = assemble([received(np.zeros(9000, np.float32))])
    assert verdict.header(early=False) is None
    assert agreement(received(np.zeros(9000, np.float32)), BITS) == (0.0, 0.0)


def soft_message(text: str, eb_n0_db: float, seeds: tuple[int, ...]) -> SoftMessage:
    bursts = tuple(heard(text, eb_n0_db, seed) for seed in seeds)
    return SoftMessage(bursts, assemble(bursts), 0, 0)


def test_receivers_that_are_too_weak_alone_decode_together() -> None:
    weak = together = 0
    for seed in range(0, 70, 10):
        first = soft_message(HEADER, 5.3, (seed, seed + 1, seed + 2))
        second = soft_message(HEADER, 5.3, (seed + 3, seed + 4, seed + 5))
        if any(one.verdict.header(early=False) is not None for one in (first, second)):
            continue
        weak += 1
        verdict = assemble_receivers([first, second])
        assert verdict.bursts == 6
        header = verdict.header(early=False)
        if header is not None:
            assert header.text == HEADER
            together += 1
    assert weak >= 4
    assert together >= 0.75 * weak


def test_what_a_receiver_heard_of_another_transmission_is_left_out() -> None:
    mine, others = soft_message(HEADER, 12.0, (1, 2, 3)), soft_message(OTHER_HEADER, 9.0, (4, 5, 6))
    verdict = assemble_receivers([others, mine])
    assert verdict.bursts == 3
    assert verdict.reading.text == HEADER
