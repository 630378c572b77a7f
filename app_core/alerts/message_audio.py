"""One channel's audio and the message that is on the air there: from ten seconds before its header to its end.

All positions are on the time line of the channel's `PreRoll`. A message without audio, because none comes, recording is
switched off or the disk takes no more, lives by the monotonic clock alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from app_core.alerts.alert import EndReason, Mark
from app_core.alerts.recorder import PreRoll, Recording
from app_core.base.errors import LinkError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class OpenMessage:
    """A message that has begun and not ended.

    Attributes
    ----------
    alert_id
        Of its alert.
    opened_monotonic_s
        When its header was decoded. [seconds of the monotonic clock]
    recording
        None where it has no audio; closed before the message's end where the disk did not take it.
    begin, copied, stop
        First sample of the recording, the sample after the last one that is written, and the one to stop before.
    end_reason
        Why it will end at `stop`.
    ended_at_s
        Time of its end of message, if one was heard. [UTC seconds]
    marks
        Places in the recording so far.
    """

    alert_id: str
    opened_monotonic_s: float
    recording: Recording | None = None
    begin: int = 0
    copied: int = 0
    stop: int = 0
    end_reason: EndReason = "timeout"
    ended_at_s: float | None = None
    marks: list[Mark] = field(default_factory=list)

    @property
    def is_recording(self) -> bool:
        """Whether audio that comes is written."""
        return self.recording is not None and not self.recording.is_closed


class MessageAudio:
    """The pre-roll of one channel and its open message.

    Attributes
    ----------
    pre_roll
        None until the channel's first audio.
    message
        None while nothing is on the air, or another channel has its alert's recording.
    heard_alert_id
        Alert of the last header that was heard here, until an end of message is; empty for none.
    last_pcm_monotonic_s
        When audio came last. [seconds of the monotonic clock]
    write_errors
        Recordings that the disk did not take, wholly or in part.
    """

    def __init__(self) -> None:
        self.pre_roll: PreRoll | None = None
        self.message: OpenMessage | None = None
        self.heard_alert_id = ""
        self.last_pcm_monotonic_s = float("-inf")
        self.write_errors = 0

    def plan(self, message: OpenMessage, start_s: float, end_s: float, lead_s: float, longest_s: float) -> None:
        """Place a message on the time line: `begin`, `stop` and the marks of its header.

        Parameters
        ----------
        message
            To be filled in; it needs a `pre_roll`.
        start_s, end_s
            Extent of its header. [UTC seconds]
        lead_s
            Audio before the header, as far as it is kept. [seconds]
        longest_s
            Audio after the header at the most. [seconds]
        """
        pre_roll = self.pre_roll
        if pre_roll is None:
            raise ValueError("a channel without audio has no time line")
        rate_hz = pre_roll.sample_rate_hz
        header_start, header_end = pre_roll.index_at(start_s), pre_roll.index_at(end_s)
        message.begin = min(max(header_start - round(lead_s * rate_hz), pre_roll.start), pre_roll.end)
        message.copied = message.begin
        message.stop = max(header_end, message.begin) + round(longest_s * rate_hz)
        for name, index in (("header_start", header_start), ("header_end", header_end)):
            message.marks.append(Mark(name, round(max(0, index - message.begin) / rate_hz, 3)))

    def open_recording(self, message: OpenMessage, path: Path) -> None:
        """Begin the file and write what the pre-roll holds.

        Raises
        ------
        LinkError
            If the file cannot be made.
        """
        if self.pre_roll is None:
            raise ValueError("a channel without audio cannot be recorded")
        self.message = message
        try:
            message.recording = Recording(path, self.pre_roll.sample_rate_hz)
        except LinkError:
            self.write_errors += 1
            raise
        self.feed()

    def hear_tone(self, start_s: float, end_s: float) -> None:
        """Mark the attention signal of the open message; a second one is not its own. [UTC seconds]"""
        message = self.message
        if message is None or message.recording is None or self.pre_roll is None:
            return
        if any(mark.name == "attention_start" for mark in message.marks):
            return
        for name, at_s in (("attention_start", start_s), ("attention_end", end_s)):
            position = max(0, self.pre_roll.index_at(at_s) - message.begin)
            message.marks.append(Mark(name, round(position / self.pre_roll.sample_rate_hz, 3)))

    def hear_end(self, end_s: float) -> None:
        """Note the end of the message: the recording stops there, if it has not passed it yet."""
        self.heard_alert_id = ""
        message = self.message
        if message is None or message.end_reason == "end_of_message":
            return
        message.end_reason = "end_of_message"
        message.ended_at_s = end_s
        if message.recording is None or self.pre_roll is None:
            return
        end = self.pre_roll.index_at(end_s)
        position_s = max(0, end - message.begin) / self.pre_roll.sample_rate_hz
        message.marks.append(Mark("end_of_message", round(position_s, 3)))
        message.stop = min(message.stop, max(end, message.copied))

    def take_over(self, other: MessageAudio) -> bool:
        """Go on with the open message of another channel that hears the same; both go by the same clock.

        Returns
        -------
        is_taken
            False, and nothing is changed, where there is nothing to go on with, a message is open here, or the
            recording cannot be continued: a file has one rate.
        """
        message = other.message
        if message is None or self.message is not None:
            return False
        if message.recording is not None:
            mine, theirs = self.pre_roll, other.pre_roll
            if mine is None or theirs is None or mine.sample_rate_hz != theirs.sample_rate_hz:
                return False
            shift = mine.index_at(theirs.time_at(message.copied)) - message.copied
            message.begin += shift
            message.copied += shift
            message.stop += shift
        self.message, other.message = message, None
        self.feed()
        return True

    def feed(self) -> None:
        """Write what has come since, up to the message's stop; a disk that does not take it ends the recording."""
        message, pre_roll = self.message, self.pre_roll
        if message is None or message.recording is None or message.recording.is_closed or pre_roll is None:
            return
        end = min(pre_roll.end, message.stop)
        if end <= message.copied:
            return
        kept = min(max(pre_roll.start, message.copied), end)
        try:
            message.recording.write_silence(kept - message.copied)
            message.recording.write(pre_roll.read(kept, end))
            message.copied = end
        except LinkError as error:
            self.write_errors += 1
            log.error("%s", error)
            # At once, while what is there can be mended: libsndfile would go on as if nothing had happened.
            self.close_recording()

    def close_recording(self) -> None:
        """Close the open message's recording, if there is one; what becomes of it is in its attributes."""
        message = self.message
        if message is None or message.recording is None or message.recording.is_closed:
            return
        was_whole = message.recording.is_whole
        try:
            message.recording.close()
        except LinkError as error:
            log.error("%s", error)
        if was_whole and not message.recording.is_whole:
            self.write_errors += 1

    @property
    def is_recorded(self) -> bool:
        """Whether the open message's recording has all that it shall have."""
        message = self.message
        return message is not None and message.is_recording and message.copied >= message.stop

    def is_over(self, monotonic_s: float, longest_s: float, lost_after_s: float) -> bool:
        """Whether the open message shall be ended now, for its `OpenMessage.end_reason`.

        Parameters
        ----------
        monotonic_s
            Now. [seconds of the monotonic clock]
        longest_s
            Life of a message without a recording, or without one any more. [seconds]
        lost_after_s
            A recording without audio for this long is lost. [seconds]
        """
        message = self.message
        if message is None:
            return False
        if not message.is_recording:
            return message.end_reason == "end_of_message" or monotonic_s - message.opened_monotonic_s > longest_s
        if self.is_recorded:
            return True
        if monotonic_s - max(self.last_pcm_monotonic_s, message.opened_monotonic_s) > lost_after_s:
            if message.end_reason != "end_of_message":
                message.end_reason = "lost"
            return True
        return False
