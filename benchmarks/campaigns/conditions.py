"""The conditions under which a decoder is tried: a name, its levels, and how a trial of it is made from a seed.

A trial is fixed by condition, level and seed. The header depends on the seed alone, so that a benchmark tries every
condition and level with the same headers. Where a condition is not about noise, Eb/N0 is 20 dB.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.campaigns.impairments import (
    amplitude,
    as_16_bits,
    clipped,
    echo,
    hum,
    impulses,
    played_at,
    speech_beneath,
    through_codec,
    twist,
    white_noise,
    wow_and_flutter,
)
from benchmarks.campaigns.radio_path import narrow_fm
from benchmarks.campaigns.transmissions import RATE_HZ, Aired, Pcm, Rng, Trial, message, random_header

Level = float | str
Make = Callable[[str, Level, Rng], Trial]

CLEAR_DB = 20.0
"""Eb/N0 where it is not noise that is tried. [dB]"""

FADE_HZ = 1.0

_PRESENT = {
    "first": (True, False, False),
    "second": (False, True, False),
    "third": (False, False, True),
    "not the first": (False, True, True),
    "not the second": (True, False, True),
    "not the third": (True, True, False),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One kind of impairment.

    Attributes
    ----------
    name
        As on the command line.
    levels
        What is tried; of a sweep, from the hardest to the easiest.
    make
        Gives the trial of a header at a level.
    kind
        ``sweep``: from nothing to everything decoded. ``demanded``: every transmission shall be decoded. ``hard``:
        nobody asks for all of it, but nothing wrong may be said.
    unit
        Of the levels.
    """

    name: str
    levels: tuple[Level, ...]
    make: Make
    kind: str = "demanded"
    unit: str = ""


def _trial(pcm: Pcm, aired: Aired, *, peak: float = 0.8, headers: tuple[str, ...] = (), timed: bool = True) -> Trial:
    """Scale to a peak, and round as 16-bit audio is."""
    scaled = pcm * np.float32(peak / max(float(np.abs(pcm).max()), 1e-9))
    bursts = aired.bursts if timed else ()
    return Trial(as_16_bits(scaled), aired.sample_rate_hz, headers or (aired.header,), bursts)


def _noisy(aired: Aired, rng: Rng, eb_n0_db: float = CLEAR_DB) -> Trial:
    return _trial(white_noise(aired.pcm, eb_n0_db, rng, aired.sample_rate_hz), aired)


def _changed(change: Callable[[Aired, Level, Rng], Pcm], *, timed: bool = True) -> Make:
    """A condition that changes the clean message, to which clear noise is added."""

    def make(header: str, level: Level, rng: Rng) -> Trial:
        aired = message(header)
        return _trial(white_noise(change(aired, level, rng), CLEAR_DB, rng, RATE_HZ), aired, timed=timed)

    return make


def _behind_noise(change: Callable[[Pcm, Level, Rng], Pcm]) -> Make:
    """A condition that changes the message with its noise."""

    def make(header: str, level: Level, rng: Rng) -> Trial:
        aired = message(header)
        return _trial(change(white_noise(aired.pcm, CLEAR_DB, rng, RATE_HZ), level, rng), aired)

    return make


def _radio(fade_hz: float | None = None, present: tuple[bool, bool, bool] = (True, True, True)) -> Make:
    def make(header: str, level: Level, rng: Rng) -> Trial:
        aired = message(header, present=present)
        return _trial(narrow_fm(aired.pcm, float(level), rng, RATE_HZ, fade_hz), aired)

    return make


def _impulses(header: str, level: Level, rng: Rng) -> Trial:
    aired = message(header)
    which = [int(i) for i in rng.permutation(3)[: int(level)]]
    noisy = white_noise(aired.pcm, CLEAR_DB, rng, RATE_HZ)
    return _trial(impulses(noisy, aired.bursts, which, rng, RATE_HZ), aired)


def _quiet(header: str, level: Level, rng: Rng) -> Trial:
    aired = message(header)
    return _trial(white_noise(aired.pcm, CLEAR_DB, rng, RATE_HZ), aired, peak=float(amplitude(float(level))))


def _offset(header: str, level: Level, rng: Rng) -> Trial:
    aired = message(header)
    noisy = white_noise(aired.pcm, CLEAR_DB, rng, RATE_HZ)
    return Trial(as_16_bits(0.3 * noisy + np.float32(level)), RATE_HZ, (header,), aired.bursts)


def _coded(header: str, level: Level, rng: Rng) -> Trial:
    codec, kbit_s = str(level).split()
    aired = message(header)
    # Some noise under the bursts, as any receiver has: an encoder's gates and tables then work as on the air.
    pcm = 0.5 * white_noise(aired.pcm, CLEAR_DB + 4.0, rng, RATE_HZ)
    return _trial(through_codec(pcm, codec, int(kbit_s), RATE_HZ), aired, timed=False)


def _echoed(aired: Aired, level: Level, rng: Rng) -> Pcm:
    delay_ms, decibels = (float(part) for part in str(level).split())
    delay_s = 1e-3 * np.clip(delay_ms + rng.uniform(-0.3, 0.3), 1.0, 8.0)
    return echo(aired.pcm, delay_s, rng.choice((-1.0, 1.0)) * float(amplitude(decibels)), RATE_HZ)


def _worn(aired: Aired, level: Level, rng: Rng) -> Pcm:
    wow, flutter = (float(part) for part in str(level).split())
    return wow_and_flutter(aired.pcm, wow, flutter, rng, RATE_HZ)


def _two_messages(header: str, level: Level, rng: Rng) -> Trial:
    first, second = message(header, tail_s=0.0), message(random_header(rng), lead_s=float(level))
    pcm = np.concatenate([first.pcm[:-RATE_HZ], second.pcm])
    return _trial(white_noise(pcm, CLEAR_DB, rng, RATE_HZ), first, headers=(header, second.header))


def _all_at_once(header: str, level: Level, rng: Rng) -> Trial:
    """A little of everything, in noise: what no model of the noise has thought of."""
    aired = message(header, pause_s=rng.uniform(0.5, 1.5), eighth=str(rng.choice(("0", "0", "even"))))
    pcm = echo(aired.pcm, rng.uniform(0.2e-3, 8e-3), rng.uniform(-0.4, 0.4), RATE_HZ)
    pcm = twist(hum(pcm, rng.uniform(-20.0, 6.0), rng, RATE_HZ), rng.uniform(-6.0, 6.0), RATE_HZ)
    pcm = impulses(pcm, aired.bursts, [int(rng.integers(3))], rng, RATE_HZ) if rng.random() < 0.5 else pcm
    pcm = speech_beneath(pcm, rng.uniform(-30.0, -8.0), rng, RATE_HZ)
    pcm = played_at(pcm, float(rng.uniform(0.98, 1.02)))
    return _trial(white_noise(pcm, float(level), rng, RATE_HZ), aired, timed=False)


def _sweeps() -> list[Condition]:
    awgn = (3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 16.0, 24.0)
    fm = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0)
    fading = (2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 18.0, 22.0, 26.0, 30.0)
    return [
        Condition("awgn", awgn, lambda h, level, rng: _noisy(message(h), rng, float(level)), "sweep", "dB Eb/N0"),
        Condition("fm", fm, _radio(), "sweep", "dB C/N"),
        Condition("fading", fading, _radio(FADE_HZ), "sweep", "dB C/N"),
    ]


def _demanded() -> list[Condition]:
    percents = (-3.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0)
    rates = tuple(map(str, (8000, 11025, 16000, 24000, 32000, 44100, 48000)))
    return [
        Condition("speed", percents, _changed(lambda a, p, _: played_at(a.pcm, 1.0 + float(p) / 100.0)), unit="%"),
        Condition("impulses", ("1", "2", "3"), _impulses, unit="bursts struck"),
        Condition("lone burst", ("first", "second", "third"), _sent_in_part),
        Condition("missing burst", ("not the first", "not the second", "not the third"), _sent_in_part),
        Condition(
            "twist", (-12.0, -6.0, 6.0, 12.0), _changed(lambda a, d, _: twist(a.pcm, float(d), RATE_HZ)), unit="dB"
        ),
        Condition("echo", tuple(f"{ms} -6" for ms in (1, 2, 3, 4, 5, 6, 8)), _changed(_echoed), unit="ms, dB"),
        Condition("hum", (0.0, 6.0), _changed(lambda a, d, rng: hum(a.pcm, float(d), rng, RATE_HZ)), unit="dB"),
        Condition(
            "speech beneath",
            (-12.0, -6.0),
            _changed(lambda a, d, rng: speech_beneath(a.pcm, float(d), rng, RATE_HZ)),
            unit="dB",
        ),
        Condition("level", (-40.0, -60.0), _quiet, unit="dBFS"),
        Condition("offset", (0.3, 0.6), _offset, unit="of full scale"),
        Condition("clipped", (6.0, 20.0, 40.0), _behind_noise(lambda x, d, _: clipped(x, float(d))), unit="dB"),
        Condition("eighth bit", ("1", "even"), lambda h, e, rng: _noisy(message(h, eighth=str(e)), rng)),
        Condition("wow and flutter", ("0.1 0.1", "0.3 0.1", "0.5 0.2"), _changed(_worn, timed=False), unit="%, %"),
        Condition("codec", ("mp3 16", "mp3 24", "opus 12", "opus 16", "opus 24", "aac 16"), _coded, unit="kbit/s"),
        Condition("rate", rates, lambda h, hz, rng: _noisy(message(h, rate_hz=int(hz)), rng), unit="Hz"),
        Condition(
            "first burst cut",
            (0.05, 0.1, 0.2, 0.3, 0.5),
            lambda h, s, rng: _noisy(message(h, cut_s=float(s)), rng),
            unit="s",
        ),
        Condition(
            "pause", (0.3, 0.5, 0.87, 1.5, 2.0), lambda h, s, rng: _noisy(message(h, pause_s=float(s)), rng), unit="s"
        ),
        Condition("two messages", (0.3, 2.0), _two_messages, unit="s between"),
    ]


def _sent_in_part(header: str, level: Level, rng: Rng) -> Trial:
    return _noisy(message(header, present=_PRESENT[str(level)]), rng)


def _hard() -> list[Condition]:
    echoes = tuple(f"{ms} {db}" for ms in (1, 3, 5, 8) for db in (-3, -1))
    lone = (True, False, False)
    return [
        Condition("echo, strong", echoes, _changed(_echoed), "hard", "ms, dB"),
        Condition(
            "hum, loud", (12.0, 20.0), _changed(lambda a, d, rng: hum(a.pcm, float(d), rng, RATE_HZ)), "hard", "dB"
        ),
        Condition(
            "speech as loud",
            (-3.0, 0.0),
            _changed(lambda a, d, rng: speech_beneath(a.pcm, float(d), rng, RATE_HZ)),
            "hard",
            "dB",
        ),
        Condition("wow and flutter, strong", ("1.0 0.3", "2.0 0.5"), _changed(_worn, timed=False), "hard", "%, %"),
        Condition("codec, low", ("mp3 8", "opus 6", "opus 8"), _coded, "hard", "kbit/s"),
        Condition(
            "lone burst in noise",
            (8.0, 10.0, 12.0, 14.0),
            lambda h, level, rng: _noisy(message(h, present=lone), rng, float(level)),
            "hard",
            "dB Eb/N0",
        ),
        Condition("lone burst, fm", (4.0, 6.0, 8.0, 10.0), _radio(present=lone), "hard", "dB C/N"),
        Condition("all at once", (7.0, 9.0, 12.0), _all_at_once, "hard", "dB Eb/N0"),
    ]


CONDITIONS: dict[str, Condition] = {c.name: c for c in (*_sweeps(), *_demanded(), *_hard())}
"""All of them, by name."""


def make_trial(condition: str, level: Level, seed: int) -> Trial:
    """Make one trial.

    Raises
    ------
    KeyError
        If there is no such condition.
    RuntimeError
        If it needs FFmpeg, which is missing.
    """
    header = random_header(np.random.default_rng([1, seed]))
    rng = np.random.default_rng([2, zlib.crc32(f"{condition} {level}".encode()), seed])
    return CONDITIONS[condition].make(header, level, rng)
