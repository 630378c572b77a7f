"""A channel, or alerts alone, on a sound device of this machine, through FFmpeg.

The device is open all the time, with silence while there is nothing to hear: a device that is gone or in use is told
when it happens, and not when an alert wants it. While an alert lasts, its channel is heard, with a volume of its own,
whatever was heard before.

What comes to the device is paced by the source; where nothing comes, silence is by the clock. A device whose clock is
slower than the source's loses the oldest audio once `LONGEST_S` wait, which is counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app_core.alerts.alert import Alert
from app_core.audio.broadcast_queue import BroadcastQueue, Subscription
from app_core.audio.encoder import s16_bytes
from app_core.audio.ffmpeg_process import ErrorLines, FfmpegProcess
from app_core.audio.ffmpeg_reader import find_ffmpeg
from app_core.base.blocks import PcmBlock
from app_core.base.errors import LifecycleError
from app_core.base.lifecycle import Backoff, Worker

log = logging.getLogger(__name__)

LONGEST_S = 2.0
"""Audio that may wait for the device. [seconds]"""

QUIET_AFTER_S = 1.5
"""Silence of a source after which the device gets silence. [seconds]"""

STUCK_AFTER_S = 10.0
"""Time in which the device has taken nothing, after which it is opened anew. [seconds]"""

DEVICE_RATE_HZ = 48_000

CUSHION_S = 0.2
"""Silence with which a device begins: what the audio may be late later without a gap. [seconds]"""

_TURN_S = 0.1
_FULL_WAIT_S = 0.02
_SETTLED_AFTER_S = 2.0
_VolumeDb = Annotated[float, Field(ge=-60.0, le=20.0)]


def _device(value: str) -> str:
    if value.startswith("-") or not value.isprintable():
        raise ValueError("is no name of a device; `aplay -L` or `pactl list short sinks` names them")
    return value


class LoudspeakerSettings(BaseModel):
    """The ``[loudspeaker]`` table.

    Attributes
    ----------
    type, device
        ALSA or PulseAudio (PipeWire too), and its name there.
    channel
        What is heard all the time; None for nothing.
    alerts
        Whether the channel of an alert is heard while it lasts.
    alerts_only
        Nothing but alerts is heard.
    volume_db, alert_volume_db
        [dB]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["alsa", "pulse"] = "alsa"
    device: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_device)] = "default"
    channel: str | None = None
    alerts: bool = True
    alerts_only: bool = False
    volume_db: _VolumeDb = 0.0
    alert_volume_db: _VolumeDb = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alerts_only == (self.channel is not None) or (self.alerts_only and not self.alerts):
            raise ValueError('needs either channel = "…" or alerts_only = true')
        return self


class Feed(Protocol):
    """Where the audio of every source comes from."""

    def queue(self, channel_id: str) -> BroadcastQueue:
        """Give the queue of one source, which need not have audio yet."""
        ...


def player_argv(program: str, settings: LoudspeakerSettings, sample_rate_hz: int, n_channels: int) -> list[str]:
    """Give the command line of an FFmpeg that plays what it reads.

    Parameters
    ----------
    program
        Path of FFmpeg.
    settings
        Where it plays.
    sample_rate_hz, n_channels
        Of the PCM on its standard input: signed 16 bits, little-endian, channels in turn.
    """
    argv = [program, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"]
    argv += ["-fflags", "+nobuffer", "-probesize", "32", "-analyzeduration", "0"]
    argv += ["-f", "s16le", "-ar", str(sample_rate_hz), "-ac", str(n_channels), "-i", "pipe:0"]
    if n_channels == 1:
        # As loud on each side as it is: FFmpeg's own way to two channels takes 3 dB off.
        argv += ["-af", "pan=stereo|c0=c0|c1=c0"]
    # A card plays what it can and not what a channel has; this every one can.
    argv += ["-ar", str(DEVICE_RATE_HZ), "-ac", "2", "-flush_packets", "1"]
    if settings.type == "alsa":
        return [*argv, "-f", "alsa", settings.device]
    device = [] if settings.device == "default" else ["-device", settings.device]
    return [*argv, "-f", "pulse", "-name", "Herald", "-stream_name", "monitor", *device, "monitor"]


class Loudspeaker(Worker):
    """Play to one device, for ever.

    Parameters
    ----------
    feed
        Where the audio comes from.
    settings
        What is played, and where.
    alerts
        Gives the alerts that last now, the newest last.

    Attributes
    ----------
    restarts
        How often the device had to be opened again.
    """

    def __init__(
        self, feed: Feed, settings: LoudspeakerSettings, alerts: Callable[[], Sequence[Alert]] = tuple
    ) -> None:
        super().__init__("Loudspeaker")
        self.settings = settings
        self.restarts = 0
        self._feed = feed
        self._alerts = alerts
        self._errors = ErrorLines()
        self._last_error = ""
        self._ffmpeg: FfmpegProcess | None = None
        self._format = (24_000, 1)
        self._channel: str | None = None
        self._is_alert = False
        self._subscription: Subscription | None = None
        self._pending = memoryview(b"")
        self._heard_s = self._filled_until_s = self._taken_s = self._opened_s = 0.0
        self._played_s = self._silence_s = self._dropped_s = 0.0

    def status(self) -> dict[str, Any]:
        """Give what is heard, and how the device is."""
        subscription = self._subscription
        return {
            "device": f"{self.settings.type}:{self.settings.device}",
            "open": self._ffmpeg is not None and time.monotonic() - self._opened_s > 0.5,
            "playing": self._channel or "",
            "alert": self._is_alert,
            "played_s": round(self._played_s, 1),
            "silence_s": round(self._silence_s, 1),
            "dropped_s": round(self._dropped_s + (0.0 if subscription is None else subscription.dropped_s), 3),
            "restarts": self.restarts,
            "last_error": self._last_error,
            "stderr": self._errors.lines,
        }

    def run(self, stopping: threading.Event) -> None:
        """Play until stopped."""
        backoff = Backoff(0.5, 10.0)
        try:
            while not stopping.is_set():
                self._choose()
                if self._ffmpeg is None and not self._open():
                    stopping.wait(backoff.next_wait_s())
                    continue
                try:
                    self._turn(stopping)
                except BrokenPipeError:
                    self._close(failed=True)
                else:
                    self._look_after()
                if self._ffmpeg is None:
                    stopping.wait(backoff.next_wait_s())
                elif time.monotonic() - self._opened_s > _SETTLED_AFTER_S:
                    backoff.reset()
        finally:
            self._close()
            self._listen_to(None)

    def _choose(self) -> None:
        """Take up the channel that is to be heard now."""
        alerts = self._alerts() if self.settings.alerts else ()
        channel, is_alert = self.settings.channel, False
        for alert in reversed(alerts):
            if alert.channels:
                # One that hears the alert already is not left for another that does.
                channel = self._channel if self._channel in alert.channels else alert.channels[0]
                is_alert = True
                break
        self._is_alert = is_alert
        if channel != self._channel:
            log.info("the loudspeaker plays %s%s", channel or "nothing", " for an alert" if is_alert else "")
            self._listen_to(channel)

    def _listen_to(self, channel: str | None) -> None:
        if self._subscription is not None:
            self._dropped_s += self._subscription.dropped_s
            self._subscription.close()
        self._channel = channel
        self._subscription = None if channel is None else self._feed.queue(channel).subscribe("loudspeaker", LONGEST_S)

    def _turn(self, stopping: threading.Event) -> None:
        if self._pending:
            self._write()
            if self._pending:
                stopping.wait(_FULL_WAIT_S)
            return
        block = None
        if self._subscription is None:
            stopping.wait(_TURN_S)
        else:
            block = self._subscription.get(_TURN_S)
        if block is None:
            self._fill(time.monotonic())
        else:
            self._play(block)

    def _play(self, block: PcmBlock) -> None:
        n_channels = 1 if block.pcm.ndim == 1 else int(block.pcm.shape[1])
        wanted = (round(block.sample_rate_hz), n_channels)
        if wanted != self._format:
            self._format = wanted
            self._close()
            if not self._open():
                return
        volume_db = self.settings.alert_volume_db if self._is_alert else self.settings.volume_db
        cushion = bytes(self._pending)  # of a device that was opened for this block
        loud = replace(block, pcm=block.pcm * 10.0 ** (volume_db / 20.0)) if volume_db else block
        self._played_s += len(block.pcm) / block.sample_rate_hz
        self._heard_s = self._filled_until_s = time.monotonic()
        self._pending = memoryview(cushion + s16_bytes(loud.pcm))
        self._write()

    def _fill(self, now_s: float) -> None:
        """Write as much silence as the clock has gone on, once nothing has come for long enough."""
        if self._channel is not None and now_s - self._heard_s < QUIET_AFTER_S:
            return
        rate_hz, n_channels = self._format
        n_samples = int(min(now_s - self._filled_until_s, QUIET_AFTER_S) * rate_hz)
        self._filled_until_s = now_s
        self._silence_s += n_samples / rate_hz
        self._pending = memoryview(bytes(2 * n_channels * n_samples))
        if self._pending:
            self._write()

    def _write(self) -> None:
        if self._ffmpeg is None:
            return
        n_bytes = self._ffmpeg.write(self._pending)
        self._pending = self._pending[n_bytes:]
        if n_bytes:
            self._taken_s = time.monotonic()

    def _look_after(self) -> None:
        if self._ffmpeg is None:
            return
        self._ffmpeg.read()
        if self._ffmpeg.has_ended:
            self._close(failed=True)
        elif self._pending and time.monotonic() - self._taken_s > STUCK_AFTER_S:
            self._errors.take(f"the device has taken nothing for {STUCK_AFTER_S:.0f} s\n".encode())
            self._close(failed=True)

    def _open(self) -> bool:
        program = find_ffmpeg()
        if program is None:
            self._fail("FFmpeg is not installed: apt-get install ffmpeg")
            return False
        try:
            self._ffmpeg = FfmpegProcess(player_argv(program, self.settings, *self._format), self._errors)
        except LifecycleError as error:
            self._fail(str(error))
            return False
        self._opened_s = self._taken_s = self._filled_until_s = time.monotonic()
        rate_hz, n_channels = self._format
        self._pending = memoryview(bytes(2 * n_channels * int(CUSHION_S * rate_hz)))
        return True

    def _close(self, *, failed: bool = False) -> None:
        ffmpeg, self._ffmpeg = self._ffmpeg, None
        # A part of a sample would make noise of all that follows.
        self._pending = memoryview(b"")
        if ffmpeg is None:
            return
        ffmpeg.close()
        if failed:
            self.restarts += 1
            self._fail(
                f"{self.settings.type} device {self.settings.device}: {self._errors.cause() or 'FFmpeg has ended'}"
            )

    def _fail(self, text: str) -> None:
        if text != self._last_error:
            log.error("the loudspeaker is silent: %s", text)
        self._last_error = text
