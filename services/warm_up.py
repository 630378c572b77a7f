"""Compile what is compiled at first use, and fill the cache with it: part of the set-up, so no first block is late."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from app_core.base.blocks import IqBlock
from app_core.demod.channel import ChannelBank, ChannelConfig
from app_core.dsp.pcm16 import to_int16
from app_core.eas.decoder import SameDecoder
from app_core.eas.encoder import encode_transmission

_CENTER_HZ = 162_487_500.0

_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"squelch": {"mode": "noise"}},
    {"squelch": {"mode": "snr"}, "ctcss_hz": 100.0, "audio_rate_hz": 48_000},
    {"mode": "am"},
    {"mode": "sam"},
    {"mode": "usb"},
    {"mode": "wfm", "stereo": True, "audio_rate_hz": 48_000},
    {"mode": "wfm", "audio_rate_hz": 44_100},
)
"""One channel of every kind that has a kernel of its own."""


def _channels(n_kinds: int) -> list[ChannelConfig]:
    tables: list[dict[str, Any]] = [
        {"id": f"warm-up-{number}", "receiver_id": "warm-up", "frequency_hz": _CENTER_HZ + 1_000.0 * number, **kind}
        for number, kind in enumerate(_KINDS[:n_kinds])
    ]
    return [ChannelConfig.model_validate(table) for table in tables]


def main() -> None:
    """Send some noise and one message through every stage that is compiled."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * 65_536, dtype=np.float32).view(np.complex64) * np.float32(0.1)
    # The last one is a rate that needs the interpolating resampler. Many channels are picked from all bins, few are
    # unfolded, and one of a wide capture is zoomed into.
    for rate_hz, n_kinds in ((250_000.0, 6), (2_400_000.0, 8), (1_024_000.0, 1), (2_400_000.0, 1), (1_000_001.0, 2)):
        bank = ChannelBank(_channels(n_kinds), listen=True)
        for number in range(8):
            for _, block in bank.push(IqBlock(noise, rate_hz, _CENTER_HZ, number * len(noise), time.time(), 1)):
                to_int16(block.pcm)
        bank.levels()
        bank.flush()
    decoder = SameDecoder(24_000.0)
    message = encode_transmission("ZCZC-WXR-RWT-029095+0030-0010000-KEAX/NWS-", 24_000.0, attention_s=0.0)
    decoder.push(np.asarray(message.pcm, dtype=np.float32))
    decoder.finish()


if __name__ == "__main__":
    main()
