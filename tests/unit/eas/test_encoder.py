"""A whole transmission, from the first bit to the last."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.base.errors import WireError
from app_core.eas.attention import Attention
from app_core.eas.encoder import burst_bytes, encode_transmission
from app_core.eas.events import EndOfMessage, HeaderDecoded
from app_core.eas.header import SameHeader, parse_header
from app_core.eas.listener import SameListener
from app_core.eas.waveform import BIT_S, PREAMBLE, afsk
from tests.unit.eas.test_header import headers

HEADER = "ZCZC-WXR-TOR-029095-020091+0045-3241845-KEAX/NWS-"
RATE_HZ = 25_000.0


def test_parts_stand_in_the_order_of_the_rules_with_pauses_of_a_second() -> None:
    voice = np.full(50_000, 0.2, np.float32)
    transmission = encode_transmission(HEADER, RATE_HZ, voice_pcm=voice)
    assert [part.name for part in transmission.parts] == ["header"] * 3 + ["attention", "voice"] + ["end"] * 3
    for before, after in zip(transmission.parts, transmission.parts[1:], strict=False):
        assert after.start_sample - before.end_sample == RATE_HZ
        assert not transmission.pcm[before.end_sample : after.start_sample].any()
    assert transmission.parts[0].start_sample == 0
    assert transmission.parts[-1].end_sample == transmission.pcm.size
    assert transmission.header == parse_header(HEADER)


def test_each_part_holds_its_signal() -> None:
    voice = np.linspace(-0.5, 0.5, 30_000, dtype=np.float32)
    transmission = encode_transmission(HEADER, RATE_HZ, voice_pcm=voice, attention_s=9.0, burst_level=0.4)
    sounds = [transmission.pcm[part.start_sample : part.end_sample] for part in transmission.parts]
    for burst in sounds[:3]:
        np.testing.assert_allclose(burst, 0.4 * afsk(PREAMBLE + HEADER.encode(), RATE_HZ), atol=1e-6)
    assert sounds[3].size == 9 * RATE_HZ
    np.testing.assert_array_equal(sounds[4], voice)
    for burst in sounds[5:]:
        np.testing.assert_allclose(burst, 0.4 * afsk(PREAMBLE + b"NNNN", RATE_HZ), atol=1e-6)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(header=headers.filter(lambda header: len(header.callsign) >= 7), rate_hz=st.sampled_from([8000.0, 22_050.0]))
def test_any_legal_header_encodes_and_decodes(header: SameHeader, rate_hz: float) -> None:
    # Callsigns of less than 7 characters are legal to the parser, but occur nowhere.
    listener = SameListener(rate_hz)
    pcm = encode_transmission(header, rate_hz, attention=Attention.NONE).pcm
    events = listener.push(pcm) + listener.finish()
    assert [event.header for event in events if isinstance(event, HeaderDecoded)] == [header]
    assert sum(isinstance(event, EndOfMessage) for event in events) == 1


@pytest.mark.parametrize("rate_hz", [8000.0, 11_025.0, 44_100.0, 48_000.0])
def test_parts_stand_where_the_bits_put_them_at_any_rate(rate_hz: float) -> None:
    transmission = encode_transmission(HEADER, rate_hz, attention_s=8.0)
    n_burst = math.ceil((16 + len(HEADER)) * 8 * BIT_S * rate_hz - 1e-6)
    n_end = math.ceil(20 * 8 * BIT_S * rate_hz - 1e-6)
    n_pause, n_tone = round(rate_hz), round(8.0 * rate_hz)
    lengths = [n_burst] * 3 + [n_tone] + [n_end] * 3
    assert [part.end_sample - part.start_sample for part in transmission.parts] == lengths
    starts = [sum(lengths[:number]) + number * n_pause for number in range(len(lengths))]
    assert [part.start_sample for part in transmission.parts] == starts


def test_a_burst_lasts_as_long_as_its_bits() -> None:
    part = encode_transmission(HEADER, 48_000.0).parts[0]
    assert part.end_sample - part.start_sample == np.ceil((16 + len(HEADER)) * 8 * BIT_S * 48_000.0 - 1e-6)


def test_attention_and_voice_can_be_left_out() -> None:
    transmission = encode_transmission(parse_header(HEADER), RATE_HZ, attention=Attention.NONE)
    assert [part.name for part in transmission.parts] == ["header"] * 3 + ["end"] * 3


@pytest.mark.parametrize("text", ["", "NNNN", "ZCZC-WXR-TOR-029095+0045-3241845-KEAX/NWS", HEADER + " ", "ZCZC-ä"])
def test_a_malformed_header_is_not_sent(text: str) -> None:
    with pytest.raises(WireError, match="not a SAME header"):
        encode_transmission(text, RATE_HZ)


def test_bytes_of_a_burst_are_the_preamble_and_the_text() -> None:
    assert burst_bytes("NNNN") == b"\xab" * 16 + b"NNNN"
    assert burst_bytes(HEADER) == b"\xab" * 16 + HEADER.encode()
    with pytest.raises(WireError):
        burst_bytes("NNN")


def test_impossible_pauses_and_voices_are_refused() -> None:
    with pytest.raises(ValueError, match="pause"):
        encode_transmission(HEADER, RATE_HZ, pause_s=-0.1)
    with pytest.raises(ValueError, match="dimension"):
        encode_transmission(HEADER, RATE_HZ, voice_pcm=np.zeros((2, 2), np.float32))
