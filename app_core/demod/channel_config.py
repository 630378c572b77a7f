"""What one channel is: frequency, mode, filter, squelch, audio.

Convention: what a table leaves out, or gives as None, takes the default of its mode, so that a `ChannelConfig` always
holds numbers and never "the default". A setting that a mode does not have (the deviation of single sideband, the AGC
of FM and AM, whose carriers tell the level) is an error when it is given, since whoever wrote it expected something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app_core.demod.tone_squelch import CTCSS_HZ

LOWEST_FREQUENCY_HZ = 10_000.0
"""Below this a frequency was written in megahertz or kilohertz."""

AudioRateHz = Literal[8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]
"""Rates that a channel's audio may have. [samples per second]"""

NOISE_SQUELCH_HZ = 9_200.0
"""Narrowest FM channel that holds noise above the voice. [Hz]"""

NFM_DEEMPHASIS_US = 530.5
"""De-emphasis of land-mobile FM and NOAA Weather Radio: 6 dB an octave from 300 Hz. [microseconds]"""


class Mode(StrEnum):
    """Modulations that can be received; the values are those of the settings."""

    NFM = "nfm"
    WFM = "wfm"
    AM = "am"
    SAM = "sam"
    USB = "usb"
    LSB = "lsb"


_FM = (Mode.NFM, Mode.WFM)


@dataclass(frozen=True, slots=True)
class _ModeRules:
    """Defaults and limits of one mode; a maximum of 0 means that the mode does not have the setting."""

    words: str
    bandwidth_hz: float
    bandwidth_range_hz: tuple[float, float]
    deviation_hz: float = 0.0
    max_deviation_hz: float = 0.0
    deemphasis_us: float = 0.0
    max_deemphasis_us: float = 0.0
    has_agc: bool = False


_RULES: dict[Mode, _ModeRules] = {
    Mode.NFM: _ModeRules("narrow FM", 16_000.0, (5_000.0, 50_000.0), 5_000.0, 25_000.0, NFM_DEEMPHASIS_US, 1_000.0),
    Mode.WFM: _ModeRules("broadcast FM", 200_000.0, (100_000.0, 400_000.0), 75_000.0, 150_000.0, 75.0, 1_000.0),
    Mode.AM: _ModeRules("AM", 8_000.0, (2_000.0, 50_000.0)),
    Mode.SAM: _ModeRules("synchronous AM", 10_000.0, (2_000.0, 50_000.0)),
    Mode.USB: _ModeRules("single sideband", 2_800.0, (500.0, 10_000.0), has_agc=True),
    Mode.LSB: _ModeRules("single sideband", 2_800.0, (500.0, 10_000.0), has_agc=True),
}


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _given(table: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is None, which stands for the default."""
    return {name: value for name, value in table.items() if value is not None}


class SquelchConfig(_Table):
    """When a channel's audio is heard in the streams; the SAME decoder hears it in any case.

    Attributes
    ----------
    mode
        ``off`` (always open), ``snr`` (by the signal over the noise of the channel) or ``noise`` (FM: by how far the
        noise above the voice lies below that of an empty channel).
    open_db, close_db
        The squelch opens at `open_db` and above, and closes below `close_db`.
    tail_s
        How long it stays open after that. [seconds]

    Raises
    ------
    pydantic.ValidationError
        If one of these is given without a mode, or `close_db` is above `open_db`.
    """

    mode: Literal["off", "snr", "noise"] = "off"
    open_db: Annotated[float, Field(ge=-20.0, le=80.0)] = 8.0
    close_db: Annotated[float, Field(ge=-20.0, le=80.0)] = 5.0
    tail_s: Annotated[float, Field(ge=0.0, le=10.0)] = 0.2

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        filled = _given(table)
        if filled and "mode" not in filled:
            raise ValueError(f'{" and ".join(sorted(filled))} would do nothing without a mode: add mode = "snr"')
        # Who moves one of the two thresholds moves the other with it.
        for given, other, step_db in (("open_db", "close_db", -3.0), ("close_db", "open_db", 3.0)):
            value = filled.get(given)
            if other not in filled and isinstance(value, int | float):
                filled[other] = value + step_db
        return filled

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.close_db > self.open_db:
            raise ValueError(
                f"a squelch closes below the level at which it opens: close_db {self.close_db:g} is above "
                f"open_db {self.open_db:g}"
            )
        return self


class AgcConfig(_Table):
    """How fast the gain of single sideband, which has no carrier to go by, follows the voice.

    Attributes
    ----------
    attack_s
        Time constant with which the gain falls when the signal grows. [seconds]
    hang_s
        How long the gain stands still after that. [seconds]
    decay_s
        Time constant with which it rises again. [seconds]
    """

    attack_s: Annotated[float, Field(ge=0.0005, le=10.0)] = 0.002
    hang_s: Annotated[float, Field(ge=0.0, le=10.0)] = 0.3
    decay_s: Annotated[float, Field(ge=0.005, le=60.0)] = 0.5

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, table: Any) -> Any:
        return _given(table) if isinstance(table, dict) else table


class ChannelConfig(_Table):
    """One channel to receive.

    Attributes
    ----------
    id
        Name in keys and messages.
    receiver_id
        Receiver whose capture holds the channel.
    frequency_hz
        Carrier; of single sideband the one that is not sent.
    mode
        Modulation.
    bandwidth_hz
        Width of the channel filter; of single sideband the width of the sideband.
    deviation_hz
        Deviation that gives audio of ±1; 0 in modes without.
    deemphasis_us
        Time constant of the de-emphasis; 0 leaves it out. [microseconds]
    stereo
        Decode the stereo of broadcast FM where its pilot is heard.
    ctcss_hz
        Standard tone that must be there for the squelch of narrow FM to open; it is taken out of the audio. None asks
        for none.
    squelch
        When the streams hear the channel.
    agc
        Of single sideband; None in the other modes.
    audio_rate_hz
        Rate of the audio.
    loudness_lufs
        Loudness that the streams of the channel are brought to; None leaves it as it is. The decoder never hears it.
    name
        For people.

    Raises
    ------
    pydantic.ValidationError
        If a setting is unknown, out of its mode's range, or one that the mode does not have; it says so in words.
    """

    id: Annotated[str, Field(min_length=1)]
    receiver_id: Annotated[str, Field(min_length=1)]
    frequency_hz: Annotated[float, Field(gt=0, le=1e12)]
    mode: Mode = Mode.NFM
    bandwidth_hz: float = _RULES[Mode.NFM].bandwidth_hz
    deviation_hz: Annotated[float, Field(ge=0)] = _RULES[Mode.NFM].deviation_hz
    deemphasis_us: Annotated[float, Field(ge=0)] = _RULES[Mode.NFM].deemphasis_us
    stereo: bool = False
    ctcss_hz: float | None = None
    squelch: SquelchConfig = SquelchConfig()
    agc: AgcConfig | None = None
    audio_rate_hz: AudioRateHz = 24_000
    loudness_lufs: Annotated[float, Field(ge=-50.0, le=-5.0)] | None = None
    name: Annotated[str, Field(max_length=120)] = ""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("a name is one line of printable characters; it is shown to people and to players")
        return name

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, table: Any) -> Any:
        """Put the mode's defaults where the table says nothing."""
        if not isinstance(table, dict):
            return table
        filled = _given(table)
        try:
            rules = _RULES[Mode(filled.get("mode", Mode.NFM))]
        except ValueError:
            return filled  # the field itself says which modes there are
        filled.setdefault("bandwidth_hz", rules.bandwidth_hz)
        filled.setdefault("deviation_hz", rules.deviation_hz)
        filled.setdefault("deemphasis_us", rules.deemphasis_us)
        if rules.has_agc:
            filled.setdefault("agc", {})
        return filled

    @field_validator("frequency_hz")
    @classmethod
    def _check_frequency(cls, frequency_hz: float) -> float:
        if frequency_hz < LOWEST_FREQUENCY_HZ:
            raise ValueError(
                f"frequency_hz is in hertz; {frequency_hz:g} MHz is {round(frequency_hz * 1e6)}, "
                f"and {LOWEST_FREQUENCY_HZ:.0f} is the lowest there is"
            )
        return frequency_hz

    @field_validator("ctcss_hz")
    @classmethod
    def _check_tone(cls, ctcss_hz: float | None) -> float | None:
        if ctcss_hz is None or ctcss_hz in CTCSS_HZ:
            return ctcss_hz
        nearest_hz = min(CTCSS_HZ, key=lambda tone_hz: abs(tone_hz - ctcss_hz))
        raise ValueError(f"{ctcss_hz:g} Hz is no CTCSS tone; the nearest is {nearest_hz}")

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        """Refuse what does not go with the mode."""
        rules = _RULES[self.mode]
        of_mode = f"{rules.words} (mode {self.mode.value})"
        low_hz, high_hz = rules.bandwidth_range_hz
        if not low_hz <= self.bandwidth_hz <= high_hz:
            raise ValueError(
                f"bandwidth_hz of {of_mode} must be {low_hz:g} to {high_hz:g}, not {self.bandwidth_hz:g}; "
                f"without it, it is {rules.bandwidth_hz:g}"
            )
        for name, value, highest in (
            ("deviation_hz", self.deviation_hz, rules.max_deviation_hz),
            ("deemphasis_us", self.deemphasis_us, rules.max_deemphasis_us),
        ):
            if highest == 0.0 and value:
                raise ValueError(f"{of_mode} has no {name}: leave it out")
            if value > highest:
                raise ValueError(f"{name} of {of_mode} is at most {highest:g}, not {value:g}")
        if self.mode in _FM and not 0.0 < self.deviation_hz <= self.bandwidth_hz / 2.0:
            raise ValueError(
                f"deviation_hz must be above 0 and at most half of bandwidth_hz, which is {self.bandwidth_hz:g}; "
                f"it is {self.deviation_hz:g}"
            )
        if self.agc is not None and not rules.has_agc:
            raise ValueError(f"{of_mode} has no agc: leave it out")
        if self.stereo and self.mode is not Mode.WFM:
            raise ValueError(f"stereo is broadcast FM's (mode wfm), and this is {of_mode}")
        if self.ctcss_hz is not None and self.mode is not Mode.NFM:
            raise ValueError(f"ctcss_hz is narrow FM's (mode nfm), and this is {of_mode}")
        if self.squelch.mode == "noise" and self.mode not in _FM:
            raise ValueError(f'a squelch on noise is FM\'s; for {of_mode} use squelch = {{ mode = "snr" }}')
        if self.squelch.mode == "noise" and self.bandwidth_hz < NOISE_SQUELCH_HZ:
            raise ValueError(
                f"a squelch on noise needs a bandwidth_hz of {NOISE_SQUELCH_HZ:g}, for noise above the voice; "
                f'it is {self.bandwidth_hz:g}: use squelch = {{ mode = "snr" }}'
            )
        return self

    @property
    def channel_bandwidth_hz(self) -> float:
        """Width of the channel that holds the signal, centred on `frequency_hz`: of single sideband, both sides."""
        return 2.0 * self.bandwidth_hz if self.mode in (Mode.USB, Mode.LSB) else self.bandwidth_hz

    @property
    def reception(self) -> ChannelConfig:
        """What decides how the channel is received, without what is only told or done to its streams."""
        return self.model_copy(update={"name": "", "squelch": SquelchConfig(), "loudness_lufs": None})

    @property
    def deemphasis_hz(self) -> float | None:
        """Corner of the de-emphasis; None where there is none."""
        return 1e6 / (2.0 * math.pi * self.deemphasis_us) if self.deemphasis_us else None
