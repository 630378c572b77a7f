"""What the whole demo costs: CPU and memory of every process, Redis included, at 250 kS/s and seven channels."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil

from benchmarks.report import Figure, ceiling

CAVEATS = (
    "No peer does this job; the targets are limits.",
    "Counted: the demo itself, the generated antenna, the SDR service, the audio service with its decode and stream "
    "jobs, the two FFmpegs that encode, Icecast or the tiny receiver, Redis.",
    "60 s from the moment at which every channel decodes, with one alert decoded and recorded in that time.",
    "Memory is the sum of proportional set sizes (pages that processes share count once), the largest of 12 readings.",
)

_MEASURED_S = 60.0
_READINGS = 12


def _family(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _megabytes(processes: list[psutil.Process]) -> tuple[float, float]:
    memory = [process.memory_full_info() for process in processes]
    return sum(m.pss for m in memory) / 1e6, sum(m.rss for m in memory) / 1e6


def run() -> Iterator[Figure]:
    """Start the demo, wait until it decodes, and measure."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "services.cli", "demo", "--json", "--folder", str(Path(folder) / "demo")]
        started_s = time.monotonic()
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as demo:
            assert demo.stdout is not None
            for line in demo.stdout:
                event = orjson.loads(line)
                if event.get("what") == "decoding" and event["state"] is True:
                    break
            ready_s = time.monotonic() - started_s
            processes = _family(demo.pid)
            before_s, begun_s = _cpu_s(processes), time.monotonic()
            pss_mb = rss_mb = 0.0
            for _ in range(_READINGS):
                time.sleep(_MEASURED_S / _READINGS)
                readings = _megabytes(processes)
                pss_mb, rss_mb = max(pss_mb, readings[0]), max(rss_mb, readings[1])
            share = 100.0 * (_cpu_s(processes) - before_s) / (time.monotonic() - begun_s)
            demo.terminate()
            demo.stdout.read()
    yield ceiling("CPU of one core [%]", share, 40.0)
    yield ceiling("memory in all, shared pages once (PSS) [MB]", pss_mb, 500.0)
    yield ceiling("memory in all, shared pages each time (RSS) [MB]", rss_mb, 500.0)
    yield ceiling("from the command to decoding seven channels [s]", ready_s, 5.0)
