"""How sure each character of a header is, and what a burst says by itself; for people, not for the decision.

A header is accepted or refused as a whole (`app_core.eas.assembler`). When it is refused, the doubt mostly lies in few
characters, and the rest is still worth reading. Bits are independent given what was received, so the probability of a
character is that of its seven bits over the sum of all characters that may stand in its place.
"""

from __future__ import annotations

import re
import string
from functools import cache

import numpy as np
from numpy.typing import NDArray

from app_core.eas.events import SoftBits

_FIELDS = re.compile(
    r"ZCZC-(?P<letters>...)-(?P<code>...)-(?P<digits>[^+]*)\+(?P<digits2>[^-]*)-(?P<digits3>[^-]*)-(?P<call>.*)-",
    re.DOTALL,
)
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))
_ALPHABETS = {
    "letters": string.ascii_uppercase,
    "code": string.ascii_uppercase + string.digits,
    "digits": string.digits + "-",
    "digits2": string.digits,
    "digits3": string.digits,
    "call": _PRINTABLE.replace("-", "").replace("+", ""),
}
_ANY = string.ascii_uppercase + string.digits + "-+/ "

_CERTAIN = 1e3  # nats for one bit: beyond this nothing changes, and sums cannot overflow

UNREADABLE = "\N{MIDDLE DOT}"
"""Stands for a character that is no text."""


@cache
def _bits_of(alphabet: str) -> NDArray[np.float64]:
    """Bits of each character, least significant first, shape (n_characters, 7)."""
    codes = np.frombuffer(alphabet.encode("ascii"), np.uint8)
    return np.unpackbits(codes[:, None], axis=1, bitorder="little")[:, :7].astype(np.float64)


def _alphabets(text: str) -> list[str]:
    """For each place of a text the characters that may stand there: by its field, or any where it has no fields."""
    alphabets = [_ANY] * len(text)
    match = _FIELDS.fullmatch(text)
    if match is not None:
        for name, alphabet in _ALPHABETS.items():
            for place in range(*match.span(name)):
                alphabets[place] = alphabet
    return alphabets


def character_confidence(soft_bits: SoftBits, text: str) -> NDArray[np.float64]:
    """Give the probability that each character of a text is right.

    Parameters
    ----------
    soft_bits
        What was received, from the first bit of ``ZCZC`` on; bits beyond its end are unknown.
    text
        The text that was read from it.

    Returns
    -------
    confidence
        Shape (len(text),), 0 to 1; 0 for a character that cannot stand in its place.
    """
    ratios = np.zeros(8 * len(text))
    n_bits = min(len(ratios), len(soft_bits))
    ratios[:n_bits] = soft_bits[:n_bits]
    # The eighth bit of a character may be either.
    ratios = np.clip(np.nan_to_num(ratios), -_CERTAIN, _CERTAIN).reshape(-1, 8)[:, :7]
    confidence = np.zeros(len(text))
    for place, (character, alphabet) in enumerate(zip(text, _alphabets(text), strict=True)):
        if character in alphabet:
            evidence = _bits_of(alphabet) @ ratios[place]
            likelihood = np.exp(evidence - evidence.max())
            confidence[place] = likelihood[alphabet.index(character)] / likelihood.sum()
    return confidence


def text_of(soft_bits: SoftBits) -> str:
    """Give what the bits say when each is decided for itself; characters that are no text are `UNREADABLE`.

    A last character of less than eight bits is left out.
    """
    bits = (np.asarray(soft_bits) > 0.0)[: len(soft_bits) // 8 * 8].reshape(-1, 8)
    codes = np.packbits(bits[:, :7], axis=1, bitorder="little")[:, 0]
    return "".join(chr(code) if 0x20 <= code < 0x7F else UNREADABLE for code in codes)


def nines(confidence: float) -> int:
    """Give how many nines a probability has, 0 to 9: 0.5 has none, 0.9 one, 0.999 three."""
    return int(np.clip(np.floor(-np.log10(max(1.0 - confidence, 1e-10)) + 1e-9), 0, 9))
