"""Bursts without a preamble, found by their text."""

import numpy as np
import pytest

from app_core.eas.assembler import log_odds
from app_core.eas.framing import Burst
from app_core.eas.matched_filter import HOP, RATE, SampleHistory
from app_core.eas.realign import find_burst
from app_core.eas.timing import N_PREAMBLE_BITS
from tests.unit.eas.same_audio import HEADER, OTHER_HEADER, Pcm, burst, noisy, silence

RATE_HZ = float(RATE)
N_BITS = 8 * len(HEADER)
LEAD = 8000


def history_of(first: Pcm) -> tuple[SampleHistory, Burst]:
    """Something, and a whole burst 1 s behind it."""
    pcm = np.concatenate([np.zeros(LEAD, np.float32), first, silence(1.0, RATE_HZ), burst(HEADER, RATE_HZ)])
    pcm = noisy(np.concatenate([pcm, silence(0.3, RATE_HZ)]), 10.0, 1, RATE_HZ)
    history = SampleHistory(60000)
    for start in range(0, len(pcm), HOP):
        history.append(pcm[start : start + HOP])
    whole = Burst(start=float(LEAD + len(first) + round(RATE_HZ)), clock=0.0, detuning=0.0, limit=1e9)
    whole.receive(history, [])
    return history, whole


@pytest.mark.parametrize("n_lost_bits", [60, 128, 128 + 150])
def test_a_burst_whose_beginning_was_cut_off_is_found(n_lost_bits: int) -> None:
    history, whole = history_of(burst(HEADER, RATE_HZ)[16 * n_lost_bits :])
    found = find_burst(history, [], whole, log_odds(whole, N_BITS), (0.0, whole.start - 2000.0))
    assert found is not None
    assert found.start == pytest.approx(LEAD - 16 * n_lost_bits, abs=4.0)
    mark, space = np.abs(found.correlation[N_PREAMBLE_BITS : N_PREAMBLE_BITS + N_BITS, :2]).T
    sent = np.unpackbits(np.frombuffer(HEADER.encode(), np.uint8), bitorder="little")
    heard = slice(max(0, n_lost_bits - N_PREAMBLE_BITS), N_BITS)
    assert np.mean((mark > space)[heard] == (sent[heard] == 1)) > 0.98


def test_another_text_is_not_found() -> None:
    history, whole = history_of(burst(OTHER_HEADER, RATE_HZ))
    assert find_burst(history, [], whole, log_odds(whole, N_BITS), (0.0, whole.start - 2000.0)) is None


def test_nothing_is_found_where_nothing_can_be() -> None:
    history, whole = history_of(silence(0.5, RATE_HZ))
    odds = log_odds(whole, N_BITS)
    assert find_burst(history, [], whole, odds, (0.0, whole.start - 2000.0)) is None
    assert find_burst(history, [], whole, odds, (5000.0, 5100.0)) is None
