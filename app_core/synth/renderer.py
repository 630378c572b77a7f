"""The station on the air, as the samples of a receiver: a stream without end in constant memory.

Rendering goes block by block (`band.HOP`) whatever is asked for, and all that is random comes from the plan's seed, so
the same plan gives the same samples however it is read. Tuning and gain take effect at the next block. A renderer
belongs to the thread that reads it; `tune`, `set_gain_db` and `set_correction_ppm` may be called from another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import ConfigError
from app_core.eas.encoder import encode_transmission
from app_core.eas.header import SameHeader
from app_core.synth.band import HOP, OVERLAP, BandSynthesizer
from app_core.synth.clips import ClipStore
from app_core.synth.modulation import LOW_RATE_HZ, modulate
from app_core.synth.plan import CN_BANDWIDTH_HZ, ScheduledAlert, StationPlan
from app_core.synth.timeline import Timeline, make_carrier

AUTOMATIC_LEVEL = 0.7
"""Peak that an automatic gain aims at. [full scale = 1]"""


class AlertSchedule(Protocol):
    """Alerts in the order of their times."""

    @property
    def next_start_s(self) -> float:
        """Stream time of the next alert; infinite when there is none. [s]"""

    def take(self) -> ScheduledAlert:
        """Give the next alert and go on to the one after it; called when its rendering begins."""


class FixedSchedule:
    """The alerts of a plan."""

    def __init__(self, alerts: tuple[ScheduledAlert, ...]) -> None:
        self._waiting = sorted(alerts, key=lambda alert: alert.start_s, reverse=True)

    @property
    def next_start_s(self) -> float:
        """Stream time of the next alert; infinite when there is none. [s]"""
        return self._waiting[-1].start_s if self._waiting else math.inf

    def take(self) -> ScheduledAlert:
        """Give the next alert."""
        return self._waiting.pop()


@dataclass(frozen=True, slots=True)
class AiredAlert:
    """An alert as it is on the air: `start_sample` is that of its first bit, in samples of the stream."""

    header: SameHeader
    frequency_hz: float
    start_sample: int
    n_samples: int


class StationRenderer:
    """Renders a plan.

    Parameters
    ----------
    plan
        What is on the air.
    schedule
        Alerts beside those of the plan, for example a `DemoSchedule`.
    cache_folder
        Where spoken texts and recordings are kept between runs; None keeps them in memory.
    on_alert
        Told of each alert when its rendering begins.

    Raises
    ------
    ConfigError
        If a recording of the plan cannot be read.
    """

    def __init__(
        self,
        plan: StationPlan,
        *,
        schedule: AlertSchedule | None = None,
        cache_folder: Path | None = None,
        on_alert: Callable[[AiredAlert], None] | None = None,
    ) -> None:
        self.plan = plan
        self._store = ClipStore(cache_folder)
        self._on_alert = on_alert
        self._schedules = (FixedSchedule(plan.alerts), *(() if schedule is None else (schedule,)))
        self._timelines = {
            channel.frequency_hz: Timeline(make_carrier(channel.programme, self._store)) for channel in plan.channels
        }
        self._interpolation = round(plan.sample_rate_hz / LOW_RATE_HZ)
        noise_power = 10.0 ** (plan.impairments.noise_dbfs / 10.0)
        self._amplitudes = np.array([math.sqrt(noise_power * 10.0 ** (c.cn_db / 10.0)) for c in plan.channels])
        self._noise_sigma = math.sqrt(0.5 * noise_power * plan.sample_rate_hz / CN_BANDWIDTH_HZ)
        self._dc = 10.0 ** (plan.impairments.dc_dbfs / 20.0) * complex(math.sqrt(0.5), math.sqrt(0.5))
        self._rng = np.random.Generator(np.random.SFC64(plan.seed))
        self._center_frequency_hz = plan.center_frequency_hz
        self._error_ppm = plan.impairments.frequency_error_ppm
        self._gain = 1.0
        carriers_hz = np.array([channel.frequency_hz for channel in plan.channels])
        self._band = BandSynthesizer(carriers_hz, self._amplitudes, self._interpolation)
        self._modulated = 0
        self._band.lead_in(self._modulation(OVERLAP), self._center_frequency_hz, self._error_ppm)
        self._rest = np.zeros(0, np.complex64)
        self._position = 0

    @property
    def sample_rate_hz(self) -> float:
        """Rate of the samples."""
        return self.plan.sample_rate_hz

    @property
    def center_frequency_hz(self) -> float:
        """Radio frequency at 0 Hz of the samples."""
        return self._center_frequency_hz

    @property
    def position(self) -> int:
        """Samples read so far."""
        return self._position

    def tune(self, center_frequency_hz: float) -> None:
        """Move the centre; what lies outside the band then is not heard, and away from all channels is noise."""
        self._center_frequency_hz = center_frequency_hz

    def set_gain_db(self, gain_db: float) -> None:
        """Scale signals and noise, but not the DC spike, against the levels of the plan."""
        self._gain = 10.0 ** (gain_db / 20.0)

    def set_correction_ppm(self, correction_ppm: float) -> None:
        """Let every carrier appear higher by this much more than the plan says, as rtl_tcp's correction does."""
        self._error_ppm = self.plan.impairments.frequency_error_ppm + correction_ppm

    def automatic_gain_db(self) -> float:
        """Gain at which the band's expected peak is `AUTOMATIC_LEVEL`, within ±40 dB."""
        peak = float(self._amplitudes.sum()) + 4.0 * self._noise_sigma
        return min(40.0, max(-40.0, 20.0 * math.log10(AUTOMATIC_LEVEL / peak)))

    def read(self, n_samples: int) -> NDArray[np.complex64]:
        """Render the next samples.

        Returns
        -------
        iq
            Shape (n_samples,). [full scale = 1]

        Raises
        ------
        ValueError
            If `n_samples` is negative.
        ConfigError
            If an alert of the schedule is for a frequency without a channel.
        """
        if n_samples < 0:
            raise ValueError(f"cannot read {n_samples} samples")
        iq = np.empty(n_samples, np.complex64)
        done = 0
        while done < n_samples:
            if self._rest.size == 0:
                self._rest = self._block()
            piece = self._rest[: n_samples - done]
            iq[done : done + piece.size] = piece
            self._rest = self._rest[piece.size :]
            done += piece.size
        self._position += n_samples
        return iq

    def _block(self) -> NDArray[np.complex64]:
        iq = self._band.block(self._modulation(HOP), self._center_frequency_hz, self._error_ppm)
        noise = self._rng.standard_normal(2 * iq.size, np.float32)
        noise *= np.float32(self._noise_sigma)
        iq += noise.view(np.complex64)
        if self._gain != 1.0:
            iq *= np.float32(self._gain)
        self._impair(iq)
        return iq

    def _impair(self, iq: NDArray[np.complex64]) -> None:
        """Apply in place what the receiver's mixer does to samples of shape (n,)."""
        impairments = self.plan.impairments
        if impairments.iq_gain_db or impairments.iq_phase_deg:
            gain = 10.0 ** (impairments.iq_gain_db / 20.0)
            phase = math.radians(impairments.iq_phase_deg)
            iq.imag *= np.float32(gain * math.cos(phase))
            iq.imag += np.float32(gain * math.sin(phase)) * iq.real
        if self._dc:
            iq += np.complex64(self._dc)

    def _modulation(self, n_samples: int) -> NDArray[np.float32]:
        """Modulation of all channels for the next low-rate samples, shape (c, n_samples). [full deviation = 1]"""
        end_s = (self._modulated + n_samples) / LOW_RATE_HZ
        for schedule in self._schedules:
            while schedule.next_start_s < end_s:
                self._air(schedule.take())
        modulation = np.empty((len(self._timelines), n_samples), np.float32)
        for row, timeline in zip(modulation, self._timelines.values(), strict=True):
            timeline.read(row)
        self._modulated += n_samples
        return modulation

    def _air(self, alert: ScheduledAlert) -> None:
        timeline = self._timelines.get(alert.frequency_hz)
        if timeline is None:
            raise ConfigError(f"an alert is for {alert.frequency_hz} Hz, where no channel is")
        voice = self._store.speech(alert.voice_text, alert.voice) if alert.voice_text else np.zeros(0, np.int16)
        transmission = encode_transmission(
            alert.header,
            LOW_RATE_HZ,
            voice_pcm=np.zeros(voice.size, np.float32),
            attention=alert.attention,
            attention_s=alert.attention_s,
        )
        clip = modulate(transmission.pcm, LOW_RATE_HZ)
        for part in transmission.parts:
            if part.name == "voice":
                clip[part.start_sample : part.end_sample] = voice
        start = timeline.insert(round(alert.start_s * LOW_RATE_HZ), clip)
        if self._on_alert is not None:
            n_samples = clip.size * self._interpolation
            aired = AiredAlert(transmission.header, alert.frequency_hz, start * self._interpolation, n_samples)
            self._on_alert(aired)
