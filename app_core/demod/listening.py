"""One channel as a listener hears it: demodulator, squelch, tone squelch, audio rate; mono or stereo.

The SAME decoder never hears this: it gets the audio whatever a squelch says (`app_core.demod.channel`).

Convention: as if the channel's IQ began with the stream. Audio sample ``p`` stands at time ``p / audio_rate_hz``; the
delay of the demodulator and of the filters is taken out.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.demod.channel_config import ChannelConfig, Mode
from app_core.demod.channel_squelch import ChannelSquelch, make_meter
from app_core.demod.demodulator import make_demodulator
from app_core.demod.tone_squelch import ToneFilter, ToneSquelch
from app_core.dsp.measure import constant_envelope_snr_db, power_dbfs
from app_core.dsp.resampler import Resampler

_MUSIC_PASSBAND_HZ = 15_000.0
_VOICE_PASSBAND_HZ = 5_000.0
_STOPBAND_SHARE = 1.35
_NARROW_PASSBAND_SHARE = 0.425
"""Edges of the audio filter: of the music of broadcast FM, of voice, and as shares of the pass band and of a low audio
rate."""


class Listener:
    """Make a channel's IQ audible, as a stream.

    Parameters
    ----------
    config
        The channel.
    iq_rate_hz
        Rate of its IQ.

    Attributes
    ----------
    n_audio
        1 for mono, 2 for stereo.
    open_share
        Share of the audio so far for which the squelch was open, 0 to 1; None where there is none.

    Raises
    ------
    ValueError
        If the channel cannot be demodulated at that rate, or `ctcss_hz` is no standard tone.
    """

    def __init__(self, config: ChannelConfig, iq_rate_hz: int) -> None:
        self.config = config
        self._iq_rate_hz = iq_rate_hz
        self._demodulator = make_demodulator(config, iq_rate_hz)
        self.n_audio = self._demodulator.n_audio
        self._decimation = int(getattr(self._demodulator, "decimation", 1))
        rate_hz = Fraction(iq_rate_hz, self._decimation)
        has_squelch = config.squelch.mode != "off"
        self._squelch = ChannelSquelch(config, iq_rate_hz, self._decimation) if has_squelch else None
        is_narrow_fm = config.mode is Mode.NFM
        self._tone_squelch = ToneSquelch(float(rate_hz), config.ctcss_hz) if is_narrow_fm else None
        self._tone_filter = None if config.ctcss_hz is None else ToneFilter(float(rate_hz))
        self._has_gate = self._squelch is not None or config.ctcss_hz is not None
        passband_hz = _MUSIC_PASSBAND_HZ if config.mode is Mode.WFM else _VOICE_PASSBAND_HZ
        passband = min(passband_hz, _NARROW_PASSBAND_SHARE * config.audio_rate_hz) / float(rate_hz)
        self._resampler: Resampler[np.float32] = Resampler(
            config.audio_rate_hz / rate_hz, passband, _STOPBAND_SHARE * passband, np.float32, self.n_audio
        )
        self._n_in = 0
        self._n_out = 0
        self._n_lead = round(self._demodulator.delay_s * config.audio_rate_hz)
        self._moments = np.zeros(2)
        self._meter = make_meter(config, iq_rate_hz)
        self._n_judged = 0
        self._open_sum = 0.0

    @property
    def open_share(self) -> float | None:
        """As above."""
        return self._open_sum / self._n_judged if self._has_gate and self._n_judged else None

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0. [full scale = 1]

        Returns
        -------
        pcm
            Shape (n_out, n_audio). [full scale = ±1]
        """
        self._n_in += iq.shape[0]
        if iq.shape[0]:
            power = np.square(np.abs(iq).astype(np.float64))
            self._moments = np.array([power.mean(), np.square(power).mean()])
            if self._meter is not None:
                self._meter.push(iq)
        return self._lead_taken_out(self._resampler.push(self._gated(iq)))

    def flush(self) -> NDArray[np.float32]:
        """End the stream: give the audio up to the end of the last IQ."""
        end = round(Fraction(self._n_in, self._iq_rate_hz) * self.config.audio_rate_hz)
        n_late = math.ceil(self._demodulator.delay_s * self._iq_rate_hz)
        # What the demodulator measures of these zeros is not the channel's.
        late = self._resampler.push(self._gated(np.zeros(n_late, dtype=np.complex64)))
        pcm = np.concatenate((self._lead_taken_out(late), self._lead_taken_out(self._resampler.flush())))
        return pcm[: max(end - (self._n_out - len(pcm)), 0)]

    def readings(self) -> dict[str, float | bool | None]:
        """Give what was measured in the last `push`: ``level_dbfs, snr_db, frequency_error_hz, deviation_hz``.

        Behind them stand ``squelch_open`` and ``ctcss_hz``, where they are judged, and what the mode itself measures.
        """
        second, fourth = (float(moment) for moment in self._moments)
        suppressed = self.config.mode in (Mode.USB, Mode.LSB)
        measured: dict[str, float | bool | None] = {
            "level_dbfs": power_dbfs(second),
            "snr_db": constant_envelope_snr_db(second, fourth) if self._meter is None else self._meter.snr_db,
            "frequency_error_hz": None if suppressed else self._demodulator.frequency_error_hz,
            "deviation_hz": self._demodulator.deviation_hz if self.config.deviation_hz else None,
        }
        if self._has_gate:
            is_open = self._squelch is None or self._squelch.is_open
            measured["squelch_open"] = is_open and (self._tone_squelch is None or self._tone_squelch.is_open)
        if self._tone_squelch is not None:
            measured["ctcss_hz"] = self._tone_squelch.ctcss_hz
        return measured | self._demodulator.readings()

    def _gated(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Audio at the demodulator's rate, shape (n_audio, n / decimation)."""
        audio = np.ascontiguousarray(self._demodulator.push(iq).reshape(-1, self.n_audio).T)
        gain = np.ones(audio.shape[1], dtype=np.float32)
        if self._squelch is not None:
            gain *= self._squelch.push(iq)
        if self._tone_squelch is not None:
            gain *= self._tone_squelch.push(audio[0])
        if self._tone_filter is not None:
            audio = self._tone_filter.push(audio[0])[None]
        if self._has_gate:
            self._open_sum += float(gain.sum())
            self._n_judged += gain.shape[0]
            audio = audio * gain
        return audio

    def _lead_taken_out(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Drop what the demodulator's delay put in front, and count the rest; shape (n_audio, n) to (n, n_audio)."""
        n_dropped = min(self._n_lead, pcm.shape[1])
        self._n_lead -= n_dropped
        self._n_out += pcm.shape[1] - n_dropped
        return pcm[:, n_dropped:].T
