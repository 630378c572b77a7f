"""Names in Redis: the contract, letter by letter."""

from __future__ import annotations

import pytest

from app_core.base.errors import WireError
from app_core.bridge import keys


def test_names_and_times_to_live_are_the_contracts() -> None:
    assert keys.samples("noaa-1") == "sdr:samples:noaa-1"
    assert keys.spectrum("noaa-1") == "sdr:spectrum:noaa-1"
    assert keys.ring_buffer("noaa-1") == "sdr:ring_buffer:noaa-1"
    assert keys.command_result("cmd-12345") == "sdr:command_result:cmd-12345"
    assert keys.pcm("wx1") == "audio:pcm:wx1"
    assert (keys.HEARTBEAT, keys.METRICS, keys.COMMANDS) == ("sdr:heartbeat", "sdr:metrics", "sdr:commands")
    assert keys.history("rx") == "sdr:history:rx"
    assert (keys.AUDIO_HEARTBEAT, keys.AUDIO_METRICS, keys.ALERTS) == ("audio:heartbeat", "audio:metrics", "eas:alerts")
    assert (keys.SPECTRUM_TTL_S, keys.RING_BUFFER_TTL_S, keys.HEARTBEAT_TTL_S) == (5, 10, 10)
    assert (keys.METRICS_TTL_S, keys.COMMAND_RESULT_TTL_S) == (30, 30)


@pytest.mark.parametrize("identifier", ["a", "0", "noaa-1", "KHB_36.wx", "a" * 64])
def test_ids_that_may_stand_in_a_key_are_given_back(identifier: str) -> None:
    assert keys.check_identifier(identifier) == identifier


@pytest.mark.parametrize("identifier", ["", "a" * 65, "-a", "a:b", "a b", "a\n", "\x00", "*", "a/../b", "ä"])
def test_other_ids_are_refused(identifier: str) -> None:
    with pytest.raises(WireError, match="not an id"):
        keys.check_identifier(identifier)
