"""Commands about the channels: taken in their order, carried out one after the other, answered every one.

Threads: the command reader calls `ChannelDesk.take`, which only queues. One worker carries the commands out; it waits
for the decoders to take a change up, so that a result tells what is, and neither a decoder nor the job's loop waits for
a command or for the disk. A change is made first and kept on the disk then: what kills the process while it is made is
not made again at the next start.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from app_core.audio.channel_plan import ChannelPlan, Channels
from app_core.base.errors import ConfigError, HeraldError, LifecycleError, LinkError
from app_core.base.lifecycle import Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.audio_commands import ChannelCommandMessage, read_channel_command
from app_core.bridge.commands import CommandResultMessage, Refusal, ResultMemory, read_command_id
from app_core.demod.channel_config import ChannelConfig

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log)

MAX_WAITING = 64
"""Commands that may wait; one more is answered "busy"."""


class Decoders(Protocol):
    """What receives the channels: `app_core.audio.decode_job.DecodeJob`."""

    def apply(self, channels: Sequence[ChannelConfig], *, wait: bool = True) -> None:
        """Receive these channels and no others.

        Raises
        ------
        ConfigError
            If one of them cannot be received.
        LifecycleError
            If a decoder did not take the change up in time.
        """
        ...

    def misfits(self) -> Mapping[str, str]:
        """Say by channel id why the present captures do not hold some of the channels."""
        ...


class ChannelDesk:
    """Carry out commands about the channels, and answer every one of them.

    Parameters
    ----------
    plan
        The channels there shall be.
    decoders
        What receives them.
    answer
        Takes a ``command_id`` and its result; must not wait.
    utc
        Clock. [UTC seconds]

    Attributes
    ----------
    answered
        What was taken and has an answer by now, for the one who took it off the list.
    """

    def __init__(
        self,
        plan: ChannelPlan,
        decoders: Decoders,
        answer: Callable[[str, bytes], None],
        *,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._plan = plan
        self._decoders = decoders
        self._answer = answer
        self._utc = utc
        self._waiting: queue.Queue[tuple[ChannelCommandMessage, bytes]] = queue.Queue(MAX_WAITING)
        self._memory = ResultMemory()
        self._lock = threading.Lock()
        self.answered: deque[bytes] = deque()
        self._counts = dict.fromkeys(
            ("succeeded", "failed", "busy", "expired", "malformed", "repeated", "interrupted"), 0
        )

    def worker(self) -> Worker:
        """Make the worker that carries the commands out; after its death another one, which goes on."""
        return _ChannelCommands(self)

    def status(self) -> dict[str, Any]:
        """Give counts of commands by outcome and what waits, for the metrics."""
        with self._lock:
            counts = dict(self._counts)
        return {**counts, "waiting": self._waiting.qsize(), "channels_changed": self._plan.is_changed}

    # Called by the command reader.

    def take(self, payload: bytes) -> None:
        """Take what stood on the list: queue it, or answer it here."""
        command = read_channel_command(payload)
        command_id = command.command_id
        if command_id is not None and self._is_repeated(command_id):
            self.answered.append(payload)
        elif isinstance(command, Refusal):
            _limited_log.warning("malformed", "command %s refused: %s", command_id or "without id", command.message)
            self._finish(command_id, payload, "malformed", command.message)
        else:
            with self._lock:
                self._memory.begin(command.command_id)
            try:
                self._waiting.put_nowait((command, payload))
            except queue.Full:
                self._finish(command.command_id, payload, "busy", f"busy: {MAX_WAITING} commands wait")

    def take_interrupted(self, payload: bytes) -> None:
        """Answer what was under way when the service died; it is not tried again."""
        command_id = read_command_id(payload)
        log.warning("command %s was under way when the service ended", command_id)
        message = "the audio service ended while this was under way, and did not try it again: see get_channels"
        self._finish(command_id, None, "interrupted", message)

    # Called by the worker.

    def work(self, timeout_s: float) -> None:
        """Carry out the next command, waiting for it no longer than `timeout_s`."""
        try:
            command, payload = self._waiting.get(timeout=timeout_s)
        except queue.Empty:
            return
        kind, message, result = "failed", "the command failed; the service's log says why", None
        try:
            if command.expires_at is not None and self._utc() > command.expires_at:
                kind, message = "expired", "expired"
            else:
                message, result = self._do(command)
                kind = "succeeded"
        except HeraldError as error:
            message = str(error)
        finally:
            log.log(
                logging.INFO if kind == "succeeded" else logging.WARNING,
                "command %s (%s): %s",
                command.command_id,
                command.action,
                message,
            )
            self._finish(command.command_id, payload, kind, message, result)

    def refuse_waiting(self) -> None:
        """Answer what still waits: the service is stopping."""
        while not self._waiting.empty():
            command, payload = self._waiting.get_nowait()
            self._finish(command.command_id, payload, "busy", "the service is stopping")

    def _do(self, command: ChannelCommandMessage) -> tuple[str, dict[str, Any] | None]:
        """Carry one out; gives the words and the result of its success."""
        plan, channel_id, table = self._plan, command.channel_id or "", command.channel or {}
        match command.action:
            case "get_channels":
                return self._listed()
            case "add_channel":
                channels = plan.with_channel(table)
                config = channels.configs[-1]
                return self._change(channels, f"{_words(config)} added", config)
            case "set_channel":
                channels = plan.with_changes(channel_id, table)
                config = channels.configs[channels.ids.index(channel_id)]
                if config == plan.find(channel_id):
                    return f"{_words(config)} is so already", {"channel": config.model_dump(mode="json")}
                return self._change(channels, f"{_words(config)} changed", config)
            case "remove_channel":
                channels = plan.without_channel(channel_id)
                return self._change(channels, f"{_words(plan.find(channel_id))} removed")
            case "reset_channels":
                if not plan.is_changed:
                    return "the channels are those of station.toml already", None
                words = f"the channels are those of station.toml again: {', '.join(plan.of_station.ids)}"
                return self._change(plan.of_station, words)

    def _listed(self) -> tuple[str, dict[str, Any]]:
        plan = self._plan
        n_channels = len(plan.now.configs)
        words = f"{n_channels} channel{'' if n_channels == 1 else 's'}"
        words += ", changed by command" if plan.is_changed else ", as in station.toml"
        return words, {
            "changed": plan.is_changed,
            "channels": [config.model_dump(mode="json") for config in plan.now.configs],
        }

    def _change(
        self, channels: Channels, words: str, config: ChannelConfig | None = None
    ) -> tuple[str, dict[str, Any] | None]:
        """Have the decoders take a plan up, then keep it."""
        try:
            self._decoders.apply(channels.configs)
        except (ConfigError, LifecycleError):
            # A decoder that did not answer may still come to it: then it shall find what was before.
            self._decoders.apply(self._plan.now.configs, wait=False)
            raise
        misfit = "" if config is None else self._decoders.misfits().get(config.id, "")
        if misfit:
            words += f"; it is not heard now: {misfit}"
        try:
            self._plan.adopt(channels)
        except LinkError as error:
            words += f"; it will not outlive this service: {error}"
        return words, None if config is None else {"channel": config.model_dump(mode="json")}

    def _is_repeated(self, command_id: str) -> bool:
        """Whether the id was seen before; its result, if it has one, is then given again."""
        with self._lock:
            if not self._memory.knows(command_id):
                return False
            result = self._memory.find(command_id)
            self._counts["repeated"] += 1
        if result is not None:
            self._answer(command_id, result)
        return True

    def _finish(
        self,
        command_id: str | None,
        payload: bytes | None,
        kind: str,
        message: str,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Count and answer a command, and let go of what stood on the list."""
        text = b""
        if command_id is not None:
            text = CommandResultMessage(
                command_id=command_id, success=kind == "succeeded", message=message, result=result
            ).to_json()
        with self._lock:
            self._counts[kind] += 1
            if command_id is not None and kind in ("succeeded", "failed", "interrupted"):
                self._memory.finish(command_id, text)
            elif command_id is not None:
                # It was not carried out, and may be sent again under its id.
                self._memory.cancel(command_id)
        if command_id is not None:
            self._answer(command_id, text)
        if payload is not None:
            self.answered.append(payload)


class _ChannelCommands(Worker):
    """The thread of a `ChannelDesk`."""

    def __init__(self, desk: ChannelDesk) -> None:
        super().__init__("ChannelCommands")
        self._desk = desk

    def run(self, stopping: threading.Event) -> None:
        """Work until stopped; what then waits is answered."""
        while not stopping.is_set():
            self._desk.work(0.2)
        self._desk.refuse_waiting()


def _words(config: ChannelConfig) -> str:
    return f"channel {config.id} ({config.frequency_hz / 1e6:.10g} MHz, {config.mode.value})"
