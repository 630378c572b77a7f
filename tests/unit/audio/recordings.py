"""Recordings for the tests: a header on the air, as audio and as IQ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.eas.encoder import encode_transmission
from tests.support.signals import complex_noise, fm_modulate

TEST = "ZCZC-WXR-RWT-029095+0030-1231200-KEAX/NWS-"
TORNADO = "ZCZC-WXR-TOR-029095-020091+0045-1231200-KEAX/NWS-"
RATE_HZ = 22050
IQ_RATE_HZ = 100_000.0
IQ_CENTER_HZ = 162_487_500.0


def spoken(header: str = TEST, *, rate_hz: float = RATE_HZ, delay_s: float = 0.5) -> NDArray[np.float32]:
    """Audio of a whole transmission without tone and voice, shape (n,), with silence before and behind it."""
    pcm = encode_transmission(header, rate_hz, attention_s=0.0).pcm
    return np.concatenate([np.zeros(round(delay_s * rate_hz), np.float32), pcm, np.zeros(round(rate_hz), np.float32)])


def broadcast(*stations: tuple[str, float]) -> NDArray[np.complex64]:
    """IQ at `IQ_RATE_HZ` around `IQ_CENTER_HZ`, shape (n,), of stations given by header and frequency."""
    signals = [
        fm_modulate(spoken(header, rate_hz=IQ_RATE_HZ), IQ_RATE_HZ, 5_000.0, frequency_hz - IQ_CENTER_HZ, 0.3)
        for header, frequency_hz in stations
    ]
    iq = complex_noise(max(len(signal) for signal in signals), 1e-4, seed=1)
    for signal in signals:
        iq[: len(signal)] += signal
    return iq
