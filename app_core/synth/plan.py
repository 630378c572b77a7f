"""What a generated station sends, and how badly the receiver hears it. Everything is checked here, before a sample.

Frequencies are radio frequencies; times count from the first sample of the stream. Levels are relative to the full
scale of the generated samples, before any gain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from app_core.base.errors import ConfigError, WireError
from app_core.eas.attention import Attention
from app_core.eas.header import SameHeader, parse_header
from app_core.synth.modulation import LOW_RATE_HZ

NWR_FREQUENCIES_HZ = (162_400e3, 162_425e3, 162_450e3, 162_475e3, 162_500e3, 162_525e3, 162_550e3)
"""The seven channels of NOAA Weather Radio."""

CN_BANDWIDTH_HZ = 12_500.0
"""Bandwidth in which a channel's carrier-to-noise ratio and the noise floor are stated."""


@dataclass(frozen=True, slots=True)
class Silence:
    """An unmodulated carrier."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A steady tone of `frequency_hz` at `level`, of PCM before pre-emphasis [full scale = 1]."""

    frequency_hz: float
    level: float = 0.5

    def __post_init__(self) -> None:
        _check(0.0 < self.frequency_hz <= 3_400.0, f"a tone of {self.frequency_hz} Hz is outside 0 to 3400 Hz")
        _check(0.0 <= self.level <= 1.0, f"the level {self.level} of a tone is outside 0 to 1")


@dataclass(frozen=True, slots=True)
class Speech:
    """A text that is spoken again and again, with `pause_s` between; `voice` is a voice of espeak-ng."""

    text: str
    voice: str = "en-us"
    pause_s: float = 2.0

    def __post_init__(self) -> None:
        _check(bool(self.text.strip()), "a spoken programme has no text")
        _check(0.0 <= self.pause_s < math.inf, f"a pause of {self.pause_s} s is not possible")


@dataclass(frozen=True, slots=True)
class Recording:
    """An audio file that soundfile reads: looped for ever with `pause_s` between, or once from `start_s`."""

    path: Path
    start_s: float = 0.0
    looped: bool = True
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        _check(self.path.is_file(), f"there is no audio file {self.path}")
        _check(0.0 <= self.start_s < math.inf, f"{self.path} cannot start at {self.start_s} s")
        _check(0.0 <= self.pause_s < math.inf, f"a pause of {self.pause_s} s is not possible")


Programme = Silence | Tone | Speech | Recording


@dataclass(frozen=True, slots=True)
class ChannelPlan:
    """One transmitter.

    Attributes
    ----------
    frequency_hz
        Its carrier.
    cn_db
        Carrier-to-noise ratio in `CN_BANDWIDTH_HZ`. [dB]
    programme
        What it sends when no alert is on the air.
    """

    frequency_hz: float
    cn_db: float
    programme: Programme = field(default_factory=Silence)

    def __post_init__(self) -> None:
        _check(-30.0 <= self.cn_db <= 90.0, f"a carrier-to-noise ratio of {self.cn_db} dB is outside -30 to 90 dB")


@dataclass(frozen=True, slots=True)
class ScheduledAlert:
    """One alert on one channel.

    Attributes
    ----------
    frequency_hz
        Carrier of the channel.
    start_s
        When its first burst begins; it waits for an alert that is still on the air.
    header
        The header, as fields or as text.
    voice_text, voice
        What is spoken, empty for nothing, and by which voice of espeak-ng.
    attention, attention_s
        Its attention signal and the length of it.
    """

    frequency_hz: float
    start_s: float
    header: SameHeader | str
    voice_text: str = ""
    voice: str = "en-us"
    attention: Attention = Attention.NWR
    attention_s: float = 8.0

    def __post_init__(self) -> None:
        _check(0.0 <= self.start_s < math.inf, f"an alert cannot start at {self.start_s} s")
        _check(0.0 <= self.attention_s <= 60.0, f"an attention signal of {self.attention_s} s is outside 0 to 60 s")
        try:
            parse_header(self.header_text)
        except WireError as error:
            raise ConfigError(f"an alert's header is wrong: {error}") from error

    @property
    def header_text(self) -> str:
        """The header from ``ZCZC`` to the last dash."""
        return self.header.text if isinstance(self.header, SameHeader) else self.header


@dataclass(frozen=True, slots=True)
class Impairments:
    """What the receiver does to the band.

    Attributes
    ----------
    noise_dbfs
        Noise in `CN_BANDWIDTH_HZ`; it is white over the whole band. [dBFS]
    frequency_error_ppm
        Every carrier appears this much too high. [parts per million]
    dc_dbfs
        The spike at the centre of the band; -inf for none. [dBFS]
    iq_gain_db, iq_phase_deg
        Gain of Q over I, and departure from a right angle.
    """

    noise_dbfs: float = -52.0
    frequency_error_ppm: float = 0.0
    dc_dbfs: float = -math.inf
    iq_gain_db: float = 0.0
    iq_phase_deg: float = 0.0

    def __post_init__(self) -> None:
        _check(-200.0 <= self.noise_dbfs <= 0.0, f"a noise floor of {self.noise_dbfs} dBFS is outside -200 to 0 dBFS")
        _check(abs(self.frequency_error_ppm) <= 200.0, f"{self.frequency_error_ppm} ppm is outside -200 to 200 ppm")
        _check(self.dc_dbfs <= 0.0, f"a DC spike of {self.dc_dbfs} dBFS is above full scale")
        _check(abs(self.iq_gain_db) <= 6.0, f"an IQ gain error of {self.iq_gain_db} dB is outside -6 to 6 dB")
        _check(abs(self.iq_phase_deg) <= 30.0, f"an IQ phase error of {self.iq_phase_deg} deg is outside -30 to 30 deg")


@dataclass(frozen=True, slots=True)
class StationPlan:
    """All that is on the air, and the receiver that hears it.

    Attributes
    ----------
    channels
        Transmitters, each on a carrier of its own.
    alerts
        Alerts whose times are known beforehand.
    sample_rate_hz, center_frequency_hz
        The receiver's; the rate is a multiple of `LOW_RATE_HZ`.
    impairments
        What the receiver does to the band.
    seed
        Of the noise.

    Raises
    ------
    ConfigError
        If any of it is nonsense; the text names what.
    """

    channels: tuple[ChannelPlan, ...]
    alerts: tuple[ScheduledAlert, ...] = ()
    sample_rate_hz: float = 250_000.0
    center_frequency_hz: float = 162_487_500.0
    impairments: Impairments = field(default_factory=Impairments)
    seed: int = 0

    def __post_init__(self) -> None:
        rate_hz = self.sample_rate_hz
        _check(
            rate_hz % LOW_RATE_HZ == 0.0 and 2 * LOW_RATE_HZ <= rate_hz <= 20e6,
            f"the sample rate {rate_hz} Hz is not a multiple of {LOW_RATE_HZ} Hz from {2 * LOW_RATE_HZ} Hz to 20 MHz",
        )
        _check(0.0 <= self.center_frequency_hz < math.inf, f"there is no centre frequency {self.center_frequency_hz}")
        _check(self.seed >= 0, f"the seed {self.seed} is negative")
        carriers = [channel.frequency_hz for channel in self.channels]
        for carrier in carriers:
            _check(
                abs(carrier - self.center_frequency_hz) < 0.5 * rate_hz,
                f"the channel at {carrier} Hz is outside the band of {rate_hz} Hz about {self.center_frequency_hz} Hz",
            )
            _check(carriers.count(carrier) == 1, f"there are two channels at {carrier} Hz")
        for alert in self.alerts:
            _check(alert.frequency_hz in carriers, f"an alert is for {alert.frequency_hz} Hz, where no channel is")


def _check(holds: bool, complaint: str) -> None:
    if not holds:
        raise ConfigError(complaint)
