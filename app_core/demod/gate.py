"""What a listener does not hear of a channel: all that its squelch keeps back, and the tone of its tone squelch.

The SAME decoder hears the audio as it is, so that no alert at the edge is cut. A squelch judges IQ and gives a gain at
the demodulator's rate; audio comes out of the resampler later and at another rate, so the gains wait here. Both are
counted from the beginning of a piece of the stream: audio sample ``p`` takes the gain that stands at or before it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.demod.channel_config import ChannelConfig
from app_core.demod.channel_squelch import ChannelSquelch
from app_core.demod.tone_squelch import ToneFilter, ToneSquelch


def has_gate(config: ChannelConfig) -> bool:
    """Whether listeners hear something else of a channel than its decoder."""
    return config.squelch.mode != "off" or config.ctcss_hz is not None


class Gate:
    """The gate of one channel.

    Parameters
    ----------
    config
        The channel; `has_gate` is true of it.
    iq_rate_hz
        Rate of its IQ.
    decimation
        IQ samples for one sample of the demodulator.
    n_in
        IQ samples of this piece that came before; all of it was heard, and so the gate is open until it has judged.
    """

    def __init__(self, config: ChannelConfig, iq_rate_hz: int, decimation: int, n_in: int = 0) -> None:
        self._iq_rate_hz, self._decimation = iq_rate_hz, decimation
        self._tone_squelch = None if config.ctcss_hz is None else ToneSquelch(config.audio_rate_hz, config.ctcss_hz)
        self._tone_filter = None if config.ctcss_hz is None else ToneFilter(config.audio_rate_hz)
        # Gains for each sample of audio.
        self._ratio = Fraction(iq_rate_hz, decimation * config.audio_rate_hz)
        self._squelch: ChannelSquelch | None = None
        self.change(config, n_in)

    def change(self, config: ChannelConfig, n_in: int) -> None:
        """Go on with the squelch that the channel has now; its tone is what it was.

        Parameters
        ----------
        config, n_in
            As for the class.
        """
        if self._squelch is not None:
            self._squelch.change(config.squelch)
        elif config.squelch.mode != "off":
            self._squelch = ChannelSquelch(config, self._iq_rate_hz, self._decimation, is_open=n_in > 0)
            self._gains = np.zeros(0, dtype=np.float32)
            self._first_gain = -(-n_in // self._decimation)

    @property
    def snr_db(self) -> float | None:
        """Signal over noise by the squelch, as of `ChannelSquelch`; None where there is no squelch."""
        return None if self._squelch is None else self._squelch.snr_db

    def begin(self) -> None:
        """Begin a piece of the stream."""
        for part in (self._squelch, self._tone_squelch, self._tone_filter):
            if part is not None:
                part.reset()
        self._gains = np.zeros(0, dtype=np.float32)
        self._first_gain = 0

    def judge(self, iq: NDArray[np.complex64]) -> None:
        """Look at the next IQ of the channel, shape (n,)."""
        if self._squelch is not None:
            self._gains = np.concatenate((self._gains, self._squelch.push(iq)))

    def apply(self, pcm: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        """Give what listeners hear.

        Parameters
        ----------
        pcm
            The next audio, shape (n_audio, n).
        first
            Index of its first sample in this piece of the stream.

        Returns
        -------
        heard
            Same shape.
        """
        heard = pcm
        if self._tone_squelch is not None:
            gain = self._tone_squelch.push(np.ascontiguousarray(pcm[0]))
            heard = heard * gain
        if self._tone_filter is not None:
            heard = self._tone_filter.push(np.ascontiguousarray(heard[0]))[None]
        if self._squelch is not None:
            heard = heard * self._gains_at(first, pcm.shape[1])
        return heard

    def readings(self) -> dict[str, float | bool | None]:
        """Say whether it is open now, what it compares with its thresholds, and which tone is heard if one is due."""
        parts = [part for part in (self._squelch, self._tone_squelch) if part is not None]
        told: dict[str, float | bool | None] = {"squelch_open": all(part.is_open for part in parts)}
        if self._squelch is not None:
            told["squelch_db"] = self._squelch.judged_db
        if self._tone_squelch is not None:
            told["ctcss_hz"] = self._tone_squelch.ctcss_hz
        return told

    def _gains_at(self, first: int, n: int) -> NDArray[np.float32]:
        if n == 0 or not self._gains.shape[0]:
            return np.full(n, self._squelch is not None and self._squelch.is_open, dtype=np.float32)
        up, down = self._ratio.numerator, self._ratio.denominator
        places = np.arange(first, first + n, dtype=np.int64) * up // down - self._first_gain
        # Beyond the end the filters die away; before the beginning the gate was another one.
        np.clip(places, 0, self._gains.shape[0] - 1, out=places)
        gains = self._gains[places]
        used = min(max((first + n) * up // down - self._first_gain, 0), self._gains.shape[0] - 1)
        self._gains = self._gains[used:]
        self._first_gain += used
        return gains
