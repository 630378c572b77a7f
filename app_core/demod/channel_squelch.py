"""The squelch of a channel, before what its mode demodulates: of single sideband, the sideband alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.demod.channel_config import ChannelConfig, Mode, SquelchConfig
from app_core.demod.squelch import LOW_DB, Squelch
from app_core.demod.ssb import LOW_EDGE_HZ, SidebandFilter

METERED_SHARE = 0.25
"""Share of the time in which a `SignalMeter` listens: the reading is for people, and a squelch costs as much as AM."""

_N_METERED = 4
"""Windows that it listens to in one piece; the first two hold the filters' beginning, or less than they should."""


class SignalMeter:
    """Signal over noise of a channel, measured now and then as its squelch would.

    Parameters
    ----------
    config
        The channel.
    iq_rate_hz
        Rate of its IQ.

    Attributes
    ----------
    snr_db
        At the end of the last piece that was listened to. [dB]
    """

    def __init__(self, config: ChannelConfig, iq_rate_hz: float) -> None:
        self._squelch = ChannelSquelch(config.model_copy(update={"squelch": SquelchConfig()}), iq_rate_hz, 1)
        self._n_listened = round(_N_METERED * self._squelch.window_s * iq_rate_hz)
        self._n_period = round(self._n_listened / METERED_SHARE)
        self.snr_db = LOW_DB
        self.reset()

    def reset(self) -> None:
        """Begin to listen anew, for a gap in the stream; the reading stays."""
        self._place = 0

    def push(self, iq: NDArray[np.complex64]) -> None:
        """Take the next part of the stream, shape (n,)."""
        while iq.shape[0]:
            listens = self._place < self._n_listened
            part = iq[: (self._n_listened if listens else self._n_period) - self._place]
            iq = iq[part.shape[0] :]
            if listens:
                if self._place == 0:
                    self._squelch.reset()
                self._squelch.push(part)
            self._place += part.shape[0]
            if listens and self._place == self._n_listened:
                self.snr_db = self._squelch.snr_db
            self._place %= self._n_period


def make_meter(config: ChannelConfig, iq_rate_hz: float) -> SignalMeter | None:
    """Make what measures a channel's signal over its noise; None where moments say it.

    The moments of the magnitude tell the ratio of a carrier of constant envelope, which FM is, and of nothing else.
    """
    if config.mode in (Mode.NFM, Mode.WFM):
        return None
    return SignalMeter(config, iq_rate_hz)


class ChannelSquelch:
    """Judge a channel as its settings say, as a stream.

    Parameters
    ----------
    config
        The channel.
    iq_rate_hz
        Rate of its IQ.
    decimation
        IQ samples for each sample of the gain.
    is_open
        As of `Squelch`.
    """

    def __init__(self, config: ChannelConfig, iq_rate_hz: float, decimation: int, *, is_open: bool = False) -> None:
        self._sideband: SidebandFilter | None = None
        center_hz = 0.0
        if config.mode in (Mode.USB, Mode.LSB):
            # The channel that is cut out holds both sidebands; what the other one says is nobody's concern here.
            self._sideband = SidebandFilter(
                iq_rate_hz, "usb" if config.mode is Mode.USB else "lsb", config.bandwidth_hz
            )
            center_hz = (config.bandwidth_hz + LOW_EDGE_HZ) / 2.0 * (1.0 if config.mode is Mode.USB else -1.0)
        wanted = config.squelch
        self._mode = wanted.mode
        self._squelch = Squelch(
            iq_rate_hz,
            config.bandwidth_hz,
            wanted.mode,
            wanted.open_db,
            wanted.close_db,
            wanted.tail_s,
            decimation,
            center_hz=center_hz,
            is_open=is_open,
        )

    @property
    def is_open(self) -> bool:
        """At the end of the last `push`."""
        return self._squelch.is_open

    @property
    def snr_db(self) -> float:
        """As of `Squelch`."""
        return self._squelch.snr_db

    @property
    def quieting_db(self) -> float:
        """As of `Squelch`."""
        return self._squelch.quieting_db

    @property
    def window_s(self) -> float:
        """Length of the windows that it judges by. [seconds]"""
        return self._squelch.window_s

    @property
    def judged_db(self) -> float:
        """What the squelch compares with its thresholds: of the mode ``noise`` the quieting, else the ratio."""
        return self.quieting_db if self._mode == "noise" else self.snr_db

    def change(self, wanted: SquelchConfig) -> None:
        """Go on under other settings, as `Squelch.change` does."""
        self._mode = wanted.mode
        self._squelch.change(wanted.mode, wanted.open_db, wanted.close_db, wanted.tail_s)

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""
        self._squelch.reset()
        if self._sideband is not None:
            self._sideband.reset()

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Judge the next part of the stream, shape (n,); give gains as `Squelch.push` does."""
        return self._squelch.push(iq if self._sideband is None else self._sideband.push(iq))
