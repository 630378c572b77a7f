"""An hour of 2.4 MS/s in real time from a receiver to a decoding subscriber: nothing lost, memory that does not grow.

The line is that of ``capture-rate``, with a history of 30 s as by default. Memory of the SDR service is read every ten
seconds. HERALD_SOAK_S sets the length (3600 seconds by default); progress goes to standard error. By itself, in the
background: ``nice python -m benchmarks soak > soak.txt 2> soak.progress &``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.capture_rate import CaptureLine, seconds_of, write_loop
from benchmarks.report import Figure, ceiling, floor

CAVEATS = (
    "the receiver is that of capture-rate: a loop of 8-bit noise as CF32, in real time",
    "memory is the resident set of the SDR service; growth is the median of the last ten readings less the median of "
    "the ten after the first minute",
)

RATE_HZ = 2_400_000.0
SETTLED_AFTER_S = 60.0
READING_EVERY_S = 10.0


def _median(values: list[int]) -> float:
    return float(sorted(values)[len(values) // 2])


def run() -> Iterator[Figure]:
    """Let it run, and look."""
    length_s = seconds_of("HERALD_SOAK_S", 3600.0)
    with tempfile.TemporaryDirectory(prefix="herald-soak-") as name:
        folder = Path(name)
        write_loop(folder / "8.cf32", 8)
        line = CaptureLine(folder, RATE_HZ, folder / "8.cf32", history_seconds=30.0)
        readings: list[int] = []
        try:
            line.wait_running()
            begun_s, cpu_before = time.monotonic(), line.cpu_seconds()[0]
            while (elapsed_s := time.monotonic() - begun_s) < length_s:
                time.sleep(READING_EVERY_S)
                if elapsed_s >= SETTLED_AFTER_S:
                    readings.append(line.rss_bytes())
                metrics, mib = line.metrics(), line.rss_bytes() / 1024 / 1024
                print(f"{elapsed_s:6.0f} s  {mib:.1f} MiB  lost {metrics.get('lost_samples')}", file=sys.stderr)
            cpu = (line.cpu_seconds()[0] - cpu_before) / (time.monotonic() - begun_s)
            heard, metrics = line.heard(), line.metrics()
        finally:
            line.close()
    growth = _median(readings[-10:]) - _median(readings[:10]) if readings else float("nan")
    yield ceiling(f"samples lost in {length_s:g} s at 2.4 MS/s", heard["lost"] + metrics["lost_samples"], 0.0)
    yield floor("received [10^6 samples]", heard["received"] / 1e6, 0.995 * RATE_HZ * length_s / 1e6)
    yield ceiling("growth of memory after the first minute [MB]", growth / 1e6, 5.0)
    yield ceiling("CPU of the SDR service, with history [s/s]", cpu, 0.25)
