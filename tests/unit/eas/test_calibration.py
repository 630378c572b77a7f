"""What odds are worth: their scale, and whether predicted and observed errors of whole headers agree."""

from dataclasses import replace

import numpy as np
import pytest

from app_core.eas.assembler import assemble
from app_core.eas.calibration import certain_bits, scale_of, scaled
from app_core.eas.evidence import LARGEST_RATIO, Evidence
from app_core.eas.framing import Burst
from app_core.eas.matched_filter import HOP, RATE, SampleHistory
from tests.unit.eas.same_audio import HEADER, OTHER_HEADER, burst, noisy, silence

BITS = np.unpackbits(np.frombuffer(HEADER.encode(), np.uint8), bitorder="little").astype(np.int8)


def told(mean: float, worth: float, seed: int) -> Evidence:
    """Evidence whose odds are `worth` times what they say."""
    ratio = np.random.default_rng(seed).normal(mean, np.sqrt(2.0 * mean), len(BITS)) / worth
    ratio *= 2.0 * BITS - 1.0
    bits = np.stack([-ratio / 2, ratio / 2], axis=1)
    return Evidence(bits, np.zeros(len(BITS), complex), np.zeros(len(BITS)), 0.0)


def test_certain_bits_are_those_that_the_format_fixes() -> None:
    certain = certain_bits("ZCZC-WXR-1").reshape(-1, 8)
    assert certain[:, 7].sum() == 0
    assert certain[[0, 3, 4, 8], :7].all()
    np.testing.assert_array_equal(np.flatnonzero(certain[5]), [5, 6])
    np.testing.assert_array_equal(np.flatnonzero(certain[9]), [4, 5, 6])


@pytest.mark.parametrize("worth", [0.5, 0.75, 1.0, 1.2])
def test_odds_are_scaled_to_what_they_are_worth(worth: float) -> None:
    scales = [scale_of([told(4.0, worth, 3 * seed + i) for i in range(3)], HEADER, BITS) for seed in range(8)]
    assert np.exp(np.mean(np.log(scales))) == pytest.approx(worth, rel=0.12)


def test_a_lone_burst_without_a_contradiction_is_left_as_it_is() -> None:
    assert scale_of([told(16.0, 1.0, 1)], HEADER, BITS) == pytest.approx(1.0, abs=0.15)


def test_what_went_through_a_codec_is_never_worth_more_than_it_says() -> None:
    plain = [told(4.0, 1.3, seed) for seed in range(3)]
    assert scale_of(plain, HEADER, BITS) > 1.1
    assert scale_of([replace(plain[0], is_coded=True), *plain[1:]], HEADER, BITS) == 1.0


def test_scaled_evidence_says_as_much_of_a_signal() -> None:
    evidence = told(16.0, 1.0, 1)
    twice = scaled(evidence, 2.0)
    np.testing.assert_allclose(twice.bits.sum(axis=1), evidence.bits.sum(axis=1), atol=1e-9)
    ratio, before = twice.bits[:, 1] - twice.bits[:, 0], evidence.bits[:, 1] - evidence.bits[:, 0]
    np.testing.assert_allclose(ratio, np.clip(2.0 * before, -LARGEST_RATIO, LARGEST_RATIO), atol=1e-9)


def heard(text: str, eb_n0_db: float, seed: int) -> Burst:
    rate_hz = float(RATE)
    pcm = noisy(np.concatenate([burst(text, rate_hz), silence(0.1, rate_hz)]), eb_n0_db, seed, rate_hz)
    history = SampleHistory(20000)
    padded = np.concatenate([np.zeros(100, np.float32), pcm])
    for start in range(0, len(padded), HOP):
        history.append(padded[start : start + HOP])
    result = Burst(start=100.0, clock=0.0, detuning=0.0, limit=1e9)
    result.receive(history, [])
    return result


@pytest.mark.parametrize(("n_bursts", "eb_n0_db"), [(1, 9.0), (3, 4.5)])
def test_predicted_and_observed_errors_agree(n_bursts: int, eb_n0_db: float) -> None:
    predicted, observed = 0.0, 0
    for seed in range(100):
        verdict = assemble([heard(OTHER_HEADER, eb_n0_db, 1000 * i + seed) for i in range(n_bursts)])
        predicted += verdict.error_probability
        observed += verdict.reading.text != OTHER_HEADER
    assert 10 < observed < 60
    assert 0.5 < predicted / observed < 2.0
