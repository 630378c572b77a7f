"""What a header may say, as a prior: from evidence for bits to the likeliest header and the chance that it is wrong.

Given the number of locations and the lengths of issue time and callsign, all fields of a header stand at fixed places
and are independent. So every one of these 124 forms is the product of its fields, and the sum over all headers is
exact. Priors prefer what is usual (known events, quarter hours, real days) and refuse nothing that `parse_header`
accepts, except callsigns shorter than 7 characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from app_core.eas.event_codes import event_codes
from app_core.eas.waveform import MAX_HEADER_BYTES, MAX_LOCATIONS

N_CHARS = MAX_HEADER_BYTES
_FIRST_LOCATION = 13
_NEGLIGIBLE = 40.0  # nats below the best: forms that are not looked at closely
_FORMS = ((7, 8, 0.96), (7, 7, 0.03), (6, 8, 0.009), (6, 7, 0.001))
"""Lengths of issue time and callsign, and how usual they are."""

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"
_CALL_OTHERS = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in _LETTERS + _DIGITS + "/ -+")

Chars = NDArray[np.float64]


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
    """Tables that are made once. A class of characters has its members' codes and their ln prior, shape (n,)."""

    members: dict[str, NDArray[np.int64]]
    class_prior: dict[str, NDArray[np.float64]]
    words: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]


@cache
def _priors() -> _Priors:
    members, class_prior = {}, {}
    for name, groups in _CLASSES.items():
        prior = _character_prior(groups)
        members[name] = np.flatnonzero(np.isfinite(prior))
        class_prior[name] = prior[members[name]]
    pairs = _codes([f"{i:02d}" for i in range(100)])
    events = sorted(event_codes())
    originators = _codes(["EAS", "CIV", "WXR", "PEP"])
    return _Priors(
        members=members,
        class_prior=class_prior,
        words={
            "originator": (originators, np.full(4, -np.log(4))),
            "event": (_codes(events), np.full(len(events), -np.log(len(events)))),
            "day": (_codes([f"{i:03d}" for i in range(1000)]), _weights(1000, list(range(1, 367)), 0.99)),
            "hour": (pairs, _weights(100, list(range(24)), 0.995)),
            "minute": (pairs, _weights(100, list(range(60)), 0.995)),
            "hours": (pairs, np.full(100, -np.log(100))),
            "quarter": (pairs, _weights(100, [0, 15, 30, 45], 0.97)),
            "office": (_codes(["/NWS"]), np.zeros(1)),
        },
    )


@dataclass(frozen=True, slots=True)
class _Field:
    """Sum over all contents of a field, the best content's value, and the best content. [nats]"""

    total: float
    best: float
    text: str


def _joined(*fields: _Field) -> _Field:
    return _Field(sum(f.total for f in fields), sum(f.best for f in fields), "".join(f.text for f in fields))


def _either(first: _Field, share: float, second: _Field) -> _Field:
    """Two ways to fill a field: the `first` in a `share` of all headers."""
    a, b = float(np.log(share)), float(np.log1p(-share))
    best = max(first.best + a, second.best + b)
    if first.text == second.text:
        best = float(np.logaddexp(first.best + a, second.best + b))
    text = first.text if first.best + a >= second.best + b else second.text
    return _Field(float(np.logaddexp(first.total + a, second.total + b)), best, text)


class _Text:
    """Evidence for every character at every place, with the sums that the fields are made of.

    Parameters
    ----------
    chars
        Shape (n_places, 128). [nats]
    """

    def __init__(self, chars: Chars) -> None:
        self._chars = chars
        top = chars.max(axis=1)
        weight = np.exp(chars - top[:, None])
        self.total: dict[str, NDArray[np.float64]] = {}
        self.best: dict[str, NDArray[np.float64]] = {}
        self._code: dict[str, NDArray[np.int64]] = {}
        priors = _priors()
        for name, members in priors.members.items():
            prior = priors.class_prior[name]
            value = chars[:, members] + prior
            choice = value.argmax(axis=1)
            self.best[name] = value[np.arange(len(value)), choice]
            self._code[name] = members[choice]
            # A sum that underflows beside the strongest character is its own best term.
            mass = (weight[:, members] * np.exp(prior)).sum(axis=1)
            self.total[name] = np.where(mass > 1e-250, np.log(np.maximum(mass, 1e-300)) + top, self.best[name])

    def at(self, place: int | NDArray[np.int64], character: str) -> NDArray[np.float64]:
        """Evidence for one character at one or more places."""
        return np.asarray(self._chars[place, ord(character)])

    def fixed(self, place: int, text: str) -> _Field:
        """A field that can only be `text`."""
        value = float(sum(self._chars[place + i, ord(c)] for i, c in enumerate(text)))
        return _Field(value, value, text)

    def free(self, place: int, n: int, name: str) -> _Field:
        """A field of `n` characters of one class."""
        span = slice(place, place + n)
        text = "".join(map(chr, self._code[name][span]))
        return _Field(float(self.total[name][span].sum()), float(self.best[name][span].sum()), text)

    def word(self, place: int, name: str) -> _Field:
        """A field that is one of a list of words."""
        words, prior = _priors().words[name]
        values = prior.copy()
        for i in range(words.shape[1]):
            values += self._chars[place + i, words[:, i]]
        best = int(values.argmax())
        total = float(values[best] + np.log(np.exp(values - values[best]).sum()))
        return _Field(total, float(values[best]), "".join(map(chr, words[best])))


def character_evidence(bits: NDArray[np.float64]) -> tuple[Chars, NDArray[np.int8]]:
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
    padded = np.zeros((8 * N_CHARS, 2))
    n = min(len(bits), 8 * N_CHARS)
    padded[:n] = bits[:n]
    grid = padded.reshape(-1, 8, 2)
    ratio = grid[:, :7, 1] - grid[:, :7, 0]
    zero, one = grid[:, 7, 0] + np.log(0.98), grid[:, 7, 1] + np.log(0.02)
    base = grid[:, :7, 0].sum(axis=1) + np.logaddexp(zero, one)
    chars = base[:, None]
    for bit in range(7):
        chars = np.concatenate([chars, chars + ratio[:, bit, None]], axis=1)
    return chars, (one > zero).astype(np.int8)


def _head(text: _Text) -> _Field:
    return _joined(
        text.fixed(0, "ZCZC-"),
        _either(text.word(5, "originator"), 0.99, text.free(5, 3, "letter")),
        text.fixed(8, "-"),
        _either(text.word(9, "event"), 0.95, text.free(9, 3, "event")),
        text.fixed(12, "-"),
    )


def _locations(text: _Text) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Sum and best value of the first 1 to 31 locations with the dashes between and the plus behind; all locations."""
    places = _FIRST_LOCATION + 7 * np.arange(MAX_LOCATIONS)
    rest = places[:, None] + np.arange(1, 6)
    total = text.total["part"][places] + text.total["digit"][rest].sum(axis=1)
    best = text.best["part"][places] + text.best["digit"][rest].sum(axis=1)
    dashes = np.concatenate([[0.0], np.cumsum(text.at(places + 6, "-"))[:-1]])
    ends = dashes + text.at(places + 6, "+")
    codes = [text.free(int(p), 1, "part").text + text.free(int(p) + 1, 5, "digit").text for p in places]
    return np.cumsum(total) + ends, np.cumsum(best) + ends, codes


def _rough_tail(text: _Text, n_time: int, n_call: int) -> NDArray[np.float64]:
    """Sum over all that may follow the plus, roughly, for 1 to 31 locations; shape (31,)."""
    place = _FIRST_LOCATION + 7 * np.arange(1, MAX_LOCATIONS + 1)
    dashes = text.at(place + 4, "-") + text.at(place + 5 + n_time, "-") + text.at(place + 6 + n_time + n_call, "-")
    digit, call = text.total["digit"], text.total["call"]
    value = dashes + digit[place[:, None] + np.arange(4)].sum(axis=1)
    value += digit[place[:, None] + 5 + np.arange(n_time)].sum(axis=1)
    value += call[place[:, None] + 6 + n_time + np.arange(n_call)].sum(axis=1)
    return np.asarray(value)


def _tail(text: _Text, place: int, n_time: int, n_call: int) -> _Field:
    """All that follows the plus."""
    time = text.free(place + 5, 6, "digit")
    if n_time == 7:
        time = _joined(text.word(place + 5, "day"), text.word(place + 8, "hour"), text.word(place + 10, "minute"))
    at_call = place + 6 + n_time
    call = text.free(at_call, n_call, "call")
    if n_call == 8:
        call = _either(call, 0.75, _joined(text.free(at_call, 4, "letter"), text.word(at_call + 4, "office")))
    return _joined(
        text.word(place, "hours"),
        text.word(place + 2, "quarter"),
        text.fixed(place + 4, "-"),
        time,
        text.fixed(place + 5 + n_time, "-"),
        call,
        text.fixed(at_call + n_call, "-"),
    )


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
    share = np.log([f[2] / MAX_LOCATIONS for f in _FORMS])
    rough = np.array([total + _rough_tail(text, *form[:2]) for form in _FORMS]) + share[:, None]
    sums = rough.copy()
    winner, winner_best = "", -np.inf
    for form, i in np.argwhere(rough > rough.max() - _NEGLIGIBLE):
        tail = _tail(text, _FIRST_LOCATION + 7 * (int(i) + 1), *_FORMS[form][:2])
        sums[form, i] = total[i] + tail.total + share[form]
        value = float(best[i] + tail.best + share[form])
        if value > winner_best:
            winner_best = value
            winner = head.text + "-".join(locations[: i + 1]) + "+" + tail.text
    top = float(sums.max())
    everything = top + float(np.log(np.exp(sums - top).sum()))
    log_posterior = winner_best + head.best - everything - head.total
    # Evidence that is no number says nothing: such a reading is certainly not to be relied upon.
    error = float(-np.expm1(min(0.0, log_posterior))) if np.isfinite(log_posterior) else 1.0
    header_bits = np.unpackbits(np.frombuffer(winner.encode("ascii"), np.uint8), bitorder="little").astype(np.int8)
    header_bits[7::8] = eighth[: len(winner)]
    return Reading(winner, error, header_bits)
