"""Recorded audio to headers. Every channel of a file is decoded on its own, and what several say is told once.

Channels are never mixed: a logger may have one radio on the left and another on the right, and what one says would
drown the other. As long as channels carry the very same samples, one listener serves them all.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app_core.audio.heard import Heard, Step, clock_of_file, event_text, messages
from app_core.audio.sound_file import RawPcmReader, Sound, open_sound_file
from app_core.base.errors import WireError
from app_core.eas.events import AttentionHeard, BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified, SameEvent
from app_core.eas.listener import SameListener

_BLOCK_S = 1.0
_LARGEST_BLOCK = 1 << 22  # samples of all channels together
_TWIN_S = 15.0
"""Three bursts of the longest header: a channel with noise may need all of them, a clear one only the first."""

_SHORT_TWIN_S = 4.0
"""The same for the three bursts of an end of message, and for a tone."""


def channel_names(n_channels: int) -> tuple[str, ...]:
    """Name a file's channels: ``mono``, ``left`` and ``right``, or numbers from 1."""
    if n_channels == 1:
        return ("mono",)
    if n_channels == 2:
        return ("left", "right")
    return tuple(str(number) for number in range(1, n_channels + 1))


class SoundRecording:
    """Audio of one or more channels.

    Parameters
    ----------
    sound
        The audio; closed with this.
    clock
        About when it was made.

    Attributes
    ----------
    duration_s, began_at, clock
        As for `Recording`; `began_at` is None.

    Raises
    ------
    WireError
        If its rate cannot carry SAME.
    """

    def __init__(self, sound: Sound, clock: datetime) -> None:
        self.duration_s = sound.duration_s
        self.began_at: datetime | None = None
        self.clock = clock
        self._sound = sound
        self._names = channel_names(sound.n_channels)
        try:
            listener = SameListener(sound.sample_rate_hz)
        except ValueError as error:
            raise WireError(f"has {sound.sample_rate_hz:g} samples per second; SAME needs 8000 to 192000") from error
        self._groups = [_Group(tuple(range(sound.n_channels)), listener)]

    def steps(self) -> Iterator[Step]:
        """As `Recording.steps`."""
        sound = self._sound
        n_frames = max(1, min(round(_BLOCK_S * sound.sample_rate_hz), _LARGEST_BLOCK // sound.n_channels))
        twins = Twins(self._names)
        position = 0
        while len(pcm := sound.read(n_frames)):
            position += len(pcm)
            position_s = position / sound.sample_rate_hz
            yield Step(position_s, twins.add(self._decode(pcm), position_s))
        last = [heard for group in self._groups for heard in self._messages(group, group.listener.finish())]
        position_s = position / sound.sample_rate_hz
        yield Step(position_s, twins.add(last, position_s) + twins.flush())

    def close(self) -> None:
        """As `Recording.close`."""
        self._sound.close()

    def _decode(self, pcm: NDArray[np.float32]) -> list[Heard]:
        self._groups = [part for group in self._groups for part in group.split(pcm)]
        return [
            heard
            for group in self._groups
            for heard in self._messages(group, group.listener.push(np.ascontiguousarray(pcm[:, group.channels[0]])))
        ]

    def _messages(self, group: _Group, events: list[SameEvent]) -> list[Heard]:
        names = tuple(self._names[channel] for channel in group.channels)
        return messages(events, names, self._sound.sample_rate_hz)


@dataclass(slots=True)
class _Group:
    """Channels that have been the same so far, and who listens to them."""

    channels: tuple[int, ...]
    listener: SameListener

    def split(self, pcm: NDArray[np.float32]) -> list[_Group]:
        """Part the channels that differ in `pcm`, shape (n, n_channels); each part goes on from here."""
        parts: list[list[int]] = []
        for channel in self.channels:
            for part in parts:
                if np.array_equal(pcm[:, part[0]], pcm[:, channel]):
                    part.append(channel)
                    break
            else:
                parts.append([channel])
        # The copies come first: they must not share what the original then changes.
        copies = [_Group(tuple(part), copy.deepcopy(self.listener)) for part in parts[1:]]
        return [_Group(tuple(parts[0]), self.listener), *copies]


class Twins:
    """Joins what several channels say at about the same time.

    Parameters
    ----------
    names
        All channels of the recording; with one nothing ever waits.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._waiting: list[Heard] = []

    def add(self, heard: list[Heard], position_s: float) -> tuple[Heard, ...]:
        """Take new entries, and give those that can have no further twin when all is heard up to `position_s`."""
        for one in heard:
            self._join(one)
        # In the order of decision: a header stands behind the bursts that it was made of.
        self._waiting.sort(key=lambda one: one.end_s)
        n_ready = 0
        for one in self._waiting:
            if (
                not isinstance(one.event, BurstHeard)
                and len(one.channels) < len(self._names)
                and position_s < one.end_s + _TWIN_S
            ):
                break
            n_ready += 1
        ready, self._waiting = self._waiting[:n_ready], self._waiting[n_ready:]
        return tuple(ready)

    def flush(self) -> tuple[Heard, ...]:
        """Give what still waits."""
        ready, self._waiting = self._waiting, []
        return tuple(ready)

    def _join(self, new: Heard) -> None:
        apart_s = _SHORT_TWIN_S if isinstance(new.event, EndOfMessage | AttentionHeard) else _TWIN_S
        for place, old in enumerate(self._waiting):
            if (
                _says(old) == _says(new)
                and abs(old.start_s - new.start_s) < apart_s
                and not set(old.channels) & set(new.channels)
            ):
                best = new if _error(new) < _error(old) else old
                together = {*old.channels, *new.channels}
                self._waiting[place] = replace(best, channels=tuple(name for name in self._names if name in together))
                return
        self._waiting.append(new)


def _says(heard: Heard) -> tuple[object, ...]:
    """Give what two entries share that are one; a burst has no twin, since each channel's is of its own quality."""
    event = heard.event
    if isinstance(event, BurstHeard):
        return (*heard.channels, heard.start_s)
    return (type(event), event.kind if isinstance(event, AttentionHeard) else event_text(event))


def _error(heard: Heard) -> float:
    event = heard.event
    return event.error_probability if isinstance(event, HeaderDecoded | HeaderUnverified) else 0.0


def open_sound_recording(path: Path) -> SoundRecording:
    """Open a file of audio.

    Raises
    ------
    OSError, WireError, ConfigError
        As `open_sound_file`, and a `WireError` if its rate cannot carry SAME.
    """
    sound = open_sound_file(path)
    try:
        return SoundRecording(sound, clock_of_file(path.stat().st_mtime))
    except WireError:
        sound.close()
        raise


def open_raw_pcm(descriptor: int, sample_rate_hz: float) -> SoundRecording:
    """Open mono s16le PCM that comes from a pipe, taken to be of now.

    Raises
    ------
    WireError
        If the rate cannot carry SAME.
    """
    return SoundRecording(RawPcmReader(descriptor, sample_rate_hz), datetime.now(UTC))
