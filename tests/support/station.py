"""Programs of the station as real processes, for the tests."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import psutil


class Program:
    """One program, with its standard output as a queue of lines."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """Give the first JSON line that is wanted; fail when none comes."""
        deadline = time.monotonic() + timeout_s
        seen: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not seen within {timeout_s:.0f} s; seen: {seen[-10:]}") from None
            if line is None:
                raise AssertionError(f"the program ended ({self.process.wait(10)}); seen: {seen[-10:]}")
            event = orjson.loads(line)
            seen.append(line.decode()[:300])
            if wanted(event):
                return dict(event)

    def family(self) -> dict[str, psutil.Process]:
        """Give the processes below this one by what they are."""
        found: dict[str, psutil.Process] = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                words = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
            for name, mark in (
                ("antenna", "services.synth_service"),
                ("sdr", "services.sdr_service"),
                ("decode", "--role decode"),
                ("stream", "--role stream"),
                ("audio", "services.audio_service"),
                ("redis", "redis-server"),
                ("icecast", "icecast"),
            ):
                if mark in words:
                    found[name] = process
                    break
        return found

    def interrupt(self, timeout_s: float = 30.0) -> int:
        """Press Ctrl-C and give the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """End it if it still runs, and let its pipes go."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._thread.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@contextmanager
def herald(*arguments: str, folder: Path, **environment: str) -> Iterator[Program]:
    """Run ``herald …``; its standard error goes to ``<first argument>.err`` in the folder."""
    program = Program(
        [sys.executable, "-m", "services.cli", *arguments],
        {"HERALD_DATA_DIR": str(folder), **environment},
        folder / f"{arguments[0]}.err",
    )
    try:
        yield program
    finally:
        program.close()
