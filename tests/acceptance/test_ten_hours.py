"""Ten hours of one stream: after them a channel's audio still stands where its samples stand."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.demod.channel import ChannelBank, ChannelConfig
from tests.support.signals import audio_tone, fm_modulate

# Rates without a common divisor, the first of them the lowest that holds a channel.
RATE_HZ: Final = 24_001
AUDIO_RATE_HZ: Final = 22_050
CENTER_HZ = 162_550_000.0
BLOCK = 167 * RATE_HZ
SECONDS = 36_000


def _block(iq: NDArray[np.complex64], first_sample: int) -> IqBlock:
    return IqBlock(iq, float(RATE_HZ), CENTER_HZ, first_sample, 1e9 + first_sample / RATE_HZ, 1)


@pytest.mark.timeout(600)
def test_counters_and_samples_have_not_drifted_after_ten_hours() -> None:
    config = ChannelConfig(id="c", receiver_id="r", frequency_hz=CENTER_HZ + 1_000.0, audio_rate_hz=AUDIO_RATE_HZ)
    bank, silence = ChannelBank([config]), np.zeros(BLOCK, np.complex64)
    n_sent, n_heard = 0, 0
    while n_sent < SECONDS * RATE_HZ:
        for _, pcm in bank.push(_block(silence, n_sent)):
            assert pcm.first_sample == n_heard
            assert abs(pcm.timestamp - 1e9 - n_heard / AUDIO_RATE_HZ) < 1e-6
            n_heard += len(pcm.pcm)
        n_sent += BLOCK
    # A second of tone, heard by this bank and by one that begins here, where a sample of audio stands at one of IQ.
    tone = fm_modulate(audio_tone(1000.0, RATE_HZ, RATE_HZ, 0.5), RATE_HZ, 5_000.0, 1_000.0, 0.3)
    old = [pcm for _, pcm in [*bank.push(_block(tone, n_sent)), *bank.flush()]]
    fresh = ChannelBank([config])
    new = [pcm for _, pcm in [*fresh.push(_block(tone, n_sent)), *fresh.flush()]]
    assert old[0].first_sample == n_heard
    end = old[-1].first_sample + len(old[-1].pcm)
    assert end == new[-1].first_sample + len(new[-1].pcm)
    assert end == round(Fraction((n_sent + RATE_HZ) * AUDIO_RATE_HZ, RATE_HZ))
    settled = AUDIO_RATE_HZ // 2
    heard, wanted = (np.concatenate([pcm.pcm for pcm in pieces])[-settled:] for pieces in (old, new))
    np.testing.assert_allclose(heard, wanted, atol=1e-3)
