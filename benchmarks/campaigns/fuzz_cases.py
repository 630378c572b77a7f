"""What is thrown at the parsers and at the decoder: random and mutated text, bytes, files and sound, all by seed.

A case raises `AssertionError`, or whatever the code under test raises, when something is wrong; else it tells how much
it did. A header that is decoded must be one that was put on the air, as it was before or after its bytes were mutated.
"""

from __future__ import annotations

import io
import math
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import soundfile

from app_core.alerts.alert import read_times
from app_core.alerts.text import describe_areas, describe_duration, originator_name
from app_core.audio.decode_sound import SoundRecording
from app_core.audio.heard import Heard, Step, messages, to_dict
from app_core.audio.sound_file import LibsndfileReader
from app_core.base.errors import ConfigError, HeraldError, WireError
from app_core.eas.confidence import character_confidence, text_of
from app_core.eas.event_codes import find_event
from app_core.eas.events import HeaderDecoded, HeaderUnverified, SameEvent
from app_core.eas.header import parse_header
from app_core.eas.listener import SameListener
from app_core.eas.locations import find_location, have_common_ground, parse_area
from app_core.eas.waveform import BAUD, PREAMBLE, afsk
from benchmarks.campaigns.transmissions import Pcm, Rng, random_header

NOW = datetime(2026, 5, 3, 12, 0, tzinfo=UTC)
_ALPHABET = "ZCNABKWXRTO0123456789-+/ \x00\x7f\xab\u0660é\n"
_RATES_HZ = (8000.0, 8192.5, 11_025.0, 12_000.0, 16_000.0, 22_050.0, 24_000.0, 31_250.0, 44_100.0, 48_000.0, 192_000.0)
_LONGEST_S = 20.0
_LARGEST_STATE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Done:
    """What one case did.

    Attributes
    ----------
    audio_s
        Sound that was decoded. [seconds]
    headers
        Headers that were decoded, every one of which had been sent.
    state_bytes
        What the listener held on to in the end. [bytes]
    """

    audio_s: float = 0.0
    headers: int = 0
    state_bytes: int = 0


def mutated(content: bytes, rng: Rng, most: int = 6) -> bytes:
    """Flip bits, and remove, insert, repeat and swap bytes: one to `most` times."""
    result = bytearray(content)
    for _ in range(int(rng.integers(1, most + 1))):
        at = int(rng.integers(0, len(result) + 1))
        match int(rng.integers(6)):
            case 0 if at < len(result):
                result[at] ^= 1 << int(rng.integers(8))
            case 1 if at < len(result):
                result[at] = int(rng.integers(256))
            case 2:
                del result[at : at + int(rng.integers(1, 8))]
            case 3:
                result[at:at] = rng.bytes(int(rng.integers(1, 8)))
            case 4:
                result[at:at] = result[at : at + int(rng.integers(1, 20))]
            case _:
                other = int(rng.integers(0, len(result) + 1))
                result[at : at + 4], result[other : other + 4] = result[other : other + 4], result[at : at + 4]
    return bytes(result)


def fuzz_header_text(rng: Rng) -> Done:
    """Parse any text, and all that is made of a header that is legal."""
    match int(rng.integers(4)):
        case 0:
            text = "".join(rng.choice(list(_ALPHABET), int(rng.integers(0, 300))))
        case 1:
            text = rng.bytes(int(rng.integers(0, 300))).decode("latin-1")
        case 2:
            text = random_header(rng)
        case _:
            text = mutated(random_header(rng).encode("ascii"), rng).decode("latin-1")
    try:
        header = parse_header(text)
    except WireError:
        return Done()
    assert header.text == text
    assert 0 <= header.purge_minutes <= 99 * 60 + 99
    assert header.is_purge_time_regular in (True, False)
    assert find_event(header.event_code).name and find_event(header.event_code).name_es
    locations = [find_location(code, header.callsign) for code in header.locations]
    for language in ("en", "es"):
        assert describe_areas(locations, language)
        assert describe_duration(header.purge_minutes, language)
        assert originator_name(header.originator, header.callsign, language)
    for code in header.locations:
        assert have_common_ground(code, code, header.callsign)
    issued, purged, _ = read_times(header, NOW + timedelta(minutes=float(rng.uniform(-1e6, 1e6))))
    assert issued is None or purged == issued + timedelta(minutes=header.purge_minutes)
    return Done()


def fuzz_area_text(rng: Rng) -> Done:
    """Read any text as an area."""
    text = "".join(rng.choice(list("JacksonMisuri, 0129ñ-\n"), int(rng.integers(0, 24))))
    try:
        code = parse_area(text)
    except ConfigError:
        return Done()
    assert len(code) == 6
    return Done()


def fuzz_soft_bits(rng: Rng) -> Done:
    """Judge the characters of any text by any bits."""
    bits = (rng.standard_normal(int(rng.integers(0, 2100))) * 10.0 ** rng.uniform(-3, 6)).astype(np.float32)
    if rng.random() < 0.3 and len(bits):
        bits[rng.integers(0, len(bits), 5)] = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), 5)
    for text in (text_of(bits), random_header(rng), rng.bytes(50).decode("latin-1")):
        confidence = character_confidence(bits, text)
        assert confidence.shape == (len(text),)
        assert ((confidence >= 0.0) & (confidence <= 1.0)).all()
    return Done()


def _sound_of_bytes(rng: Rng, rate_hz: float) -> tuple[Pcm, set[str]]:
    """Give bursts of mutated headers, and every text that may rightly be read from them."""
    header = random_header(rng)
    sent = {header}
    baud = BAUD * (1.0 + rng.uniform(-0.03, 0.03))
    pieces: list[Pcm] = []
    shared = mutated(header.encode("ascii"), rng) if rng.random() < 0.5 else header.encode("ascii")
    sent |= _legal_beginnings(shared)
    for _ in range(int(rng.integers(1, 5))):
        content = mutated(shared, rng) if rng.random() < 0.5 else shared
        preamble = mutated(PREAMBLE, rng, 2) if rng.random() < 0.2 else PREAMBLE
        sent |= _legal_beginnings(content) | _legal_beginnings(preamble + content)
        if rng.random() < 0.2:
            content = bytes(byte | 0x80 for byte in content)
        pieces.append(afsk(preamble + content, rate_hz, baud=baud))
        pieces.append(np.zeros(round(rng.uniform(0.0, 2.0) * rate_hz), np.float32))
    if rng.random() < 0.5:
        pieces.append(afsk(PREAMBLE + mutated(b"NNNN", rng, 2), rate_hz, baud=baud))
    return np.concatenate(pieces), sent


def _legal_beginnings(content: bytes) -> set[str]:
    """Every legal header that the bytes of a burst hold, whatever stands before and behind it."""
    text = bytes(byte & 0x7F for byte in content).decode("ascii")
    found: set[str] = set()
    start = text.find("ZCZC")
    while start >= 0:
        for end in range(start + 38, min(len(text), start + 260) + 1):
            if text[end - 1] == "-":
                try:
                    found.add(parse_header(text[start:end]).text)
                except WireError:
                    continue
        start = text.find("ZCZC", start + 1)
    return found


def _wild_sound(rng: Rng, rate_hz: float) -> Pcm:
    """Give sound that nobody sends: noise of any kind, steps, tones, impulses, random bits, nonsense numbers."""
    n = round(rng.uniform(0.0, 8.0) * rate_hz)
    match int(rng.integers(8)):
        case 0:
            pcm = rng.standard_normal(n)
        case 1:
            pcm = np.frombuffer(rng.bytes(2 * n), "<i2") / 32768.0
        case 2:
            with np.errstate(invalid="ignore"):
                pcm = np.frombuffer(rng.bytes(4 * n), "<f4").astype(np.float64)
        case 3:
            pcm = np.repeat(rng.choice([-1.0, 0.0, 1.0], n // 100 + 1), 100)[:n]
        case 4:
            pcm = np.where(rng.random(n) < 1e-3, rng.standard_normal(n) * 1e3, 0.0)
        case 5:
            turns = np.arange(n) * np.array([[rng.uniform(0.0, 0.5)], [2083.3 / rate_hz]])
            pcm = np.sin(2.0 * np.pi * turns).sum(axis=0)
        case 6:
            pcm = afsk(rng.bytes(round(n / rate_hz * BAUD / 8)), rate_hz).astype(np.float64)
        case _:
            pcm = afsk(PREAMBLE * max(1, round(n / rate_hz * BAUD / 128)), rate_hz).astype(np.float64)
    return np.asarray(pcm, np.float32)


def _spoilt(pcm: Pcm, rng: Rng) -> Pcm:
    """Change sound: level, offset, noise, clipping, numbers that are none, pieces inverted or silenced.

    Nothing here removes, repeats or reverses samples: that could make other bits of a burst, which would then be what
    was sent. Reversed within a byte, an E is a Q.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        pcm = pcm * np.float32(10.0 ** rng.uniform(-5, 3))
        level = float(np.abs(np.nan_to_num(pcm, posinf=0.0, neginf=0.0)).max(initial=0.0)) or 1.0
        if rng.random() < 0.5:
            noise = rng.standard_normal(len(pcm), np.float32)
            pcm = pcm + np.float32(min(level, 1e30) * 10.0 ** rng.uniform(-3, 0.5)) * noise
        if rng.random() < 0.3:
            pcm = np.clip(pcm, -0.3 * level, 0.3 * level)
        if rng.random() < 0.2:
            pcm = pcm + np.float32(level * rng.uniform(-2, 2))
    for _ in range(int(rng.integers(0, 4))):
        if len(pcm) < 10:
            break
        first = int(rng.integers(0, len(pcm)))
        piece = slice(first, first + int(rng.integers(1, max(2, len(pcm) // 10))))
        match int(rng.integers(3)):
            case 0:
                pcm[piece] = 0.0
            case 1:
                pcm[piece] = rng.choice(np.array([np.nan, np.inf, -np.inf, 1e38], np.float32))
            case _:
                pcm[piece] = -pcm[piece]
    return pcm


def fuzz_listener(rng: Rng) -> Done:
    """Listen to any sound, in any pieces, with losses between them."""
    rate_hz = float(rng.choice(_RATES_HZ))
    sounds: list[Pcm] = []
    sent: set[str] = set()
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.6:
            pcm, texts = _sound_of_bytes(rng, rate_hz)
            sent |= texts
        else:
            pcm = _wild_sound(rng, rate_hz)
        sounds.append(_spoilt(pcm, rng))
    pcm = np.concatenate(sounds)[: round(_LONGEST_S * rate_hz)]
    listener = SameListener(rate_hz, longest_message_s=float(rng.uniform(1.0, 20.0)))
    events: list[SameEvent] = []
    position = start = 0
    while start < len(pcm):
        size = int(rng.integers(0, round(10.0 ** rng.uniform(0.5, 5.5))))
        if rng.random() < 0.9:
            piece = pcm[start : start + size]
            events += listener.push(piece, carrier=(None, True, False)[int(rng.integers(3))])
            start += size
            position += len(piece)
        else:
            events += listener.skip(size)
            position += size
            # A loss hides what was sent meanwhile.
            start += size
    state_bytes = len(pickle.dumps(listener))
    assert state_bytes < _LARGEST_STATE_BYTES, state_bytes
    events += listener.finish()
    return Done(len(pcm) / rate_hz, _check_events(events, sent, position, rate_hz), state_bytes)


def _check_events(events: list[SameEvent], sent: set[str], n_samples: int, rate_hz: float) -> int:
    """Check what was heard, and count the headers."""
    n_headers = 0
    for event in events:
        assert isinstance(event.start_sample, int) and isinstance(event.end_sample, int)
        # A time-out may be due at any time; everything else lies within the stream, or a resampling filter beyond.
        assert 0 <= event.start_sample <= n_samples + rate_hz, event
        assert event.start_sample <= event.end_sample, event
        if isinstance(event, HeaderDecoded | HeaderUnverified):
            assert 0.0 <= event.error_probability <= 1.0, event
            assert math.isfinite(event.snr_db), event
        if isinstance(event, HeaderDecoded):
            n_headers += 1
            assert event.header.text in sent, f"WRONG HEADER {event.header.text!r}; sent {sorted(sent)!r}"
    for heard in messages(events, ("mono",), rate_hz):
        assert to_dict(heard, _Clock(), "fuzz", in_detail=True)
    return n_headers


class _Clock:
    """A recording that is only a clock."""

    duration_s: float | None = None
    began_at: datetime | None = None
    clock = NOW

    def steps(self) -> Iterator[Step]:
        """Give nothing."""
        yield from ()

    def close(self) -> None:
        """Do nothing."""


def fuzz_sound_file(rng: Rng) -> Done:
    """Decode a file of sound whose bytes were mutated, or which is nothing but random bytes."""
    rate_hz = int(rng.choice([8000, 11_025, 22_050, 48_000]))
    pcm, sent = _sound_of_bytes(rng, rate_hz)
    pcm = pcm[: 6 * rate_hz, None].repeat(int(rng.integers(1, 4)), axis=1)
    stream = io.BytesIO()
    kind = str(rng.choice(["WAV", "FLAC", "OGG", "AIFF", "MP3"]))
    soundfile.write(stream, 0.5 * pcm[:, :2] if kind == "MP3" else 0.5 * pcm, rate_hz, format=kind)
    content = stream.getvalue()
    # The first bytes are the ones that say how long and how wide everything is.
    cut = int(rng.integers(0, 200))
    content = mutated(content[:cut], rng, 10) + content[cut:] if rng.random() < 0.7 else mutated(content, rng, 30)
    if rng.random() < 0.1:
        content = rng.bytes(int(rng.integers(1, 5000)))
    with tempfile.NamedTemporaryFile(suffix=f".{kind.lower()}") as file:
        file.write(content)
        file.flush()
        heard: list[Heard] = []
        seconds = 0.0
        try:
            recording = SoundRecording(LibsndfileReader(Path(file.name)), NOW)
            for step in recording.steps():
                heard += step.heard
                seconds = step.position_s
                if seconds > 60.0:
                    # A header that says there are hours: they would be decoded like any others.
                    break
            recording.close()
        except (HeraldError, OSError):
            pass
    headers = [one.event.header.text for one in heard if isinstance(one.event, HeaderDecoded)]
    # What a spoilt file sounds like cannot be known; only a header that was never sent would be one made up.
    assert set(headers) <= sent, f"WRONG HEADER {headers!r}; sent {sorted(sent)!r}"
    return Done(seconds, len(headers))


Case = Callable[[Rng], Done]

CASES: tuple[tuple[str, Case, int], ...] = (
    ("header text", fuzz_header_text, 40),
    ("area text", fuzz_area_text, 10),
    ("soft bits", fuzz_soft_bits, 10),
    ("listener", fuzz_listener, 10),
    ("sound file", fuzz_sound_file, 2),
)
"""Name, case, and how often it is run in a round."""
