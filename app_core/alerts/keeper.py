"""The life of every alert of one process, from the decoded header to the closed recording.

header → tracker → spool (fsynced) → store and publisher, and the recording → end → spool → store and publisher again.

Threads: `AlertKeeper.on_pcm` and `AlertKeeper.on_events` are called by the decode loop; they only append to a queue and
never wait for a disk. The keeper's own thread owns the tracker, the channels and the recordings; two more threads bring
the spool's entries to the store and to the publisher (`Handover`).

Each process has a directory of its own, held by a lock file: spool and recordings have one writer. Processes may share
one database, where the same alert has the same id.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import IO, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app_core.alerts.alert import Alert, EndReason, utc_from_seconds
from app_core.alerts.directory_lock import hold_directory
from app_core.alerts.flac_file import whole_length
from app_core.alerts.handover import Handover, deliver_to_publisher, deliver_to_store
from app_core.alerts.intake import Intake, Queued, QueuedEnd, QueuedEvent, QueuedPcm
from app_core.alerts.message_audio import MessageAudio, OpenMessage
from app_core.alerts.recorder import PreRoll
from app_core.alerts.recordings_folder import DiskRoom, mend_recordings, prune_recordings
from app_core.alerts.spool import Spool
from app_core.alerts.store import AlertStore, merge_alerts
from app_core.alerts.tracker import AlertTracker
from app_core.base.blocks import PcmBlock
from app_core.base.errors import HeraldError, LinkError
from app_core.base.lifecycle import Worker
from app_core.dsp.pcm16 import to_int16
from app_core.eas.events import AttentionHeard, EndOfMessage, HeaderDecoded, SameEvent

log = logging.getLogger(__name__)

_HEADER_S = 20.0
"""A header is decoded this long after its first burst began, at the latest: three bursts of 4.1 s, pauses, and us."""

_ROUND_S = 0.2
_HOUSEKEEPING_S = 5.0


class KeeperSettings(BaseModel):
    """What a station may choose about its alerts.

    Attributes
    ----------
    record
        Whether audio is kept; without it `AlertKeeper.on_pcm` does nothing.
    pre_roll_s, longest_message_s
        Audio before a header, and after it at the most. [seconds]
    lost_after_s
        A recording without audio for this long is closed. [seconds]
    pcm_queue_s, event_queue
        See `Intake`. [seconds; events]
    recordings_max_bytes, recordings_max_days, recordings_keep_free_bytes
        Beyond each of these the oldest recordings are removed; the last one is the room that a full disk gets.
    retry_first_s, retry_longest_s
        Bounds of the waits between tries to store and to publish. [seconds]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: bool = True
    pre_roll_s: Annotated[float, Field(ge=0, le=60)] = 10.0
    longest_message_s: Annotated[float, Field(gt=0, le=3600)] = 120.0
    lost_after_s: Annotated[float, Field(gt=0)] = 30.0
    pcm_queue_s: Annotated[float, Field(gt=0)] = 10.0
    event_queue: Annotated[int, Field(ge=1)] = 10_000
    recordings_max_bytes: Annotated[int, Field(ge=0)] = 2_000_000_000
    recordings_keep_free_bytes: Annotated[int, Field(ge=0)] = 50_000_000
    recordings_max_days: Annotated[float, Field(gt=0)] = 90.0
    retry_first_s: Annotated[float, Field(gt=0)] = 0.5
    retry_longest_s: Annotated[float, Field(gt=0)] = 15.0


class AlertKeeper(Worker):
    """Keeps every alert that the channels of one process hear.

    Parameters
    ----------
    directory
        Of this process's alerts, and of no other's: holds ``spool/``, ``recordings/``, ``keeper.lock`` and, unless
        `store` is given, ``alerts.db``.
    publish
        Called in a thread of its own with each alert as it begins and once more as it ends (`Alert.state`), in this
        order, and in between whenever another channel hears it. A `LinkError` says that it cannot be now; it is called
        again with the same alert until it returns. After a crash an alert may be published a second time, with the
        same ``alert_id`` and ``revision``.
    store
        Where alerts are kept; None for an SQLite file in `directory`. It is closed at the end.
    settings
        See `KeeperSettings`.
    demo
        Mark every alert as the demo's.
    zone
        For the alerts' text; None for the machine's own.
    utc, monotonic
        Clocks. [seconds]

    Raises
    ------
    LifecycleError
        By `start`, if another process holds the directory.
    """

    def __init__(
        self,
        directory: Path,
        publish: Callable[[Alert], None],
        *,
        store: AlertStore | None = None,
        settings: KeeperSettings | None = None,
        demo: bool = False,
        zone: tzinfo | None = None,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        name: str = "alert-keeper",
    ) -> None:
        super().__init__(name)
        self.directory = directory
        self.recordings = directory / "recordings"
        self.settings = settings = KeeperSettings() if settings is None else settings
        self.store = AlertStore(directory / "alerts.db") if store is None else store
        self._utc = utc
        self._monotonic = monotonic
        self._spool = Spool(directory / "spool")
        self._disk_room = DiskRoom(self.recordings, settings.recordings_keep_free_bytes)
        self._tracker = AlertTracker(demo=demo, zone=zone)
        retry = (settings.retry_first_s, settings.retry_longest_s)
        self._publisher = Handover(f"{name}-publish", self._spool, deliver_to_publisher(self._spool, publish), *retry)
        self._storer = Handover(f"{name}-store", self._spool, deliver_to_store(self._spool, self.store), *retry)
        self._channels: dict[str, MessageAudio] = {}
        self._lock_file: IO[bytes] | None = None
        self._next_housekeeping_s = float("-inf")
        self._intake = Intake(settings.pcm_queue_s, settings.event_queue)
        # Until the first round is done, which takes up what an earlier process left.
        self._busy = True
        self._new_alerts = 0
        self._merged_hearings = 0
        self._failed_items = 0
        self._last_error = ""

    # Called by the decode loop.

    def on_pcm(self, channel_id: str, block: PcmBlock) -> None:
        """Take a channel's next audio, in a copy; beyond `KeeperSettings.pcm_queue_s` it is dropped and counted."""
        if not self.settings.record or not len(block.pcm):
            return
        self._intake.put_pcm(
            QueuedPcm(
                channel_id,
                to_int16(block.pcm),
                block.sample_rate_hz,
                block.first_sample,
                block.timestamp,
                block.config_epoch,
                self._monotonic(),
            )
        )

    def on_events(
        self, channel_id: str, receiver_id: str, events: Sequence[SameEvent], to_utc: Callable[[int], float]
    ) -> None:
        """Take what the decoder of a channel said.

        Parameters
        ----------
        channel_id, receiver_id
            Where it was heard.
        events
            In the order of the samples; those of the link layer are left out here.
        to_utc
            Gives the capture time of a sample of the decoder's input; called here and now. [UTC seconds]
        """
        for event in events:
            if not isinstance(event, HeaderDecoded | AttentionHeard | EndOfMessage):
                continue
            # Through utc_from_seconds, so that no nonsense gets further than this.
            start_s = utc_from_seconds(to_utc(event.start_sample)).timestamp()
            end_s = utc_from_seconds(to_utc(event.end_sample)).timestamp()
            self._intake.put_event(QueuedEvent(channel_id, receiver_id, event, start_s, end_s, self._monotonic()))

    def end_channel(self, channel_id: str) -> None:
        """Take it that a channel is no more: what was kept of its audio is forgotten, and its open message ends.

        Where another channel hears the same alert, message and recording go on with that one's audio.

        A channel of the same name may begin at once; what it hears is another station's.
        """
        self._intake.put_end(QueuedEnd(channel_id))

    # Called by whoever supervises.

    def start(self) -> None:
        """Take the directory and start.

        Raises
        ------
        LifecycleError
            If another process holds the directory, or the keeper was started before.
        """
        self._lock_file = hold_directory(self.directory)
        super().start()

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything queued is done, stored and published; False if it is not after `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        pause = threading.Event()
        while not self._intake.is_empty or self._busy or self._spool.backlog:
            self._intake.arrived.set()
            if time.monotonic() > deadline_s or not self.is_alive:
                return False
            pause.wait(0.005)
        return True

    def status(self) -> dict[str, Any]:
        """Give the figures for metrics and health; may be called from any thread."""
        channels = dict(self._channels)
        pre_rolls = {channel_id: audio.pre_roll for channel_id, audio in channels.items()}
        return {
            "open_messages": sum(1 for audio in channels.values() if audio.message is not None),
            "open_recordings": sum(1 for a in channels.values() if a.message is not None and a.message.is_recording),
            "alerts": self._new_alerts,
            "merged_hearings": self._merged_hearings,
            "spool_backlog": self._spool.backlog,
            "spool_unsaved": self._spool.unsaved,
            "spool_write_errors": self._spool.write_errors,
            "spool_malformed_files": self._spool.malformed_files,
            "publish_failures": self._publisher.failures,
            "store_failures": self._storer.failures,
            "recording_write_errors": sum(audio.write_errors for audio in channels.values()),
            "lost_samples": {i: pre_roll.lost_samples for i, pre_roll in pre_rolls.items() if pre_roll is not None},
            "queued_pcm_s": self._intake.queued_pcm_s,
            "dropped_pcm_s": dict(self._intake.dropped_pcm_s),
            "queued_events": self._intake.queued_events,
            "dropped_events": self._intake.dropped_events,
            "failed_items": self._failed_items,
            "last_error": self._publisher.last_error or self._storer.last_error or self._last_error,
        }

    # The keeper's own thread.

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping` is set, then through what is queued, and end."""
        try:
            self._isolated(self._recover)
            with self._storer, self._publisher:
                while not stopping.is_set():
                    self._intake.arrived.wait(_ROUND_S)
                    self._intake.arrived.clear()
                    self._work()
                self._work()
                for channel_id, audio in self._channels.items():
                    self._isolated(partial(self._end, channel_id, audio, "interrupted"))
                self._spool.write_unsaved()
        finally:
            self.store.close()
            if self._lock_file is not None:
                self._lock_file.close()

    def _recover(self) -> None:
        """Take up what an earlier process left: its alerts, its open messages, its torn recordings."""
        now, monotonic_s = utc_from_seconds(self._utc()), self._monotonic()
        self._isolated(partial(mend_recordings, self.recordings))
        try:
            entries = self._spool.load(now, monotonic_s)
        except LinkError as error:
            self._note(error)
            return
        for entry in entries:
            alert = entry.alert
            if alert.state == "begun":
                # Whoever ends in order ends its messages: this one was killed, and its recording lacks its end.
                alert = replace(alert, recording_complete=alert.recording is None)
                alert = _ended(alert, "interrupted", self._utc(), self._recorded_s(alert))
                self._put(alert, entry.expires_monotonic_s)
            self._tracker.restore(alert, entry.expires_monotonic_s, monotonic_s)

    def _work(self) -> None:
        self._busy = True
        while (item := self._intake.take()) is not None:
            self._isolated(partial(self._take, item))
        monotonic_s = self._monotonic()
        for channel_id, audio in list(self._channels.items()):
            if audio.is_over(monotonic_s, self.settings.longest_message_s, self.settings.lost_after_s):
                self._isolated(partial(self._end, channel_id, audio))
        if monotonic_s >= self._next_housekeeping_s:
            self._next_housekeeping_s = monotonic_s + _HOUSEKEEPING_S
            self._spool.write_unsaved()
            open_ids = frozenset(a.message.alert_id for a in self._channels.values() if a.message is not None)
            self._spool.forget_expired(monotonic_s, open_ids)
        self._busy = False

    def _isolated(self, work: Callable[[], object]) -> None:
        """Do something that may fail without ending the thread: the next alert is another one."""
        try:
            work()
        except HeraldError as error:
            self._failed_items += 1
            self._note(error)
        except Exception as error:
            self._failed_items += 1
            self._last_error = f"{type(error).__name__}: {error}"
            log.exception("%s: an item failed", self.name)

    def _take(self, item: Queued) -> None:
        if isinstance(item, QueuedEnd):
            ended = self._channels.pop(item.channel_id, None)
            if ended is not None and not self._pass_on(ended):
                self._end(item.channel_id, ended, "interrupted")
            return
        audio = self._channels.setdefault(item.channel_id, MessageAudio())
        if isinstance(item, QueuedPcm):
            self._take_pcm(audio, item)
        elif isinstance(item.event, HeaderDecoded):
            self._take_header(audio, item, item.event)
        elif isinstance(item.event, AttentionHeard):
            audio.hear_tone(item.start_s, item.end_s)
        else:
            audio.hear_end(item.end_s)

    def _take_pcm(self, audio: MessageAudio, item: QueuedPcm) -> None:
        if audio.pre_roll is None or audio.pre_roll.sample_rate_hz != item.sample_rate_hz:
            # A file has one rate.
            self._end(item.channel_id, audio, "lost")
            audio.pre_roll = PreRoll(item.sample_rate_hz, self.settings.pre_roll_s + _HEADER_S)
        audio.pre_roll.append(item.pcm, item.first_sample, item.timestamp, item.config_epoch)
        audio.last_pcm_monotonic_s = item.monotonic_s
        audio.feed()
        if audio.is_recorded:
            self._end(item.channel_id, audio)

    def _take_header(self, audio: MessageAudio, item: QueuedEvent, event: HeaderDecoded) -> None:
        sighting = self._tracker.hear(
            event,
            channel_id=item.channel_id,
            receiver_id=item.receiver_id,
            heard_at=utc_from_seconds(item.start_s),
            monotonic_s=item.monotonic_s,
        )
        alert, known = sighting.alert, self._spool.get(sighting.alert.alert_id)
        audio.heard_alert_id = alert.alert_id
        if known is not None:
            if audio.message is not None and audio.message.alert_id != alert.alert_id:
                self._end(item.channel_id, audio, "interrupted")
            self._merged_hearings += 1
            if sighting.is_new:
                # The tracker has forgotten what the spool still knows by the same name.
                alert = replace(merge_alerts(alert, known.alert), revision=known.alert.revision + 1)
                self._tracker.update(alert)
            if sighting.is_changed:
                self._put(alert, sighting.expires_monotonic_s)
                self._wake_all()
            return
        self._new_alerts += 1
        message = OpenMessage(alert.alert_id, item.monotonic_s)
        path = self.recordings / f"{alert.alert_id}.flac"
        if audio.pre_roll is not None:
            audio.plan(message, item.start_s, item.end_s, self.settings.pre_roll_s, self.settings.longest_message_s)
            alert = replace(alert, recording=f"recordings/{path.name}", marks=tuple(message.marks))
            self._tracker.update(alert)
        self._put(alert, sighting.expires_monotonic_s)
        self._wake_all()
        log.info("alert %s on %s: %s", alert.alert_id, item.channel_id, alert.text)
        # Only now the message before it, whose recording takes time to close.
        self._end(item.channel_id, audio, "interrupted")
        audio.message = message
        if audio.pre_roll is not None:
            self._disk_room.keep_free()
            try:
                audio.open_recording(message, path)
            except LinkError as error:
                self._note(error)

    def _pass_on(self, audio: MessageAudio) -> bool:
        """Have another channel that hears the same go on with the message of one that is no more, if there is one."""
        message = audio.message
        if message is None or message.end_reason == "end_of_message":
            return False
        for channel_id, other in self._channels.items():
            if other.heard_alert_id == message.alert_id and other.take_over(audio):
                log.info("alert %s goes on on %s", message.alert_id, channel_id)
                return True
        return False

    def _end(self, channel_id: str, audio: MessageAudio, reason: EndReason | None = None) -> None:
        """End the channel's message, if one is open: for `reason`, unless its own end was heard."""
        message = audio.message
        if message is None:
            return
        audio.close_recording()
        audio.message = None
        if reason is None or message.end_reason == "end_of_message":
            reason = message.end_reason
        entry = self._spool.get(message.alert_id)
        if entry is not None:
            recording, alert = message.recording, entry.alert
            # One that was closed early may have had to make room for another channel's.
            recorded_s = recording.seconds if recording is not None and recording.path.is_file() else 0.0
            is_complete = alert.recording is None if recording is None else recording.is_whole
            alert = replace(alert, marks=tuple(message.marks), recording_complete=is_complete)
            ended_at_s = self._utc() if message.ended_at_s is None else message.ended_at_s
            alert = _ended(alert, reason, ended_at_s, recorded_s)
            self._tracker.update(alert)
            self._put(alert, entry.expires_monotonic_s)
            self._wake_all()
            log.info("alert %s on %s ended: %s", alert.alert_id, channel_id, reason)
            if not is_complete:
                fate = f"is cut short after {recorded_s:.1f} s" if recorded_s > 0 else "is lost"
                self._note(LinkError(f"the recording of alert {alert.alert_id} {fate}"))
        prune_recordings(
            self.recordings,
            self.settings.recordings_max_bytes,
            self.settings.recordings_max_days * 86_400.0,
            self._utc(),
        )

    def _recorded_s(self, alert: Alert) -> float:
        """Read an alert's recording and give its length; 0 if there is none that can be played. [seconds]"""
        if alert.recording is None:
            return 0.0
        n_samples, sample_rate_hz = whole_length(self.directory / alert.recording)
        return n_samples / sample_rate_hz if n_samples else 0.0

    def _put(self, alert: Alert, expires_monotonic_s: float) -> None:
        """Spool an alert; a full disk gives up its oldest recordings for it, and a dead one does not hold it up."""
        try:
            self._spool.put(alert, expires_monotonic_s)
        except LinkError as error:
            self._note(error)
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT):
                self._disk_room.make()
                self._spool.write_unsaved()

    def _wake_all(self) -> None:
        self._publisher.wake()
        self._storer.wake()

    def _note(self, error: HeraldError) -> None:
        text = str(error)
        if text != self._last_error:
            log.error("%s: %s", self.name, text)
        self._last_error = text


def _ended(alert: Alert, reason: EndReason, ended_at_s: float, recorded_s: float) -> Alert:
    """End an alert; of its recording and the marks in it there remains what can be played, `recorded_s` seconds."""
    return replace(
        alert,
        end_reason=reason,
        ended_at=utc_from_seconds(ended_at_s),
        recording=alert.recording if recorded_s > 0 else None,
        marks=tuple(mark for mark in alert.marks if recorded_s > 0 and mark.position_s <= round(recorded_s, 3)),
        revision=alert.revision + 1,
    )
