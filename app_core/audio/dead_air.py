"""Dead air: a source that brings silence, nothing but noise, or nothing at all, for longer than a limit.

Each second of audio is judged alone, by its level, by how steady it is and by how smooth its spectrum is. A fault is
named only when nearly none of the last seconds was a programme, so the pauses of a continuous programme are none: a
pause sounds like silence or like faint noise, but the voice comes back within the limit.

Noise is steady and has a smooth spectrum at once: the level of noise 3 kHz wide hardly changes from one piece of 40 ms
to the next (about 0.3 dB; the discriminator's noise without a carrier 0.8 dB), where that of speech changes by 5 to
15 dB, and by 2 dB where a carrier barely stands above the noise. A tone is steady too, but all its power stands in one
place. Smoothness is the spectral flatness (geometric over arithmetic mean of the power), taken within narrow bands, so
that de-emphasis and filters do not count as structure.

Times are of a clock that nobody sets, so that a step of the wall clock neither hides a fault nor stretches one.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from app_core.base.blocks import PcmBlock

Kind = Literal["audio", "silence", "noise", "no audio"]

PIECE_S = 1.0
"""Length of what is judged at once. [seconds]"""

CLEAR_S = 3
"""Seconds of audio within the last `CLEAR_WITHIN_S` that end a fault."""

CLEAR_WITHIN_S = 10

NEARLY_ALL = 0.95
"""Share of the seconds within a limit that must be no programme: a click does not end a silence."""

STEADY_DB = 1.5
"""Highest standard deviation of the level that noise has. [dB]"""

SMOOTH = 0.85
"""Least spectral flatness of noise."""

NO_CARRIER_SNR_DB = -3.0
"""Below this an FM channel has no carrier at all, and what is steady in it is noise, smooth or not. [dB]"""

SILENT_DBFS = -120.0
"""What a level of nothing is given as. [dBFS]"""

_FRAME_S = 0.02
_BANDS_HZ = np.arange(300.0, 3500.1, 400.0)
_FM_MODES = ("nfm", "wfm")


class DeadAirSettings(BaseModel):
    """The ``[dead_air]`` table.

    Attributes
    ----------
    silence_dbfs
        A second whose level is below this is silent. [dBFS]
    silence_s, noise_s, no_audio_s
        How long silence, noise, or nothing at all may last. [seconds]
    ignore
        Ids of sources that are not watched.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    silence_dbfs: Annotated[float, Field(ge=-110.0, le=-10.0)] = -60.0
    silence_s: Annotated[int, Field(ge=5, le=3600)] = 30
    noise_s: Annotated[int, Field(ge=5, le=3600)] = 60
    no_audio_s: Annotated[int, Field(ge=2, le=3600)] = 10
    ignore: tuple[str, ...] = ()

    def limit_s(self, kind: Kind) -> int:
        """Give how long one kind may last. [seconds]"""
        return {"silence": self.silence_s, "noise": self.noise_s, "no audio": self.no_audio_s}.get(kind, 0)


@dataclass(frozen=True, slots=True)
class AirReading:
    """What one piece of audio is like.

    Attributes
    ----------
    level_dbfs
        Of the piece, without its mean; a sine of full scale reads -3.01. [dBFS]
    steadiness_db
        Standard deviation of the level from one 40 ms to the next. [dB]
    flatness
        Spectral flatness from 300 to 3500 Hz in bands of 400 Hz, weighted by their power: 1 for white noise, near 0
        for a tone.
    """

    level_dbfs: float
    steadiness_db: float
    flatness: float


def read_air(pcm: NDArray[np.float32], sample_rate_hz: float) -> AirReading:
    """Measure a piece of audio.

    Parameters
    ----------
    pcm
        Shape (n,) or (n, 2), of which the louder channel counts; a second is enough. [full scale = ±1]
    sample_rate_hz
        Of `pcm`.
    """
    if pcm.ndim == 2:
        pcm = pcm[:, int(np.argmax(np.mean(np.square(pcm), axis=0)))] if len(pcm) else pcm[:, 0]
    frame = max(1, round(_FRAME_S * sample_rate_hz))
    n_frames = len(pcm) // frame // 2 * 2
    if n_frames == 0:
        return AirReading(SILENT_DBFS, 0.0, 0.0)
    samples = np.nan_to_num(pcm[: n_frames * frame].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    frames = (samples - samples.mean()).reshape(n_frames, frame)
    powers = np.mean(np.square(frames), axis=1)
    levels_dbfs = _dbfs(powers.reshape(-1, 2).mean(axis=1))
    spectrum = np.square(np.abs(np.fft.rfft(frames * np.hanning(frame), axis=1))).mean(axis=0)
    return AirReading(
        level_dbfs=float(_dbfs(powers.mean())),
        steadiness_db=float(np.std(levels_dbfs)),
        flatness=_flatness(spectrum, sample_rate_hz / frame),
    )


def kind_of(
    reading: AirReading, settings: DeadAirSettings, *, snr_db: float | None = None, mode: str | None = None
) -> Kind:
    """Say what a piece of audio is.

    Parameters
    ----------
    reading, settings
        As measured, and what is asked for.
    snr_db, mode
        Of the radio channel, where it is one: SNR in the channel, and how it is demodulated.
    """
    if reading.level_dbfs < settings.silence_dbfs:
        return "silence"
    if reading.steadiness_db > STEADY_DB:
        return "audio"
    no_carrier = mode in _FM_MODES and snr_db is not None and snr_db < NO_CARRIER_SNR_DB
    return "noise" if no_carrier or reading.flatness >= SMOOTH else "audio"


class AirJudge:
    """The verdict on one source, second by second.

    Parameters
    ----------
    settings
        The limits.

    Attributes
    ----------
    fault
        ``silence``, ``noise``, ``no audio``, or None.
    since
        When the seconds that make up the fault began; None without one. [monotonic seconds]
    fault_count
        How often a fault began.
    """

    def __init__(self, settings: DeadAirSettings) -> None:
        self._settings = settings
        longest_s = max(settings.silence_s, settings.noise_s, settings.no_audio_s, CLEAR_WITHIN_S)
        self._last: deque[tuple[Kind, float]] = deque(maxlen=longest_s)
        self.fault: Kind | None = None
        self.since: float | None = None
        self.fault_count = 0

    def take(self, kind: Kind, timestamp: float) -> bool:
        """Take the kind of the next second. Give whether the verdict has changed.

        Parameters
        ----------
        kind
            What the second was.
        timestamp
            When it began. [monotonic seconds]
        """
        self._last.append((kind, timestamp))
        named = self._named()
        if named is None and self.fault is not None and not self._is_clear():
            return False
        if named == self.fault:
            return False
        if named is not None:
            self.since = self._last[-self._settings.limit_s(named)][1]
            self.fault_count += 1
        else:
            self.since = None
        self.fault = named
        return True

    def _named(self) -> Kind | None:
        """Give the kind that most seconds within its limit were of, where nearly none of them were audio."""
        kinds = [kind for kind, _ in self._last]
        faults: tuple[Kind, ...] = ("no audio", "silence", "noise")
        for wanted in faults:
            limit_s = self._settings.limit_s(wanted)
            last = kinds[-limit_s:]
            n_dead = limit_s - last.count("audio")
            if len(last) == limit_s and n_dead >= NEARLY_ALL * limit_s and last.count(wanted) > n_dead / 2:
                return wanted
        return None

    def _is_clear(self) -> bool:
        last = [kind for kind, _ in self._last][-CLEAR_WITHIN_S:]
        return last.count("audio") >= CLEAR_S


class SourceAir:
    """One source: pieces of a second are cut out of its blocks and judged.

    Parameters
    ----------
    source_id
        Whose audio it is.
    settings
        The limits.
    now
        When watching begins. [monotonic seconds]
    """

    def __init__(self, source_id: str, settings: DeadAirSettings, now: float) -> None:
        self.source_id = source_id
        self._settings = settings
        self._judge = AirJudge(settings)
        self._held: list[NDArray[np.float32]] = []
        self._n_held = 0
        self._held_rate_hz = 0.0
        self._silent_until = now
        self.reading: AirReading | None = None
        self.entry: Mapping[str, Any] = {}

    @property
    def fault(self) -> Kind | None:
        """The present fault."""
        return self._judge.fault

    @property
    def since(self) -> float | None:
        """When it began. [monotonic seconds]"""
        return self._judge.since

    def push(self, blocks: list[PcmBlock], now: float) -> bool:
        """Take what came since the last call, also when it is nothing. Give whether the verdict has changed.

        Parameters
        ----------
        blocks
            In order.
        now
            Time of the call. [monotonic seconds]
        """
        changed = False
        blocks = [block for block in blocks if len(block.pcm)]
        for block in blocks:
            if block.sample_rate_hz != self._held_rate_hz or (self._held and self._held[0].ndim != block.pcm.ndim):
                self._held, self._n_held, self._held_rate_hz = [], 0, block.sample_rate_hz
            self._held.append(block.pcm)
            self._n_held += len(block.pcm)
            changed |= self._judge_whole_pieces(now)
        if blocks:
            self._silent_until = now
        elif now - self._silent_until >= PIECE_S:
            changed |= self._judge.take("no audio", self._silent_until)
            self._silent_until += PIECE_S
        return changed

    def _judge_whole_pieces(self, now: float) -> bool:
        n_piece = max(1, round(PIECE_S * self._held_rate_hz))
        if self._n_held < n_piece:
            return False
        pcm = np.concatenate(self._held)
        changed = False
        n_pieces = len(pcm) // n_piece
        for number in range(n_pieces):
            self.reading = read_air(pcm[number * n_piece : (number + 1) * n_piece], self._held_rate_hz)
            changed |= self._judge.take(self._kind(self.reading), now - (n_pieces - number) * PIECE_S)
        self._held = [pcm[n_pieces * n_piece :]]
        self._n_held = len(self._held[0])
        return changed

    def _kind(self, reading: AirReading) -> Kind:
        if self.entry.get("squelch_open") is False:
            return "audio"  # quiet on purpose
        snr_db = self.entry.get("snr_db")
        mode = self.entry.get("mode")
        return kind_of(
            reading,
            self._settings,
            snr_db=float(snr_db) if isinstance(snr_db, int | float) else None,
            mode=mode if isinstance(mode, str) else None,
        )

    def status(self, now: float, *, acknowledged: bool = False, utc_ahead_s: float = 0.0) -> dict[str, Any]:
        """Give the verdict, for the metrics.

        Parameters
        ----------
        now
            Time of the call. [monotonic seconds]
        acknowledged
            Whether somebody has seen the fault.
        utc_ahead_s
            UTC less the clock of `now`: ``since`` is told in UTC, for people. [seconds]
        """
        since = self.since
        status: dict[str, Any] = {
            "fault": self.fault,
            "since": None if since is None else round(since + utc_ahead_s, 1),
            "lasts_s": 0.0 if since is None else round(max(0.0, now - since), 1),
            "acknowledged": acknowledged and self.fault is not None,
            "fault_count": self._judge.fault_count,
            "words": self.words(now),
        }
        if self.reading is not None:
            status["level_dbfs"] = round(self.reading.level_dbfs, 1)
            status["steadiness_db"] = round(self.reading.steadiness_db, 2)
            status["flatness"] = round(self.reading.flatness, 3)
        return status

    def words(self, now: float) -> str:
        """Say what is wrong, for a person; empty when nothing is."""
        if self.fault is None or self.since is None:
            return ""
        lasts = f"for {max(0.0, now - self.since):.0f} s"
        if self.fault == "no audio":
            return f"no audio at all {lasts}"
        level = "" if self.reading is None else f" at {self.reading.level_dbfs:.0f} dBFS"
        snr_db = self.entry.get("snr_db")
        carrier = ""
        if self.fault == "noise" and isinstance(snr_db, int | float) and self.entry.get("mode") in _FM_MODES:
            carrier = f", SNR in the channel {snr_db:.0f} dB" + (": no carrier" if snr_db < NO_CARRIER_SNR_DB else "")
        return f"nothing but {self.fault}{level} {lasts}{carrier}"


def _flatness(spectrum: NDArray[np.float64], bin_hz: float) -> float:
    frequencies_hz = bin_hz * np.arange(len(spectrum))
    weighted = total = 0.0
    for low_hz, high_hz in itertools.pairwise(_BANDS_HZ):
        band = spectrum[(frequencies_hz >= low_hz) & (frequencies_hz < high_hz)] + 1e-30
        if len(band) < 2:
            continue
        mean = float(np.mean(band))
        weighted += float(np.exp(np.mean(np.log(band)))) * len(band)
        total += mean * len(band)
    return weighted / total if total > 0.0 else 0.0


def _dbfs(power: Any) -> Any:
    return 10.0 * np.log10(np.maximum(power, 10.0 ** (SILENT_DBFS / 10.0)))
