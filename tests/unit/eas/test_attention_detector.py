"""Attention signals in audio: which, when, at what frequency, how loud; and nothing else taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.eas.attention import Attention, attention_tone
from app_core.eas.attention_detector import SHORTEST_S, AttentionDetector
from app_core.eas.events import AttentionHeard
from app_core.eas.waveform import PREAMBLE, afsk
from app_core.synth.speech import imitate_speech
from tests.unit.eas.same_audio import HEADER, Pcm, silence

RATE_HZ = 24_000.0
START_S = 1.2345
TONES_HZ = {Attention.NWR: (1050.0,), Attention.EAS: (853.0, 960.0)}
BOTH = (Attention.NWR, Attention.EAS)


def on_air(attention: Attention, duration_s: float = 9.0, rate_hz: float = RATE_HZ, level: float = 0.5) -> Pcm:
    tone = attention_tone(attention, duration_s, rate_hz, level=level)
    return np.concatenate([silence(START_S, rate_hz), tone, silence(1.5, rate_hz)])


def with_noise(pcm: Pcm, rms: float, seed: int = 1) -> Pcm:
    return np.asarray(pcm + rms * np.random.default_rng(seed).standard_normal(len(pcm)), np.float32)


def heard(pcm: Pcm, rate_hz: float = RATE_HZ, blocks: tuple[int, ...] = (5000,)) -> list[AttentionHeard]:
    detector = AttentionDetector(rate_hz)
    events: list[AttentionHeard] = []
    start = turn = 0
    while start < len(pcm):
        size = blocks[turn % len(blocks)]
        events += detector.push(pcm[start : start + size])
        start, turn = start + size, turn + 1
    return events + detector.finish()


def only(events: list[AttentionHeard]) -> AttentionHeard:
    assert len(events) == 1
    return events[0]


@pytest.mark.parametrize("rate_hz", [8000.0, 11_025.0, 22_050.0, 24_000.0, 44_100.0, 48_000.0, 192_000.0])
@pytest.mark.parametrize("attention", BOTH)
def test_kind_place_frequency_and_level_are_measured_at_any_rate(attention: Attention, rate_hz: float) -> None:
    event = only(heard(on_air(attention, rate_hz=rate_hz), rate_hz))
    assert event.kind == attention.value
    assert event.start_sample / rate_hz == pytest.approx(START_S, abs=0.006)
    assert event.end_sample / rate_hz == pytest.approx(START_S + 9.0, abs=0.006)
    assert event.frequencies_hz == pytest.approx(TONES_HZ[attention], abs=0.1)
    # Two tones of half the amplitude have half the power of one.
    assert event.level_dbfs == pytest.approx(-6.02 if attention is Attention.NWR else -9.03, abs=0.1)


@pytest.mark.parametrize("attention", BOTH)
@pytest.mark.parametrize("level", [1e-4, 1e-3, 1.0])
def test_the_level_does_not_matter(attention: Attention, level: float) -> None:
    event = only(heard(on_air(attention, level=level)))
    pair_db = 0.0 if attention is Attention.NWR else 3.01
    assert event.level_dbfs == pytest.approx(20.0 * np.log10(level) - pair_db, abs=0.1)


def test_windows_that_are_half_empty_do_not_count() -> None:
    event = only(heard(on_air(Attention.NWR, 2.2)))
    assert event.level_dbfs == pytest.approx(-6.02, abs=0.02)
    assert event.frequencies_hz == pytest.approx((1050.0,), abs=0.02)


@pytest.mark.parametrize("attention", BOTH)
def test_a_tone_as_loud_as_the_noise_is_heard(attention: Attention) -> None:
    tone_rms = 0.5 / np.sqrt(2.0) / (1.0 if attention is Attention.NWR else np.sqrt(2.0))
    event = only(heard(with_noise(on_air(attention), tone_rms)))
    assert event.start_sample / RATE_HZ == pytest.approx(START_S, abs=0.02)
    assert event.end_sample / RATE_HZ == pytest.approx(START_S + 9.0, abs=0.02)
    assert event.frequencies_hz == pytest.approx(TONES_HZ[attention], abs=0.5)


@pytest.mark.parametrize("speed", [0.97, 1.03])
@pytest.mark.parametrize("attention", BOTH)
def test_a_fast_or_slow_recorder_is_followed(attention: Attention, speed: float) -> None:
    # The same samples, said to be of another rate.
    event = only(heard(on_air(attention, rate_hz=RATE_HZ / speed)))
    assert event.frequencies_hz == pytest.approx(tuple(hz * speed for hz in TONES_HZ[attention]), abs=0.1)


def test_a_tone_shorter_than_two_seconds_is_none() -> None:
    assert heard(on_air(Attention.NWR, SHORTEST_S - 0.1)) == []
    assert len(heard(on_air(Attention.NWR, SHORTEST_S + 0.1))) == 1


@pytest.mark.parametrize("attention", BOTH)
def test_a_short_fade_does_not_part_a_tone(attention: Attention) -> None:
    pcm = on_air(attention)
    pcm[round(5.0 * RATE_HZ) : round(5.2 * RATE_HZ)] = 0.0
    assert only(heard(pcm)).end_sample / RATE_HZ == pytest.approx(START_S + 9.0, abs=0.006)
    pcm[round(5.0 * RATE_HZ) : round(6.0 * RATE_HZ)] = 0.0
    assert len(heard(pcm)) == 2


def sines(*frequencies_hz: float) -> Pcm:
    time_s = np.arange(round(5.0 * RATE_HZ)) / RATE_HZ
    return np.asarray(sum(np.sin(2.0 * np.pi * hz * time_s) for hz in frequencies_hz), np.float32)


# 250 and 1850 Hz are what 1050 Hz looks like after the averaging.
@pytest.mark.parametrize("frequency_hz", [250.0, 700.0, 853.0, 906.5, 960.0, 1000.0, 1200.0, 1562.5, 1850.0, 2083.3])
def test_other_tones_are_none(frequency_hz: float) -> None:
    assert heard(sines(frequency_hz)) == []


def test_a_chord_is_none() -> None:
    assert heard(sines(1050.0, 800.0)) == []
    assert heard(sines(853.0, 960.0, 1050.0, 1200.0)) == []


def test_a_siren_is_none() -> None:
    time_s = np.arange(round(6.0 * RATE_HZ)) / RATE_HZ
    # From 1020 to 1080 Hz: always within what a clock may be wrong, never still.
    assert heard(np.sin(2.0 * np.pi * (1020.0 + 5.0 * time_s) * time_s).astype(np.float32)) == []


def test_a_melody_is_none() -> None:
    time_s = np.arange(round(0.5 * RATE_HZ)) / RATE_HZ
    # Half notes around the tone's frequency, four of them again and again.
    notes = [np.sin(2.0 * np.pi * hz * time_s) for hz in (1046.5, 987.8, 1046.5, 1174.7)]
    assert heard(np.concatenate(notes * 4).astype(np.float32)) == []


def test_a_voice_is_none() -> None:
    pcm = imitate_speech("This is a long sentence that goes on, and on, and says nothing of any use. " * 8)
    assert heard(pcm, 8000.0) == []


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_headers_are_none(seed: int) -> None:
    assert heard(with_noise(silence(20.0), 0.1, seed)) == []
    assert heard(np.tile(afsk(PREAMBLE + HEADER.encode(), RATE_HZ), 4)) == []


def test_a_burst_before_and_a_voice_behind_do_not_shift_the_ends() -> None:
    voice = imitate_speech("A tornado warning for Jackson county.").repeat(3)
    pcm = np.concatenate([afsk(PREAMBLE + HEADER.encode(), RATE_HZ), on_air(Attention.NWR), voice])
    offset = len(afsk(PREAMBLE + HEADER.encode(), RATE_HZ))
    event = only(heard(pcm))
    assert (event.start_sample - offset) / RATE_HZ == pytest.approx(START_S, abs=0.006)
    assert (event.end_sample - offset) / RATE_HZ == pytest.approx(START_S + 9.0, abs=0.006)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(blocks=st.lists(st.integers(0, 60_000), min_size=1, max_size=8).filter(any))
def test_block_boundaries_change_nothing(blocks: list[int]) -> None:
    pcm = with_noise(on_air(Attention.EAS, 4.0), 0.05)
    assert heard(pcm, blocks=tuple(blocks)) == heard(pcm)


def test_a_tone_that_the_stream_ends_in_is_given_by_finish() -> None:
    pcm = on_air(Attention.NWR)[: round(6.0 * RATE_HZ)]
    assert only(heard(pcm)).end_sample / RATE_HZ == pytest.approx(6.0, abs=0.012)


def test_positions_go_on_behind_finish() -> None:
    detector = AttentionDetector(RATE_HZ)
    pcm = on_air(Attention.NWR)
    first = only(detector.push(pcm) + detector.finish())
    second = only(detector.push(pcm) + detector.finish())
    assert second.start_sample - first.start_sample == pytest.approx(len(pcm), abs=40)


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("lost_s", [0.7, 30.0, 7200.0])
def test_lost_samples_are_time_that_goes_on(lost_s: float, pieces: int) -> None:
    detector = AttentionDetector(RATE_HZ)
    events = detector.push(on_air(Attention.NWR)[: round(5.0 * RATE_HZ)])
    n_lost = round(lost_s * RATE_HZ)
    for piece in range(pieces):
        events += detector.skip(n_lost * (piece + 1) // pieces - n_lost * piece // pieces)
    events += detector.push(on_air(Attention.NWR)) + detector.finish()
    assert [event.kind for event in events] == ["nwr", "nwr"]
    assert events[0].end_sample / RATE_HZ == pytest.approx(5.0, abs=0.012)
    assert events[1].start_sample / RATE_HZ == pytest.approx(5.0 + lost_s + START_S, abs=0.006)


def test_samples_that_are_not_finite_are_silence() -> None:
    pcm = on_air(Attention.NWR)
    pcm[:100] = (np.nan, np.inf, -np.inf, 1e30) * 25
    assert only(heard(pcm)).level_dbfs == pytest.approx(-6.02, abs=0.1)
    assert heard(np.full(100_000, np.nan, np.float32)) == []


def test_decisions_come_at_places_of_their_own() -> None:
    detector = AttentionDetector(RATE_HZ)
    whole = detector.samples_to_decision
    detector.push(np.zeros(100, np.float32))
    assert detector.samples_to_decision == whole - 100
    detector.push(np.zeros(whole - 100, np.float32))
    assert detector.samples_to_decision == whole


@pytest.mark.parametrize("rate_hz", [0.0, 7999.0, np.nan, np.inf])
def test_a_rate_that_cannot_carry_same_is_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="sample_rate_hz"):
        AttentionDetector(rate_hz)
