"""A recording as a source, at the speed of this machine's clock: for trials and drills."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from app_core.audio.ingest_argv import file_argv
from app_core.audio.ingest_config import FileSettings
from app_core.audio.ingest_source import BlockSink, IngestSource
from app_core.audio.sources import AudioSourceType, uses_re_flag
from app_core.base.errors import LinkError


class FileSource(IngestSource):
    """Play a file once, or again and again.

    Parameters
    ----------
    settings
        Its table.
    sink
        Takes its audio.
    """

    def __init__(self, settings: FileSettings, sink: BlockSink) -> None:
        super().__init__(settings, AudioSourceType.FILE, sink)
        self._settings = settings
        self._began_s = 0.0
        self._was_played = False

    @property
    def address(self) -> str:
        """As `IngestSource.address`."""
        return str(self._settings.path)

    def _argv(self, program: str) -> Sequence[str]:
        settings = self._settings
        return file_argv(
            program, self.sample_rate_hz, settings.path, repeat=settings.repeat, re_flag=uses_re_flag(self)
        )

    def _listen(self, stopping: threading.Event) -> None:
        self._was_played = False
        if not self._settings.path.exists():
            raise LinkError("there is no such file")
        super()._listen(stopping)
        self._was_played = not stopping.is_set()

    def _is_at_its_end(self) -> bool:
        if self._was_played:
            self._has_ended = True
            self._connected_since = None
        return self._was_played

    def _keep_pace(self, seconds: float, stopping: threading.Event) -> None:
        now_s = time.monotonic()
        if seconds == 0.0:
            self._began_s = now_s
        due_s = self._began_s + seconds
        if due_s > now_s:
            stopping.wait(due_s - now_s)
