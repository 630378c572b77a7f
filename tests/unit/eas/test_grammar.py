"""Reading evidence by the rules of a header."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.eas.grammar import N_CHARS, character_evidence, read_header
from tests.unit.eas.same_audio import HEADER, OTHER_HEADER


def evidence_for(text: str | bytes, strength: float = 6.0) -> np.ndarray:
    """Evidence as a clean burst gives it: for its bits, against all others, against anything behind its end."""
    content = text.encode() if isinstance(text, str) else text
    bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little").astype(int)
    evidence = np.full((8 * N_CHARS, 2), -strength)
    evidence[np.arange(len(bits)), bits] = strength
    return evidence


@pytest.mark.parametrize(
    "text",
    [
        HEADER,
        OTHER_HEADER,
        "ZCZC-CIV-EVI-000000+0015-1231234-XMEX1234-",
        "ZCZC-CIV-EQW-000000+0015-123456-SASMEX/M-",
        "ZCZC-CIV-EQW-000000+0015-1234567-SASMEX7-",
        "ZCZC-XYZ-QQ9-AB12CD-999999+0017-9999999-a.b c~d!-",
        "ZCZC-WXR-TOR-" + "-".join(["029095"] * 31) + "+0045-1232359-KEAX/NWS-",
    ],
)
def test_certain_bits_are_read_as_they_stand(text: str) -> None:
    reading = read_header(evidence_for(text, 12.0))
    assert reading.text == text
    assert reading.error_probability < 1e-3
    assert np.packbits(reading.bits.astype(np.uint8), bitorder="little").tobytes() == text.encode()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(n=st.integers(1, 31), seed=st.integers(0, 10_000))
def test_the_number_of_locations_is_found(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = "-".join("".join(rng.choice(list("0123456789"), 6)) for _ in range(n))
    text = f"ZCZC-WXR-SVR-{places}+0100-1232359-KEAX/NWS-"
    assert read_header(evidence_for(text, 6.0) + rng.normal(0, 2.0, (8 * N_CHARS, 2))).text == text


def test_the_eighth_bit_is_free() -> None:
    reading = read_header(evidence_for(bytes(c | 0x80 for c in HEADER.encode())))
    assert reading.text == HEADER
    assert reading.bits[7::8].all()


def test_erased_fixed_characters_are_filled_in_and_free_ones_are_doubtful() -> None:
    evidence = evidence_for(HEADER, 12.0)
    fixed = evidence.copy()
    for place in (4, 8, 12, HEADER.index("+"), len(HEADER) - 1):
        fixed[8 * place : 8 * place + 8] = 0.0
    assert read_header(fixed).text == HEADER
    assert read_header(fixed).error_probability < 0.05
    free = evidence.copy()
    free[8 * 15 : 8 * 16] = 0.0
    assert read_header(free).error_probability == pytest.approx(0.9, abs=0.02)


def test_error_probability_is_the_share_of_wrong_readings() -> None:
    rng = np.random.default_rng(8)
    bits = np.unpackbits(np.frombuffer(HEADER.encode(), np.uint8), bitorder="little").astype(int)
    mean = 9.0
    wrong, expected, n = 0, 0.0, 300
    for _ in range(n):
        # A Gaussian log-likelihood ratio of mean m has variance 2m.
        ratio = (2 * bits - 1) * mean + rng.normal(0, np.sqrt(2 * mean), len(bits))
        evidence = np.full((8 * N_CHARS, 2), -mean)
        evidence[: len(bits)] = np.stack([-ratio / 2, ratio / 2], axis=1) + mean / 2
        reading = read_header(evidence)
        wrong += reading.text != HEADER
        expected += reading.error_probability
    assert 30 < wrong < 270
    assert wrong == pytest.approx(expected, rel=0.25)


def test_no_evidence_is_no_certainty() -> None:
    assert read_header(np.zeros((0, 2))).error_probability > 0.999


def test_character_evidence_adds_up_bits() -> None:
    bits = np.random.default_rng(1).normal(size=(16, 2))
    chars, eighth = character_evidence(bits)
    assert chars.shape == (N_CHARS, 128)
    value = sum(bits[8 + i, ord("K") >> i & 1] for i in range(7))
    last = np.logaddexp(bits[15, 0] + np.log(0.98), bits[15, 1] + np.log(0.02))
    assert chars[1, ord("K")] == pytest.approx(value + last)
    assert eighth[1] == int(bits[15, 1] + np.log(0.02) > bits[15, 0] + np.log(0.98))
    assert np.allclose(chars[2:], 0.0)
