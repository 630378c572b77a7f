"""Whether a channel has a carrier, by what is measured of it."""

from __future__ import annotations

from app_core.demod.chain import ChannelLevels
from app_core.demod.channel_config import Mode

PRESENT_DB, ABSENT_DB = 5.0, 2.0
"""A carrier is there from so much above the noise of its channel on, and away below so much. The noise of an empty
channel alone reads less than -6 dB over half a second."""

_CONSTANT_ENVELOPE = (Mode.NFM, Mode.WFM)
"""The modes in which the measured ratio is that of a carrier to the noise: the others' envelopes are the programme."""


class CarrierWatch:
    """Follow one channel's carrier, with hysteresis."""

    def __init__(self, mode: Mode) -> None:
        self._is_measured = mode in _CONSTANT_ENVELOPE
        self._is_present = True

    def look(self, levels: ChannelLevels | None) -> bool | None:
        """Give whether there is a carrier.

        Parameters
        ----------
        levels
            What is measured of the channel; None where nothing was yet.

        Returns
        -------
        is_present
            None where nobody knows.
        """
        if levels is None or not self._is_measured:
            return None
        self._is_present = levels["snr_db"] >= (ABSENT_DB if self._is_present else PRESENT_DB)
        return self._is_present
