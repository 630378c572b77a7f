"""What capturing costs: processor time of the SDR service at 2.4 MS/s, with compression.

The line is that of ``capture-rate``: the SDR service as people run it, in real time, with spectrum, compression and
Redis. The peer is the same with the standard library's zlib at level 1.

HERALD_CAPTURE_COST_S sets the length of each run (20 seconds by default).
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.capture_rate import CaptureLine, measure, seconds_of, write_loop
from benchmarks.report import Figure, ceiling

CAVEATS = (
    "the receiver is that of capture-rate: a loop of 8-bit noise as CF32, in real time",
    "user and system time of the whole process, the receiver and Redis's client in it; history off, and on beside it",
    "median of three runs",
)

RATE_HZ = 2_400_000.0
RUNS = 3


def run() -> Iterator[Figure]:
    """Measure ours, the peer, and ours with history."""
    length_s = seconds_of("HERALD_CAPTURE_COST_S", 20.0)
    with tempfile.TemporaryDirectory(prefix="herald-bench-") as name:
        folder = Path(name)
        loop = folder / "8.cf32"
        write_loop(loop, 8)
        ours = [measure(CaptureLine(folder, RATE_HZ, loop), length_s) for _ in range(RUNS)]
        peer = measure(CaptureLine(folder, RATE_HZ, loop, is_peer=True), length_s)
        kept = measure(CaptureLine(folder, RATE_HZ, loop, history_seconds=30.0), length_s)
    lost = max(outcome.lost + outcome.metrics["lost_samples"] for outcome in ours)
    level = min(outcome.metrics["encoding_level"] for outcome in ours)
    cost = statistics.median(outcome.sdr_cpu for outcome in ours)
    yield ceiling("CPU of the SDR service at 2.4 MS/s [s/s]", cost, 0.20, peer.sdr_cpu)
    yield ceiling("the same with a history of 30 s [s/s]", kept.sdr_cpu, 0.25)
    yield ceiling("samples lost", lost, 0.0)
    yield Figure("compression level in use", level, None, None, "1", level == 1)
