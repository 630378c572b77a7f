"""What soft bits say of each character."""

from __future__ import annotations

import numpy as np
import pytest

from app_core.eas.confidence import UNREADABLE, character_confidence, nines, text_of
from app_core.eas.events import SoftBits
from tests.unit.eas.same_audio import HEADER


def soft_bits(text: str | bytes, strength: float = 10.0) -> SoftBits:
    content = text.encode("ascii") if isinstance(text, str) else text
    bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
    return (strength * (2.0 * bits - 1.0)).astype(np.float32)


def test_clear_bits_are_sure() -> None:
    assert text_of(soft_bits(HEADER)) == HEADER
    assert character_confidence(soft_bits(HEADER), HEADER).min() > 0.999


def test_bits_that_say_nothing_leave_what_the_field_allows() -> None:
    confidence = character_confidence(np.zeros(0, np.float32), HEADER)
    digit = HEADER.index("029095")
    assert confidence[HEADER.index("WXR")] == pytest.approx(1 / 26)
    assert confidence[HEADER.index("TOR")] == pytest.approx(1 / 36)
    assert confidence[digit] == pytest.approx(1 / 11)  # or a dash
    assert confidence[HEADER.index("+") + 1] == pytest.approx(1 / 10)
    assert confidence[HEADER.index("KEAX")] == pytest.approx(1 / 93)  # printable, without dash and plus


def test_one_doubtful_bit_is_doubt_in_one_character() -> None:
    bits = soft_bits(HEADER)
    place = HEADER.index("TOR") + 1
    bits[8 * place] = 0.5
    confidence = character_confidence(bits, HEADER)
    # O and N differ in that bit alone.
    assert confidence[place] == pytest.approx(1.0 / (1.0 + np.exp(-0.5)), abs=1e-4)
    assert np.delete(confidence, place).min() > 0.999


def test_a_character_against_the_evidence_has_little() -> None:
    confidence = character_confidence(soft_bits(HEADER), HEADER.replace("TOR", "TOA"))
    assert confidence[HEADER.index("TOR") + 2] < 1e-6


def test_the_eighth_bit_counts_for_nothing() -> None:
    bits = soft_bits(bytes(byte | 0x80 for byte in HEADER.encode()))
    assert text_of(bits) == HEADER
    assert character_confidence(bits, HEADER).min() > 0.999


def test_what_cannot_stand_there_has_none() -> None:
    text = "ZCZC-WxR-TOR"
    assert character_confidence(soft_bits(text), text)[text.index("x")] == 0.0


def test_text_without_fields_is_judged_by_all_characters_of_a_header() -> None:
    assert character_confidence(np.zeros(0, np.float32), "ZCZC") == pytest.approx([1 / 40] * 4)


def test_unreadable_bytes_and_broken_ends() -> None:
    assert text_of(soft_bits(b"AB\x07\x7f")) == f"AB{UNREADABLE}{UNREADABLE}"
    assert text_of(soft_bits("AB")[:13]) == "A"
    assert text_of(np.zeros(0, np.float32)) == ""
    assert character_confidence(np.zeros(0, np.float32), "").shape == (0,)


def test_bits_that_are_no_numbers_are_doubt() -> None:
    bits = soft_bits("ZCZC")
    bits[:8] = np.nan
    assert character_confidence(bits, "ZCZC")[0] == pytest.approx(1 / 40)


def test_infinite_evidence_is_certainty() -> None:
    bits = soft_bits("ZCZC", np.inf)
    assert text_of(bits) == "ZCZC"
    assert character_confidence(bits, "ZCZC") == pytest.approx([1.0] * 4)


@pytest.mark.parametrize(
    ("confidence", "count"),
    [(0.0, 0), (0.5, 0), (0.89, 0), (0.9, 1), (0.99, 2), (0.999, 3), (0.9995, 3), (1.0 - 1e-9, 9), (1.0, 9)],
)
def test_nines_are_counted(confidence: float, count: int) -> None:
    assert nines(confidence) == count
