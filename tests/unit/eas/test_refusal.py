"""When bursts contradict a header, and when they only differ by chance."""

import numpy as np
import pytest

from app_core.eas.evidence import Evidence
from app_core.eas.refusal import are_consistent, contradiction, is_heard, least_character

BITS = np.array([1, 0, 1, 0, 1, 0, 1, 0] * 4, np.int8)


def evidence(ratio: np.ndarray, turned: np.ndarray | None = None) -> Evidence:
    bits = np.stack([-ratio / 2, ratio / 2], axis=1)
    none = np.zeros(len(ratio))
    return Evidence(bits, none.astype(complex), none if turned is None else turned, 10.0)


def clean() -> np.ndarray:
    return 12.0 * (2.0 * BITS - 1.0)


def test_what_speaks_against_one_character_adds_up_and_that_of_two_does_not() -> None:
    ratio = clean()
    ratio[[1, 3]] *= -0.5
    assert contradiction(evidence(ratio), BITS) == pytest.approx(12.0)
    ratio = clean()
    ratio[[1, 11]] *= -0.5
    assert contradiction(evidence(ratio), BITS) == pytest.approx(6.0)


def test_an_eighth_bit_contradicts_nothing() -> None:
    ratio = clean()
    ratio[7::8] *= -1.0
    assert contradiction(evidence(ratio), BITS) == 0.0


def test_a_bit_at_a_wrong_phase_contradicts() -> None:
    turned = np.zeros(len(BITS))
    turned[9] = 20.0
    assert contradiction(evidence(clean(), turned), BITS) == 20.0


def test_nothing_contradicts_without_bits() -> None:
    assert contradiction(evidence(np.zeros(0)), BITS) == 0.0


def test_one_burst_may_contradict_as_far_as_chance_allows() -> None:
    n_bits = 400
    assert are_consistent([], n_bits)
    # Once in a thousand messages: 800 explanations, e^-13.6 each.
    assert are_consistent([13.5], n_bits)
    assert not are_consistent([13.7], n_bits)
    # The longer the header, the more chance has to choose from.
    assert are_consistent([13.7], 2 * n_bits)


def test_many_bursts_may_not_contradict_all_at_once() -> None:
    assert are_consistent([12.5, 0.0, 0.0], 400)
    assert not are_consistent([12.5, 12.5, 12.5], 400)


@pytest.mark.parametrize("n_bursts", [1, 2, 3])
def test_chance_alone_is_refused_once_in_a_thousand(n_bursts: int) -> None:
    rng = np.random.default_rng(4)
    n_bits, n = 100, 40_000
    # The largest of 200 exponential variables is what the bound stands for.
    largest = -np.log1p(-(rng.random((n, n_bursts)) ** (1.0 / (2 * n_bits))))
    refused = sum(not are_consistent(list(row), n_bits) for row in largest)
    assert 5 <= refused <= 90


def test_a_character_that_was_not_heard_is_told() -> None:
    total = np.zeros((40, 2))
    total[:32, 1] = np.where(BITS == 1, 5.0, -5.0)
    total[:32, 0] = -total[:32, 1]
    assert least_character(total, BITS) == pytest.approx(35.0)
    assert is_heard(total, BITS)
    total[8:16] = 0.0
    assert not is_heard(total, BITS)
    total[8:16] = -1.0
    assert least_character(total, BITS) == pytest.approx(-7.0)
