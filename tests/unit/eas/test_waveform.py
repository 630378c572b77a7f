"""The SAME modulator, held against the formula of 47 CFR 11.31(a)(1)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.eas.waveform import BAUD, BIT_S, MARK_HZ, PREAMBLE, SPACE_HZ, afsk


def direct_afsk(message_bytes: bytes, sample_rate_hz: float) -> NDArray[np.float64]:
    """Integrate the frequency of every bit, by the length of time that each sample interval has in it."""
    bits = [byte >> place & 1 for byte in message_bytes for place in range(8)]
    pcm = []
    n = 0
    while n / sample_rate_hz < len(bits) * BIT_S - 1e-9:
        now = n / sample_rate_hz
        whole = int(now / BIT_S + 1e-9)
        cycles = sum((MARK_HZ if bit else SPACE_HZ) * BIT_S for bit in bits[:whole])
        cycles += (MARK_HZ if bits[whole] else SPACE_HZ) * (now - whole * BIT_S)
        pcm.append(np.sin(2.0 * np.pi * cycles))
        n += 1
    return np.array(pcm)


@pytest.mark.parametrize("sample_rate_hz", [8_000.0, 11_025.0, 22_050.0, 25_000.0, 48_000.0])
def test_samples_are_those_of_the_integrated_frequency(sample_rate_hz: float) -> None:
    message = PREAMBLE[:3] + b"ZCZ\xff\x00"
    expected = direct_afsk(message, sample_rate_hz)
    pcm = afsk(message, sample_rate_hz)
    assert pcm.dtype == np.float32
    assert pcm.shape == expected.shape
    np.testing.assert_allclose(pcm, expected, atol=1e-5)


@given(st.binary(min_size=1, max_size=30), st.sampled_from([16_000.0, 24_000.0, 44_100.0]))
def test_every_bit_is_read_back_by_its_tone_least_significant_first(message: bytes, sample_rate_hz: float) -> None:
    pcm = afsk(message, sample_rate_hz)
    time_s = np.arange(pcm.size) / sample_rate_hz
    tones = {bit: pcm * np.exp(-2j * np.pi * hz * time_s) for bit, hz in ((1, MARK_HZ), (0, SPACE_HZ))}
    read = bytearray(len(message))
    for index in range(8 * len(message)):
        begin, end = (round(at * BIT_S * sample_rate_hz) for at in (index, index + 1))
        bit = int(abs(tones[1][begin:end].sum()) > abs(tones[0][begin:end].sum()))
        read[index // 8] |= bit << index % 8
    assert bytes(read) == message


def test_a_fast_clock_shortens_the_burst_and_raises_its_tones() -> None:
    pcm = afsk(b"\xff" * 40, 48_000.0, baud=BAUD * 1.02)
    assert pcm.size == np.ceil(320 * 48_000.0 / (BAUD * 1.02))
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size), 1 << 18))
    assert spectrum.argmax() * 48_000.0 / (1 << 18) == pytest.approx(MARK_HZ * 1.02, abs=0.5)


def test_an_offset_moves_the_burst_by_a_fraction_of_a_sample() -> None:
    early = afsk(b"\xff\x00Z", 25_000.0 * 4)[3::4]
    late = afsk(b"\xff\x00Z", 25_000.0, start_offset=0.25)
    assert late[0] == 0.0
    np.testing.assert_allclose(late[1:], early[: late.size - 1], atol=1e-5)


def test_the_spectrum_of_the_preamble_lies_between_the_tones() -> None:
    pcm = afsk(PREAMBLE * 4, 25_000.0)
    power = np.square(np.abs(np.fft.rfft(pcm * np.hanning(pcm.size))))
    frequency_hz = np.fft.rfftfreq(pcm.size, 1.0 / 25_000.0)
    inside = (frequency_hz > SPACE_HZ - BAUD) & (frequency_hz < MARK_HZ + BAUD)
    assert power[inside].sum() > 0.98 * power.sum()


def test_nothing_to_send_is_no_samples() -> None:
    assert afsk(b"", 25_000.0).size == 0


def test_what_cannot_be_modulated_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot carry"):
        afsk(b"Z", 4_000.0)
    with pytest.raises(ValueError, match="baud"):
        afsk(b"Z", 8_000.0, baud=0.0)
    with pytest.raises(ValueError, match="start_offset"):
        afsk(b"Z", 8_000.0, start_offset=1.0)
