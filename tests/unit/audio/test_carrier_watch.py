"""Whether a channel has a carrier, by its signal-to-noise ratio."""

import pytest

from app_core.audio.carrier_watch import ABSENT_DB, PRESENT_DB, CarrierWatch
from app_core.demod.chain import ChannelLevels
from app_core.demod.channel_config import Mode


def levels(snr_db: float) -> ChannelLevels:
    return ChannelLevels(level_dbfs=-20.0, snr_db=snr_db, frequency_error_hz=0.0, deviation_hz=0.0)


def test_a_carrier_goes_and_comes_with_hysteresis() -> None:
    watch = CarrierWatch(Mode.NFM)
    between = (ABSENT_DB + PRESENT_DB) / 2.0
    readings = [30.0, between, ABSENT_DB - 0.1, between, PRESENT_DB - 0.1, PRESENT_DB, between]
    assert [watch.look(levels(snr_db)) for snr_db in readings] == [True, True, False, False, False, True, True]


@pytest.mark.parametrize("mode", [Mode.AM, Mode.SAM, Mode.USB, Mode.LSB])
def test_nobody_knows_of_a_carrier_where_the_envelope_is_the_programme(mode: Mode) -> None:
    assert CarrierWatch(mode).look(levels(-10.0)) is None


def test_nobody_knows_before_anything_was_measured() -> None:
    assert CarrierWatch(Mode.NFM).look(None) is None
