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

from app_core.eas.waveform import MAX_HEADER_BYTES, MAX_LOCATIONS

N_CHARS = MAX_HEADER_BYTES
_FIRST_LOCATION = 13
_N_FORMS = MAX_LOCATIONS
_EVENTS = (
    "ADR AVA AVW BHW BLU BWW BZW CAE CDW CEM CFA CFW CHW CWW DBA DBW DEW DMO DSW EAN EAT EQW EVA EVI EWW FCW FFA FFS "
    "FFW FLA FLS FLW FRW FSW FZW HLS HMW HUA HUW HWA HWW IBW IFW LAE LEW LSW MEP NAT NIC NMN NPT NST NUW POS RHW RMT "
    "RWT SCS SMW SPS SPW SQW SSA SSW SVA SVR SVS TOA TOE TOR TRA TRW TSA TSW TXB TXF TXO TXP VOA VOW WFA WFW WSA WSW"
).split()

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
    """ln prior of the 128 characters: each group shares its weight evenly."""
    prior = np.full(128, -np.inf)
    for characters, weight in groups:
        for c in characters:
            prior[ord(c)] = np.log(weight / len(characters))
    return prior


@dataclass(frozen=True)
class _Priors:
    char_bits: NDArray[np.float64]
    any_digit: NDArray[np.float64]
    part: NDArray[np.float64]
    letter: NDArray[np.float64]
    event_char: NDArray[np.float64]
    call: NDArray[np.float64]
    originators: NDArray[np.int64]
    events: NDArray[np.int64]
    days: NDArray[np.int64]
    days_prior: NDArray[np.float64]
    pairs: NDArray[np.int64]
    hours_prior: NDArray[np.float64]
    minutes_prior: NDArray[np.float64]
    quarters_prior: NDArray[np.float64]


def _weights(n: int, usual: list[int], share: float) -> NDArray[np.float64]:
    prior = np.full(n, (1.0 - share) / n)
    prior[usual] += share / len(usual)
    return np.log(prior)


@cache
def _priors() -> _Priors:
    strange = 1e-4
    return _Priors(
        char_bits=np.unpackbits(np.arange(128, dtype=np.uint8)[:, None], axis=1, bitorder="little")[:, :7].astype(float),
        any_digit=_character_prior([(_DIGITS, 1.0 - strange), (_LETTERS, strange)]),
        part=_character_prior([("0", 0.7), ("123456789", 0.3 - strange), (_LETTERS, strange)]),
        letter=_character_prior([(_LETTERS, 1.0)]),
        event_char=_character_prior([(_LETTERS, 0.95), (_DIGITS, 0.05)]),
        call=_character_prior([(_LETTERS, 0.55), (_DIGITS, 0.1), ("/", 0.12), (" ", 0.2), (_CALL_OTHERS, 0.03)]),
        originators=_codes(["EAS", "CIV", "WXR", "PEP"]),
        events=_codes(_EVENTS),
        days=_codes([f"{i:03d}" for i in range(1000)]),
        days_prior=_weights(1000, list(range(1, 367)), 0.99),
        pairs=_codes([f"{i:02d}" for i in range(100)]),
        hours_prior=_weights(100, list(range(24)), 0.995),
        minutes_prior=_weights(100, list(range(60)), 0.995),
        quarters_prior=_weights(100, [0, 15, 30, 45], 0.97),
    )


def _lse(values: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    top = np.asarray(values.max(axis=axis, keepdims=True))
    total = np.log(np.exp(values - top).sum(axis=axis, keepdims=True)) + top
    return np.asarray(np.squeeze(total, axis=axis))


@dataclass(frozen=True, slots=True)
class _Field:
    """Sum over all contents, the best one's value, and the best contents' codes; leading shape (n_places,)."""

    total: NDArray[np.float64]
    best: NDArray[np.float64]
    codes: NDArray[np.int64]


def _char_field(chars: Chars, places: NDArray[np.int64], prior: NDArray[np.float64]) -> _Field:
    values = chars[places] + prior
    code = values.argmax(axis=-1)
    return _Field(_lse(values), values.max(axis=-1), code[..., None])


def _word_field(chars: Chars, places: NDArray[np.int64], words: NDArray[np.int64], prior: NDArray[np.float64]) -> _Field:
    values = np.broadcast_to(prior, (len(places), len(words))).copy()
    for i in range(words.shape[1]):
        values += chars[(places + i)[:, None], words[None, :, i]]
    return _Field(_lse(values), values.max(axis=1), words[values.argmax(axis=1)])


def _joined(*fields: _Field) -> _Field:
    return _Field(
        np.sum([f.total for f in fields], axis=0),
        np.sum([f.best for f in fields], axis=0),
        np.concatenate([f.codes for f in fields], axis=-1),
    )


def _either(first: _Field, second: _Field) -> _Field:
    better = second.best > first.best
    same = (first.codes == second.codes).all(axis=-1)
    return _Field(
        np.logaddexp(first.total, second.total),
        np.where(same, np.logaddexp(first.best, second.best), np.maximum(first.best, second.best)),
        np.where(better[:, None], second.codes, first.codes),
    )


def _weighted(field: _Field, weight: float) -> _Field:
    return _Field(field.total + np.log(weight), field.best + np.log(weight), field.codes)


def _fixed(chars: Chars, places: NDArray[np.int64], text: str) -> _Field:
    return _word_field(chars, places, _codes([text]), np.zeros(1))


def _one_by_one(chars: Chars, places: NDArray[np.int64], n: int, prior: NDArray[np.float64]) -> _Field:
    return _joined(*[_char_field(chars, places + i, prior) for i in range(n)])


def _callsign(chars: Chars, places: NDArray[np.int64], n: int) -> _Field:
    priors = _priors()
    free = _one_by_one(chars, places, n, priors.call)
    if n < 8:
        return free
    office = _joined(_one_by_one(chars, places, 4, priors.letter), _fixed(chars, places + 4, "/NWS"))
    return _either(_weighted(free, 0.75), _weighted(office, 0.25))


def _issue_time(chars: Chars, places: NDArray[np.int64], n: int) -> _Field:
    priors = _priors()
    if n == 6:
        return _one_by_one(chars, places, 6, priors.any_digit)
    return _joined(
        _word_field(chars, places, priors.days, priors.days_prior),
        _word_field(chars, places + 3, priors.pairs, priors.hours_prior),
        _word_field(chars, places + 5, priors.pairs, priors.minutes_prior),
    )


def character_evidence(bits: NDArray[np.float64]) -> tuple[Chars, NDArray[np.int8]]:
    """Evidence for every character at every place.

    Parameters
    ----------
    bits
        Shape (n_bits, 2): evidence for 0 and for 1; places beyond it have none. [nats]

    Returns
    -------
    chars
        Shape (N_CHARS + 8, 128). [nats]
    eighth
        Shape (N_CHARS + 8,): the likelier eighth bit.
    """
    padded = np.zeros((8 * (N_CHARS + 8), 2))
    n = min(len(bits), 8 * N_CHARS)
    padded[:n] = bits[:n]
    grid = padded.reshape(-1, 8, 2)
    ratio = grid[:, :7, 1] - grid[:, :7, 0]
    zero, one = grid[:, 7, 0] + np.log(0.98), grid[:, 7, 1] + np.log(0.02)
    base = grid[:, :7, 0].sum(axis=1) + np.logaddexp(zero, one)
    return ratio @ _priors().char_bits.T + base[:, None], (one > zero).astype(np.int8)


def _body(chars: Chars, n_locations: NDArray[np.int64]) -> _Field:
    """All up to the plus sign, for each number of locations; codes hold the longest form, without its separators."""
    priors = _priors()
    zero = np.zeros(1, np.int64)
    n_form = len(n_locations)
    free_originator = _one_by_one(chars, zero + 5, 3, priors.letter)
    usual_originator = _word_field(chars, zero + 5, priors.originators, np.full(4, -np.log(4)))
    free_event = _one_by_one(chars, zero + 9, 3, priors.event_char)
    usual_event = _word_field(chars, zero + 9, priors.events, np.full(len(priors.events), -np.log(len(priors.events))))
    head = _joined(
        _fixed(chars, zero, "ZCZC-"),
        _either(_weighted(usual_originator, 0.99), _weighted(free_originator, 0.01)),
        _fixed(chars, zero + 8, "-"),
        _either(_weighted(usual_event, 0.95), _weighted(free_event, 0.05)),
        _fixed(chars, zero + 12, "-"),
    )
    places = _FIRST_LOCATION + 7 * np.arange(MAX_LOCATIONS)
    location = _joined(
        _char_field(chars, places, priors.part), _one_by_one(chars, places + 1, 5, priors.any_digit)
    )
    dash = chars[places + 6, ord("-")]
    plus = chars[places + 6, ord("+")]
    before = np.concatenate([[0.0], np.cumsum(dash)[:-1]])
    total = head.total + np.cumsum(location.total) + before + plus
    best = head.best + np.cumsum(location.best) + before + plus
    codes = np.concatenate([head.codes[0], location.codes.ravel()])
    return _Field(total[n_locations - 1], best[n_locations - 1], np.broadcast_to(codes, (n_form, len(codes))))


def read_header(bits: NDArray[np.float64]) -> Reading:
    """Find the likeliest header, and the probability that it is another one.

    Parameters
    ----------
    bits
        Shape (n_bits, 2), from the ``ZCZC``'s first bit on: evidence for 0 and for 1. [nats]
    """
    chars, eighth = character_evidence(bits)
    n_locations = np.arange(1, MAX_LOCATIONS + 1)
    body = _body(chars, n_locations)
    tail_place = _FIRST_LOCATION + 7 * n_locations
    priors = _priors()
    purge = _joined(
        _word_field(chars, tail_place, priors.pairs, np.full(100, -np.log(100))),
        _word_field(chars, tail_place + 2, priors.pairs, priors.quarters_prior),
        _fixed(chars, tail_place + 4, "-"),
    )
    forms = []
    for n_time, time_share in ((7, 0.99), (6, 0.01)):
        time = _issue_time(chars, tail_place + 5, n_time)
        place = tail_place + 5 + n_time
        middle = _joined(purge, time, _fixed(chars, place, "-"))
        for n_call, call_share in ((8, 0.97), (7, 0.03)):
            call = _callsign(chars, place + 1, n_call)
            end = _fixed(chars, place + 1 + n_call, "-")
            forms.append(_weighted(_joined(middle, call, end), time_share * call_share / MAX_LOCATIONS))
    total = np.array([f.total + body.total for f in forms])
    best = np.array([f.best + body.best for f in forms])
    form, index = np.unravel_index(int(best.argmax()), best.shape)
    everything = float(_lse(total.ravel()))
    error = float(-np.expm1(min(0.0, float(best[form, index]) - everything)))
    text = _text(body.codes[index], forms[int(form)].codes[index], int(n_locations[index]))
    encoded = np.frombuffer(text.encode("ascii"), np.uint8)
    header_bits = np.unpackbits(encoded, bitorder="little").astype(np.int8)
    header_bits[7::8] = eighth[: len(text)]
    return Reading(text, error, header_bits)


def _text(body: NDArray[np.int64], tail: NDArray[np.int64], n_locations: int) -> str:
    letters = "".join(map(chr, body))
    locations = [letters[13 + 6 * i : 19 + 6 * i] for i in range(n_locations)]
    return letters[:13] + "-".join(locations) + "+" + "".join(map(chr, tail))
