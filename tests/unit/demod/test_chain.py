"""What lies behind the filter bank: channels that leave a chain take along what is theirs."""

import numpy as np
import pytest

from app_core.demod.chain import Chain
from app_core.demod.channel_config import ChannelConfig
from tests.support.signals import complex_noise

CONFIGS = [
    ChannelConfig(id=str(number), receiver_id="r", frequency_hz=1e8 + 25_000.0 * number, audio_rate_hz=22_050)
    for number in range(4)
]


@pytest.mark.parametrize("rows", [[2], [1, 3], [3, 0]])
def test_a_chain_of_some_goes_on_where_the_chain_of_all_stands(rows: list[int]) -> None:
    powers = (1e-3, 1e-2, 0.1, 1.0)
    iq = np.stack([complex_noise(24_000, power, seed) for seed, power in enumerate(powers)])
    chain = Chain(CONFIGS, [10, 11, 12, 13])
    chain.push(iq[:, :10_000])
    # Nothing has been collected yet.
    taken = chain.take([chain.keys[row] for row in rows])
    for part, its_iq in ((chain, iq), (taken, iq[rows])):
        part.push(its_iq[:, 10_000:])
    assert taken.keys == [10 + row for row in rows]
    assert taken.configs == [CONFIGS[row] for row in rows]
    assert [taken.levels(row) for row in range(len(rows))] == [chain.levels(row) for row in rows]
    first, pcm, _ = taken.collect()
    whole_first, whole_pcm, _ = chain.collect()
    assert first == whole_first == 0
    assert pcm.shape[1] > 20_000
    np.testing.assert_array_equal(pcm, whole_pcm[rows])
