"""Compile what is compiled at first use, and fill the cache with it, so that no first block is late.

The set-up does it for every kind of channel; the decode job does it for its own channels before the stream opens, since
nobody may have run the set-up. Where the cache is full that loads what the first block would have loaded.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from app_core.base.blocks import IqBlock
from app_core.demod.channel import ChannelBank, ChannelConfig
from app_core.dsp.pcm16 import to_int16
from app_core.eas.decoder import SameDecoder
from app_core.eas.encoder import encode_transmission

_CENTER_HZ = 162_487_500.0
_RATE_HZ = 250_000.0
_BLOCK_SAMPLES = 65_536

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


def warm_channels(channels: Sequence[ChannelConfig], receivers: Sequence[Mapping[str, Any]]) -> None:
    """Send noise through the channels, and one message through a decoder of SAME.

    Parameters
    ----------
    channels
        Those that will be received.
    receivers
        The ``[[receivers]]`` tables that are known: they say at which rate the samples will come.
    """
    tables = {str(table.get("id")): table for table in receivers}
    by_receiver = sorted(channels, key=lambda channel: channel.receiver_id)
    for receiver_id, members in groupby(by_receiver, key=lambda channel: channel.receiver_id):
        group = list(members)
        table = tables.get(receiver_id, {})
        rate_hz = _first_number(table, ("publish_sample_rate_hz", "sample_rate_hz"), _RATE_HZ)
        middle_hz = (group[0].frequency_hz + group[-1].frequency_hz) / 2.0
        center_hz = _first_number(table, ("publish_center_frequency_hz", "center_frequency_hz"), middle_hz)
        _warm_bank(group, rate_hz, center_hz, 2)
    _warm_decoder()


def main() -> None:
    """Send some noise and one message through every stage that is compiled."""
    # The last one is a rate that needs the interpolating resampler. Many channels are picked from all bins, few are
    # unfolded, and one of a wide capture is zoomed into.
    for rate_hz, n_kinds in ((250_000.0, 6), (2_400_000.0, 8), (1_024_000.0, 1), (2_400_000.0, 1), (1_000_001.0, 2)):
        _warm_bank(_channels(n_kinds), rate_hz, _CENTER_HZ, 8)
    _warm_decoder()


def _channels(n_kinds: int) -> list[ChannelConfig]:
    tables: list[dict[str, Any]] = [
        {"id": f"warm-up-{number}", "receiver_id": "warm-up", "frequency_hz": _CENTER_HZ + 1_000.0 * number, **kind}
        for number, kind in enumerate(_KINDS[:n_kinds])
    ]
    return [ChannelConfig.model_validate(table) for table in tables]


def _warm_bank(channels: Sequence[ChannelConfig], rate_hz: float, center_hz: float, n_blocks: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * _BLOCK_SAMPLES, dtype=np.float32).view(np.complex64) * np.float32(0.1)
    bank = ChannelBank(channels, listen=True)
    for number in range(n_blocks):
        for _, block in bank.push(IqBlock(noise, rate_hz, center_hz, number * len(noise), time.time(), 1)):
            to_int16(block.pcm)
    bank.levels()
    bank.flush()


def _warm_decoder() -> None:
    decoder = SameDecoder(24_000.0)
    message = encode_transmission("ZCZC-WXR-RWT-029095+0030-0010000-KEAX/NWS-", 24_000.0, attention_s=0.0)
    decoder.push(np.asarray(message.pcm, dtype=np.float32))
    decoder.finish()


def _first_number(table: Mapping[str, Any], names: Sequence[str], default: float) -> float:
    """Give the first of these settings that is a number above zero; what is wrong in a table is for others to say."""
    values = [table.get(name) for name in names]
    return next((float(value) for value in values if isinstance(value, int | float) and value > 0), default)


if __name__ == "__main__":
    main()
