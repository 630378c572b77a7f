"""Compile what is compiled at first use, and fill the cache with it: part of the set-up, so no first block is late."""

from __future__ import annotations

import time

import numpy as np

from app_core.base.blocks import IqBlock
from app_core.demod.channel import ChannelBank, ChannelConfig
from app_core.eas.decoder import SameDecoder
from app_core.eas.encoder import encode_transmission


def main() -> None:
    """Send one block of noise and one message through every stage that is compiled."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(2 * 65_536, dtype=np.float32).view(np.complex64) * np.float32(0.1)
    channel = ChannelConfig(id="warm-up", receiver_id="warm-up", frequency_hz=162_550_000.0)
    bank = ChannelBank([channel])
    bank.push(IqBlock(noise, 250_000.0, 162_487_500.0, 0, time.time(), 1))
    decoder = SameDecoder(24_000.0)
    message = encode_transmission("ZCZC-WXR-RWT-029095+0030-0010000-KEAX/NWS-", 24_000.0, attention_s=0.0)
    decoder.push(np.asarray(message.pcm, dtype=np.float32))
    decoder.finish()


if __name__ == "__main__":
    main()
