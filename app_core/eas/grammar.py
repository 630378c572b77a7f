"""What a header may say, as a prior: from evidence for bits to the likeliest header and the chance that it is wrong.

Given the number of locations and the lengths of issue time and callsign, all fields of a header stand at fixed places
and are independent. So every one of these 124 forms is the product of its fields, and the sum over all headers is
exact. Priors prefer what is usual (known events, the purge times of 47 CFR 11.31(c), real days) and refuse nothing that
`parse_header` accepts, except callsigns shorter than 7 characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._grammar_kernels import character_table, word_sums
from app_core.eas.event_codes import event_codes
from app_core.eas.waveform import MAX_HEADER_BYTES, MAX_LOCATIONS

N_CHARS = MAX_HEADER_BYTES

ORIGINATORS = ("EAS", "CIV", "WXR", "PEP")
"""Originators of 47 CFR 11.31(d)."""

_FIRST_LOCATION = 13
_NEGLIGIBLE = 40.0  # nats by which a number of locations is less likely that is not looked at closely
_FORMS = ((7, 8, 0.96), (7, 7, 0.03), (6, 8, 0.009), (6, 7, 0.001))
"""Lengths of issue time and callsign, and how usual they are."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
_CALL_OTHERS = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in _LETTERS + _DIGITS + "/ -+")

_EIGHTH_PRIOR = (float(np.log(0.98)), float(np.log(0.02)))

Chars = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Reading:
    """The likeliest header.

    Attributes
    ----------
    text
        From ``ZCZC`` to the last dash.
    error_probability
        Posterior probability that any character is wrong, if a header it is.
    bits
        Shape (8 * len(text),): the header's bits; eighth bits as the evidence says.
    """

    text: str
    error_probability: float
    bits: NDArray[np.int8]


def _codes(words: list[str]) -> NDArray[np.int64]:
    return np.array([[ord(c) for c in word] for word in words])


def _character_prior(groups: list[tuple[str, float]]) -> NDArray[np.float64]:
    """Logarithm of the prior of the 128 characters: each group shares its weight evenly."""
    prior = np.full(128, -np.inf)
    for characters, weight in groups:
        for c in characters:
            prior[ord(c)] = np.log(weight / len(characters))
    return prior


def _weights(n: int, usual: list[int], share: float) -> NDArray[np.float64]:
    prior = np.full(n, (1.0 - share) / n)
    prior[usual] += share / len(usual)
    return np.asarray(np.log(prior))


_STRANGE = 1e-4
_CLASSES = {
    "digit": [(_DIGITS, 1.0 - _STRANGE), (_LETTERS, _STRANGE)],
    "part": [("0", 0.7), ("123456789", 0.3 - _STRANGE), (_LETTERS, _STRANGE)],
    "letter": [(_LETTERS, 1.0)],
    "event": [(_LETTERS, 0.95), (_DIGITS, 0.05)],
    "call": [(_LETTERS, 0.55), (_DIGITS, 0.1), ("/", 0.12), (" ", 0.2), (_CALL_OTHERS, 0.03)],
}


@dataclass(frozen=True)
class _Priors:
    """Tables that are made once: lists of words, shape (n, length), each with its ln prior, shape (n,)."""

    classes: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
    words: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]


@cache
def _priors() -> _Priors:
    classes = {}
    for name, groups in _CLASSES.items():
        prior = _character_prior(groups)
        members = np.flatnonzero(np.isfinite(prior))
        classes[name] = (members[:, None], prior[members])
    pairs = _codes([f"{i:02d}" for i in range(100)])
    events = sorted(event_codes())
    return _Priors(
        classes,
        {
            "originator": (_codes(list(ORIGINATORS)), np.full(4, -np.log(4))),
            "event": (_codes(events), np.full(len(events), -np.log(len(events)))),
            "day": (_codes([f"{i:03d}" for i in range(1000)]), _weights(1000, list(range(1, 367)), 0.99)),
            "hour": (pairs, _weights(100, list(range(24)), 0.995)),
            "minute": (pairs, _weights(100, list(range(60)), 0.995)),
            # Purge times go by 15 minutes up to an hour, and by 30 beyond.
            "no hour": (_codes(["00"]), np.log([0.5])),
            "some hours": (_codes([f"{i:02d}" for i in range(1, 100)]), np.full(99, np.log(0.5 / 99))),
            "quarter": (pairs, _weights(100, [15, 30, 45], 0.97)),
            "half": (pairs, _weights(100, [0, 30], 0.97)),
            "office": (_codes(["/NWS"]), np.zeros(1)),
        },
    )


@dataclass(frozen=True, slots=True)
class _Field:
    """A field at one or more places: sum over all contents, the best content's value, and the best content.

    Attributes
    ----------
    total, best
        Shape (n_places,). [nats]
    codes
        Shape (n_places, length): the best content's characters.
    """

    total: NDArray[np.float64]
    best: NDArray[np.float64]
    codes: NDArray[np.int64]

    def text(self, place: int) -> str:
        """The best content at one place."""
        return "".join(map(chr, self.codes[place]))


def _joined(*fields: _Field) -> _Field:
    total = np.sum([f.total for f in fields], axis=0)
    return _Field(total, np.sum([f.best for f in fields], axis=0), np.concatenate([f.codes for f in fields], axis=1))


def _either(first: _Field, share: float, second: _Field) -> _Field:
    """Two ways to fill a field: the `first` in a `share` of all headers."""
    a, b = np.log(share), np.log1p(-share)
    best = np.maximum(first.best + a, second.best + b)
    same = (first.codes == second.codes).all(axis=1)
    best = np.where(same, np.logaddexp(first.best + a, second.best + b), best)
    codes = np.where((first.best + a >= second.best + b)[:, None], first.codes, second.codes)
    return _Field(np.logaddexp(first.total + a, second.total + b), best, codes)


class _Text:
    """Evidence for every character at every place, with the sums that the fields are made of.

    Parameters
    ----------
    chars
        Shape (n_places, 128). [nats]
    """

    def __init__(self, chars: Chars) -> None:
        self._chars = chars
        everywhere = np.arange(len(chars))
        self._sums = {}
        for name, (members, prior) in _priors().classes.items():
            total, best, choice = word_sums(chars, everywhere, members, prior)
            self._sums[name] = _Field(total, best, members[choice])

    def fixed(self, places: Places, text: str) -> _Field:
        """A field that can only be `text`."""
        codes = np.array([ord(c) for c in text])
        value = self._chars[places[:, None] + np.arange(len(text)), codes].sum(axis=1)
        return _Field(value, value, np.tile(codes, (len(places), 1)))

    def free(self, places: Places, n: int, name: str) -> _Field:
        """A field of `n` characters of one class."""
        sums = self._sums[name]
        index = places[:, None] + np.arange(n)
        return _Field(sums.total[index].sum(axis=1), sums.best[index].sum(axis=1), sums.codes[index, 0])

    def word(self, places: Places, name: str) -> _Field:
        """A field that is one of a list of words."""
        words, prior = _priors().words[name]
        total, best, choice = word_sums(self._chars, places, words, prior)
        return _Field(total, best, words[choice])


def character_evidence(bits: NDArray[np.float64]) -> tuple[Chars, NDArray[np.int64]]:
    """Evidence for every character at every place.

    Parameters
    ----------
    bits
        Shape (n_bits, 2): evidence for 0 and for 1; places beyond it have none. [nats]

    Returns
    -------
    chars
        Shape (N_CHARS, 128). [nats]
    eighth
        Shape (N_CHARS,): the likelier eighth bit.
    """
    return character_table(np.ascontiguousarray(bits, np.float64), N_CHARS, _EIGHTH_PRIOR)


def _head(text: _Text) -> _Field:
    start = np.zeros(1, np.int64)
    return _joined(
        text.fixed(start, "ZCZC-"),
        _either(text.word(start + 5, "originator"), 0.99, text.free(start + 5, 3, "letter")),
        text.fixed(start + 8, "-"),
        _either(text.word(start + 9, "event"), 0.95, text.free(start + 9, 3, "event")),
        text.fixed(start + 12, "-"),
    )


def _locations(text: _Text) -> tuple[NDArray[np.float64], NDArray[np.float64], _Field]:
    """Sum and best value of the first 1 to 31 locations with the dashes between and the plus behind; each location."""
    places = _FIRST_LOCATION + 7 * np.arange(MAX_LOCATIONS)
    each = _joined(text.free(places, 1, "part"), text.free(places + 1, 5, "digit"))
    dashes = np.concatenate([[0.0], np.cumsum(text.fixed(places + 6, "-").total)[:-1]])
    ends = dashes + text.fixed(places + 6, "+").total
    return np.cumsum(each.total) + ends, np.cumsum(each.best) + ends, each


def _tails(text: _Text, places: Places) -> list[_Field]:
    """All that follows the plus, which stands before each of the `places`, in each of `_FORMS`."""
    purge = _one_of(
        _joined(text.word(places, "no hour"), text.word(places + 2, "quarter")),
        _joined(text.word(places, "some hours"), text.word(places + 2, "half")),
    )
    start = _joined(purge, text.fixed(places + 4, "-"))
    digits = text.free(places + 5, 6, "digit")
    moment = _joined(text.word(places + 5, "day"), text.word(places + 8, "hour"), text.word(places + 10, "minute"))
    tails = []
    for n_time, n_call, _ in _FORMS:
        at_call = places + 6 + n_time
        call = text.free(at_call, n_call, "call")
        if n_call == 8:
            call = _either(call, 0.75, _joined(text.free(at_call, 4, "letter"), text.word(at_call + 4, "office")))
        time = moment if n_time == 7 else digits
        tails.append(_joined(start, time, text.fixed(at_call - 1, "-"), call, text.fixed(at_call + n_call, "-")))
    return tails


def _roughly(text: _Text, places: Places) -> NDArray[np.float64]:
    """Sum over all that may follow the plus, as digits and letters only, in the likeliest form; shape (n_places,)."""
    start = text.free(places, 4, "digit").total + text.fixed(places + 4, "-").total
    values = []
    for n_time, n_call, _ in _FORMS:
        at_call = places + 6 + n_time
        time = text.free(places + 5, n_time, "digit").total + text.fixed(at_call - 1, "-").total
        values.append(time + text.free(at_call, n_call, "call").total + text.fixed(at_call + n_call, "-").total)
    return np.asarray(start + np.max(values, axis=0))


def _one_of(first: _Field, second: _Field) -> _Field:
    """Two ways to fill a field that have no content in common; their priors hold their shares."""
    codes = np.where((first.best >= second.best)[:, None], first.codes, second.codes)
    return _Field(np.logaddexp(first.total, second.total), np.maximum(first.best, second.best), codes)


def read_header(bits: NDArray[np.float64]) -> Reading:
    """Find the likeliest header, and the probability that it is another one.

    Parameters
    ----------
    bits
        Shape (n_bits, 2), from the ``ZCZC``'s first bit on: evidence for 0 and for 1. [nats]
    """
    chars, eighth = character_evidence(bits)
    text = _Text(chars)
    head = _head(text)
    total, best, locations = _locations(text)
    places = _FIRST_LOCATION + 7 * np.arange(1, MAX_LOCATIONS + 1)
    rough = total + _roughly(text, places)
    near = np.flatnonzero(rough > rough.max() - _NEGLIGIBLE)
    tails = _tails(text, places[near])
    share = np.log([f[2] / MAX_LOCATIONS for f in _FORMS])
    sums = np.array([total[near] + tail.total for tail in tails]) + share[:, None]
    values = np.array([best[near] + tail.best for tail in tails]) + share[:, None]
    form, which = (int(i) for i in np.unravel_index(values.argmax(), values.shape))
    named = "-".join(locations.text(i) for i in range(int(near[which]) + 1))
    winner = f"{head.text(0)}{named}+{tails[form].text(which)}"
    everything = float(np.logaddexp.reduce(sums, axis=None))
    log_posterior = float(values[form, which] + head.best[0] - head.total[0]) - everything
    # Evidence that is no number says nothing: such a reading is certainly not to be relied upon.
    error = float(-np.expm1(min(0.0, log_posterior))) if np.isfinite(log_posterior) else 1.0
    header_bits = np.unpackbits(np.frombuffer(winner.encode("ascii"), np.uint8), bitorder="little").astype(np.int8)
    header_bits[7::8] = eighth[: len(winner)]
    return Reading(winner, error, header_bits)
