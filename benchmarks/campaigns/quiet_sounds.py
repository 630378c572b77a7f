"""What a decoder hears while no header is on the air: noise, voices, music, tones, other modems, spoilt headers.

A case is a minute of one kind, made from its number. Noise, tones and modems are made anew for each. Speech and music
take long to make: there are some ten minutes of either, which are used again at another speed, level, place and
mixture, so that a hundred hours are a hundred hours of work for the decoder, and not of different words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import signal

from app_core.eas.waveform import BAUD, PREAMBLE, afsk
from app_core.synth.speech import speak
from benchmarks.campaigns.impairments import as_16_bits, played_at
from benchmarks.campaigns.radio_path import IQ_RATE_HZ, receive
from benchmarks.campaigns.spoilt_headers import spoilt_message
from benchmarks.campaigns.transmissions import RATE_HZ, Pcm, Rng, Trial, silence

CASE_S = 60.0
"""Length of a case."""

_N = round(CASE_S * RATE_HZ)
_VOICES = ("en-us", "en-us+f3", "en-gb+m4", "es", "es-419+f2", "de", "en-us+whisper", "fr")
_WORDS = {
    "en": "tornado warning until county north Kansas City severe zulu charlie seven four nine weather service the of "
    "wind from south east at fifteen miles an hour humidity eighty one percent sky partly cloudy take cover now moving "
    "basement issued station repeat this is a test visibility ten barometer steady rising dew point W X R K E A X",
    "es": "aviso de tornado hasta las ocho condado servicio meteorológico viento del sureste kilómetros por hora "
    "lluvia cielo nublado tome refugio ahora mismo esta es una prueba repetimos temperatura sesenta grados humedad",
    "de": "Achtung eine amtliche Warnung vor Gewitter mit Sturmböen und Starkregen gilt bis zwanzig Uhr für den Kreis",
    "fr": "avertissement de tornade en vigueur jusqu'à dix-neuf heures restez à l'abri vent du sud averses ce soir",
}


def _normed(pcm: Pcm) -> Pcm:
    return np.asarray(pcm / max(float(np.abs(pcm).max(initial=0.0)), 1e-9), np.float32)


@cache
def _spoken(number: int) -> Pcm:
    """A minute of a voice that says words in any order."""
    rng = np.random.default_rng((17, number))
    voice = _VOICES[number]
    words = _WORDS[voice[:2]].split()
    text = " ".join(" ".join(rng.choice(words, int(rng.integers(4, 14)))) + "." for _ in range(18))
    pcm, spoken_hz = speak(text, voice)
    places = np.arange(0.0, len(pcm) - 1.0, spoken_hz / RATE_HZ)
    return _normed(np.resize(np.interp(places, np.arange(len(pcm)), pcm).astype(np.float32), _N))


@cache
def _played(number: int) -> Pcm:
    """A minute of chords, a tune above and a beat below, in any key."""
    rng = np.random.default_rng((18, number))
    total = np.zeros(_N + RATE_HZ, np.float32)
    beat_s = 60.0 / rng.uniform(70.0, 170.0)
    key = rng.uniform(36.0, 48.0)
    steps = np.array([0, 2, 4, 5, 7, 9, 11])
    brightness = rng.uniform(0.4, 0.8)
    for beat in range(int(CASE_S / beat_s)):
        n = round(beat_s * RATE_HZ * float(rng.choice((1, 1, 2))))
        at = round(beat * beat_s * RATE_HZ)
        time_s = np.arange(n, dtype=np.float32) / np.float32(RATE_HZ)
        fall = np.exp(-time_s * np.float32(rng.uniform(1.0, 8.0)))
        notes = key + 12.0 * rng.integers(0, 4, 4) + rng.choice(steps, 4)
        for frequency_hz in 440.0 * 2.0 ** ((notes - 69.0) / 12.0 + 1.0):
            for harmonic in range(1, 6):
                turn = np.float32(2.0 * np.pi * harmonic * frequency_hz)
                total[at : at + n] += (np.float32(brightness**harmonic) * fall * np.sin(turn * time_s))[
                    : len(total) - at
                ]
        hit = (rng.standard_normal(n, np.float32) * np.exp(-time_s * np.float32(30.0)))[: len(total) - at]
        total[at : at + n] += hit
    return _normed(total[:_N])


@cache
def _hiss() -> Pcm:
    """A minute of what narrow FM gives without a carrier."""
    rng = np.random.default_rng(19)
    n = round(CASE_S * IQ_RATE_HZ)
    return _normed(receive(0.05 * rng.standard_normal(2 * n, np.float32).view(np.complex64), RATE_HZ))


def _again(stretch: Pcm, rng: Rng) -> Pcm:
    """A stretch from another place on, at another speed."""
    speed = float(rng.uniform(0.75, 1.35))
    rolled = np.roll(stretch, -int(rng.integers(len(stretch))))
    places = np.arange(_N) * speed % (len(rolled) - 1)
    return np.asarray(np.interp(places, np.arange(len(rolled)), rolled), np.float32)


def _level(pcm: Pcm, rng: Rng, lowest_db: float = -40.0) -> Pcm:
    scaled: Pcm = pcm * np.float32(10.0 ** (rng.uniform(lowest_db, 0.0) / 20.0))
    return scaled


def _white(rng: Rng) -> Pcm:
    return rng.standard_normal(_N, np.float32)


def noise(rng: Rng) -> Pcm:
    """White, coloured, of an FM receiver, in gusts, or crackling."""
    match int(rng.integers(5)):
        case 0:
            return _white(rng)
        case 1:
            pole = rng.uniform(-0.95, 0.95)
            coloured: Pcm = np.asarray(signal.lfilter([1.0], [1.0, -pole], _white(rng)), np.float32)
            return coloured
        case 2:
            return np.asarray(np.roll(_hiss(), int(rng.integers(_N))) * rng.choice((-1.0, 1.0)), np.float32)
        case 3:
            gusts = np.repeat(10.0 ** rng.uniform(-3.0, 0.0, _N // 2000 + 1), 2000)[:_N]
            return np.asarray(gusts * _white(rng), np.float32)
        case _:
            crackle = np.where(rng.random(_N) < 10.0 ** rng.uniform(-5.0, -2.0), 30.0, 0.1)
            return np.asarray(crackle * _white(rng), np.float32)


def talk(rng: Rng) -> Pcm:
    """One voice or two, with some noise."""
    pcm = _again(_spoken(int(rng.integers(len(_VOICES)))), rng)
    if rng.random() < 0.3:
        pcm = pcm + _level(_again(_spoken(int(rng.integers(len(_VOICES)))), rng), rng)
    return pcm + np.float32(10.0 ** rng.uniform(-4.0, -1.0)) * _white(rng)


def music(rng: Rng) -> Pcm:
    """Something like music, with a voice at times."""
    pcm = _again(_played(int(rng.integers(10))), rng)
    if rng.random() < 0.3:
        pcm = pcm + _level(_again(_spoken(int(rng.integers(len(_VOICES)))), rng), rng)
    return pcm + np.float32(10.0 ** rng.uniform(-5.0, -2.0)) * _white(rng)


def tones(rng: Rng) -> Pcm:
    """Attention tones, keyed tones at and near mark and space, sweeps, pairs as a telephone's."""
    time_s = np.arange(_N) / RATE_HZ
    match int(rng.integers(5)):
        case 0:
            pcm = np.sin(2.0 * np.pi * 1050.0 * time_s)
        case 1:
            pcm = 0.5 * (np.sin(2.0 * np.pi * 853.0 * time_s) + np.sin(2.0 * np.pi * 960.0 * time_s))
        case 2:
            # Mark and space themselves, keyed as no modem does.
            per_tone = int(RATE_HZ * rng.uniform(1.0, 60.0) / BAUD)
            keys = np.repeat(rng.integers(0, 2, _N // per_tone + 1), per_tone)[:_N]
            pcm = np.sin(2.0 * np.pi * np.cumsum(np.where(keys == 1, 6250.0 / 3.0, 1562.5)) / RATE_HZ)
        case 3:
            sweep_hz = 1500.0 + 1200.0 * np.sin(2.0 * np.pi * rng.uniform(0.05, 20.0) * time_s)
            pcm = np.sin(2.0 * np.pi * np.cumsum(sweep_hz) / RATE_HZ)
        case _:
            n = round(rng.uniform(0.04, 0.4) * RATE_HZ)
            low = np.repeat(rng.choice((697.0, 770.0, 852.0, 941.0), _N // n + 1), n)[:_N]
            high = np.repeat(rng.choice((1209.0, 1336.0, 1477.0, 1633.0), _N // n + 1), n)[:_N]
            turns = np.cumsum(np.stack((low, high)), axis=1) / RATE_HZ
            pcm = 0.5 * np.sin(2.0 * np.pi * turns).sum(axis=0)
    return np.asarray(pcm, np.float32) + np.float32(10.0 ** rng.uniform(-4.0, -1.0)) * _white(rng)


def modem(rng: Rng) -> Pcm:
    """Random bits as SAME sends them, without an end, and packets of 300 and 1200 bit/s at other tones."""
    if rng.random() < 0.5:
        pcm = afsk(rng.bytes(int(CASE_S * BAUD / 8) + 1), float(RATE_HZ), baud=BAUD * rng.uniform(0.97, 1.03))
        pcm = np.resize(pcm, _N)
    else:
        baud, mark_hz, space_hz = [(1200.0, 1200.0, 2200.0), (300.0, 2125.0, 2295.0), (520.83, 2083.3, 1562.5)][
            int(rng.integers(3))
        ]
        bits = rng.integers(0, 2, int(CASE_S * baud) + 2)
        keys = bits[(np.arange(_N) * (baud / RATE_HZ)).astype(np.int64)]
        pcm = np.sin(2.0 * np.pi * np.cumsum(np.where(keys == 1, mark_hz, space_hz)) / RATE_HZ).astype(np.float32)
        on = np.repeat(rng.integers(0, 2, int(CASE_S) + 1), RATE_HZ)[:_N]
        pcm = pcm * on.astype(np.float32)
    return pcm + np.float32(10.0 ** rng.uniform(-4.0, -0.5)) * _white(rng)


def garbage(rng: Rng) -> Pcm:
    """Preambles with anything behind them, start words included, and preambles without an end."""
    pieces: list[Pcm] = []
    n = 0
    while n < _N:
        text = bytes(rng.integers(32, 127, int(rng.integers(10, 250))).astype(np.uint8))
        content = (
            PREAMBLE + rng.bytes(int(rng.integers(4, 200))),
            PREAMBLE + text,
            PREAMBLE + b"ZCZC-" + text + b"-",
            PREAMBLE + b"ZCZC" + rng.bytes(int(rng.integers(4, 200))),
            PREAMBLE * int(rng.integers(2, 12)),
        )[int(rng.integers(5))]
        times = int(rng.choice((1, 3)))
        for _ in range(times):
            pieces += [afsk(content, float(RATE_HZ)), silence(rng.uniform(0.0, 1.2))]
            n += len(pieces[-1]) + len(pieces[-2])
    pcm = np.concatenate(pieces)[:_N]
    return pcm + np.float32(10.0 ** rng.uniform(-3.0, -0.3)) * _white(rng)


KINDS: dict[str, tuple[Callable[[Rng], Pcm] | None, int]] = {
    "noise": (noise, 5),
    "speech": (talk, 5),
    "music": (music, 3),
    "tones": (tones, 2),
    "random afsk": (modem, 2),
    "garbage": (garbage, 1),
    "spoilt headers": (None, 2),
}
"""What makes a minute of each kind, and how many there are in a round; spoilt headers are of known texts."""

_ROUND = tuple(kind for kind, (_, times) in KINDS.items() for _ in range(times))


def kind_of(number: int) -> str:
    """Kind of a case."""
    return _ROUND[number % len(_ROUND)]


def quiet_trial(seed: int, number: int) -> Trial:
    """Make a case: a minute in which no header may be given but, among spoilt ones, one that was sent."""
    rng = np.random.default_rng((seed, number))
    make, _ = KINDS[kind_of(number)]
    headers: list[str] = []
    if make is not None:
        pcm = make(rng)
    else:
        pieces: list[Pcm] = []
        while sum(map(len, pieces)) < _N:
            piece, texts = spoilt_message(rng)
            pieces.append(piece)
            headers += texts
        pcm = np.concatenate(pieces)
        pcm = pcm + np.float32(10.0 ** rng.uniform(-3.0, -0.8)) * rng.standard_normal(len(pcm), np.float32)
        if rng.random() < 0.3:
            pcm = played_at(pcm, float(rng.uniform(0.97, 1.03)))
    level = 10.0 ** (rng.uniform(-50.0, 0.0) / 20.0)
    return Trial(as_16_bits(_normed(pcm) * np.float32(level)), RATE_HZ, tuple(headers))
