"""The recordings of the corpus, each spoilt in ways that occur between a transmitter and a decoder, decoded exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.eas.decoder import SameDecoder
from app_core.eas.events import EndOfMessage, HeaderDecoded, SameEvent
from tests.support.impairments import (
    Pcm,
    at_level,
    at_speed,
    clipped,
    through_mp3,
    twisted,
    with_echo,
    with_hum,
    with_speech,
)

CORPUS = Path(os.environ.get("HERALD_CORPUS", "nowhere"))
RECORDINGS = (
    "dsame_WXR-RWT.wav",
    "sameold_long_message.wav",
    "sameold_npt.wav",
    "sameold_two_and_two.wav",
)

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif("HERALD_CORPUS" not in os.environ, reason="HERALD_CORPUS names no folder of recordings"),
]


def _echoed(delay_s: float, pcm: Pcm, rate_hz: int) -> Pcm:
    return with_echo(pcm, delay_s, -6.0, rate_hz)


IMPAIRMENTS: dict[str, Callable[[Pcm, int], Pcm]] = {
    "as it is": lambda pcm, rate_hz: pcm,
    "-60 dBFS": lambda pcm, rate_hz: at_level(pcm, -60.0),
    "3 % fast": lambda pcm, rate_hz: at_speed(pcm, 1.03),
    "3 % slow": lambda pcm, rate_hz: at_speed(pcm, 0.97),
    "clipped by 12 dB": lambda pcm, rate_hz: clipped(pcm, 12.0),
    "clipped by 40 dB": lambda pcm, rate_hz: clipped(pcm, 40.0),
    "hum as loud": lambda pcm, rate_hz: with_hum(pcm, 0.0, rate_hz),
    "hum of 50 Hz, 6 dB louder": lambda pcm, rate_hz: with_hum(pcm, 6.0, rate_hz, 50.0),
    "mark 12 dB up": lambda pcm, rate_hz: twisted(pcm, 12.0, rate_hz),
    "mark 12 dB down": lambda pcm, rate_hz: twisted(pcm, -12.0, rate_hz),
    "speech 10 dB beneath": lambda pcm, rate_hz: with_speech(pcm, -10.0, rate_hz),
    "speech 6 dB beneath": lambda pcm, rate_hz: with_speech(pcm, -6.0, rate_hz),
    **{f"echo of {ms} ms": partial(_echoed, ms * 1e-3) for ms in (1, 2, 3, 5, 8)},
}


def recording(file: str) -> tuple[Pcm, int, list[str]]:
    """Audio, rate, and the headers that it carries."""
    manifest = json.loads((CORPUS / "manifest.json").read_text(encoding="utf-8"))
    expected = next(entry["expected"] for entry in manifest if entry["file"] == file)
    pcm, rate_hz = soundfile.read(CORPUS / file, dtype="float32")
    return pcm, rate_hz, expected


def decoded(pcm: Pcm, rate_hz: float) -> list[SameEvent]:
    decoder = SameDecoder(rate_hz)
    return decoder.push(pcm) + decoder.finish()


def headers(events: list[SameEvent]) -> list[str]:
    return [event.header.text for event in events if isinstance(event, HeaderDecoded)]


def test_every_recording_of_the_corpus_is_tried() -> None:
    manifest = json.loads((CORPUS / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(entry["file"] for entry in manifest) == sorted(RECORDINGS)


@pytest.mark.parametrize("name", IMPAIRMENTS)
@pytest.mark.parametrize("file", RECORDINGS)
def test_a_spoilt_recording_is_decoded_exactly(file: str, name: str) -> None:
    pcm, rate_hz, expected = recording(file)
    events = decoded(IMPAIRMENTS[name](pcm, rate_hz), rate_hz)
    assert headers(events) == expected
    # The ends of message are as many as in the recording as it is.
    ends = [event for event in events if isinstance(event, EndOfMessage)]
    assert len(ends) == len([event for event in decoded(pcm, rate_hz) if isinstance(event, EndOfMessage)])


@pytest.mark.parametrize("file", RECORDINGS)
def test_a_recording_through_mp3_at_24_kbit_s_is_decoded_exactly(file: str, tmp_path: Path) -> None:
    pcm, rate_hz, expected = recording(file)
    coded, coded_rate_hz = through_mp3(pcm, rate_hz, 24, tmp_path)
    assert headers(decoded(coded, coded_rate_hz)) == expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("file", RECORDINGS)
def test_a_recording_that_drowns_gives_no_other_header(file: str, seed: int) -> None:
    pcm, rate_hz, expected = recording(file)
    rng = np.random.default_rng(seed)
    for relative_db in (0.0, 6.0, 9.0, 12.0):
        noise = rng.standard_normal(len(pcm), np.float32) * np.float32(np.abs(pcm).max() * 10.0 ** (relative_db / 20.0))
        assert set(headers(decoded(pcm + noise, rate_hz))) <= set(expected)
