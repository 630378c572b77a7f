"""Samples through the ring between two threads, against plain memcpy.

A writer thread copies chunks of 1 MiB into a ring of 32 MiB, a reader thread copies them out, both at once: from and to
one chunk each, as a device's and a consumer's buffers are, and from and to arrays of the ring's size. The peer is
``numpy.copyto`` of such chunks between two arrays of the ring's size, every page already touched, in one thread and in
the same run: each sample is copied once, where the ring copies it twice.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app_core.radio.ring_buffer import BYTES_PER_SAMPLE, RingBuffer
from benchmarks.report import Figure, at_least, ceiling

CHUNK_SAMPLES = (1 << 20) // BYTES_PER_SAMPLE
RING_SAMPLES = 4_194_304
CHUNKS = 2048
ROUNDS = 7
ALLOCATION_ROUNDS = 2000

CAVEATS = (
    "two threads of one interpreter with a switch interval of 0.1 ms, as the programs set it",
    "bytes are counted once, although the ring copies them in and out",
    "array to array walks through 96 MiB, memcpy through 64, so it shows the memory more than the ring",
    "median of 7 rounds, ring and memcpy in turns",
)


def _ring_seconds(ring: RingBuffer, source: NDArray[np.complex64], sink: NDArray[np.complex64]) -> float:
    """Time of `CHUNKS` chunks from one thread's array into another's, in a circle. [seconds]"""
    ring.release(ring.readable)

    def write() -> None:
        for number in range(CHUNKS):
            begin = number * CHUNK_SAMPLES % len(source)
            while len(room := ring.write_view(CHUNK_SAMPLES)) < CHUNK_SAMPLES:
                time.sleep(0)
            np.copyto(room, source[begin : begin + CHUNK_SAMPLES])
            ring.commit_write(CHUNK_SAMPLES)

    writer = threading.Thread(target=write, name="ring-writer")
    started_s = time.perf_counter()
    writer.start()
    for number in range(CHUNKS):
        begin = number * CHUNK_SAMPLES % len(sink)
        while len(waiting := ring.read_view(CHUNK_SAMPLES)) < CHUNK_SAMPLES:
            time.sleep(0)
        np.copyto(sink[begin : begin + CHUNK_SAMPLES], waiting)
        ring.release(CHUNK_SAMPLES)
    elapsed_s = time.perf_counter() - started_s
    writer.join()
    return elapsed_s


def _memcpy_seconds(source: NDArray[np.complex64], sink: NDArray[np.complex64]) -> float:
    """Time of `CHUNKS` chunks from one array of the ring's size into another. [seconds]"""
    started_s = time.perf_counter()
    for number in range(CHUNKS):
        begin = number * CHUNK_SAMPLES % len(sink)
        np.copyto(sink[begin : begin + CHUNK_SAMPLES], source[begin : begin + CHUNK_SAMPLES])
    return time.perf_counter() - started_s


def _allocated_bytes() -> tuple[float, float]:
    """Peak of a round, and what stays after each of many rounds, of what Python and numpy allocate. [bytes]"""
    ring = RingBuffer(4 * CHUNK_SAMPLES)
    ring.mark(first_sample=0, config_epoch=1, sample_rate_hz=1.0, center_frequency_hz=0.0)
    source = np.ones(CHUNK_SAMPLES, dtype=np.complex64)

    def once() -> None:
        ring.write(source)
        ring.anchor_at_read()
        ring.release(len(ring.read_view(CHUNK_SAMPLES)))

    tracemalloc.start()
    try:
        for _ in range(100):
            once()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(ALLOCATION_ROUNDS):
            once()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return float(peak - before), max(0.0, (after - before) / ALLOCATION_ROUNDS)


def run() -> Iterator[Figure]:
    """Measure the speed, then the memory."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        ring = RingBuffer(RING_SAMPLES)
        source = np.ones(ring.size, dtype=np.complex64)
        sink = np.ones(ring.size, dtype=np.complex64)
        first, last = source[:CHUNK_SAMPLES].copy(), sink[:CHUNK_SAMPLES].copy()
        _ring_seconds(ring, first, last)
        ours, walking, peer = [], [], []
        for _ in range(ROUNDS):
            ours.append(_ring_seconds(ring, first, last))
            walking.append(_ring_seconds(ring, source, sink))
            peer.append(_memcpy_seconds(source, sink))
    finally:
        sys.setswitchinterval(interval_s)
    gigabytes = CHUNKS * CHUNK_SAMPLES * BYTES_PER_SAMPLE / 1e9
    memcpy = gigabytes / statistics.median(peer)
    yield at_least("ring, chunk to chunk [GB/s]", gigabytes / statistics.median(ours), memcpy, 0.4)
    yield at_least("ring, array to array [GB/s]", gigabytes / statistics.median(walking), memcpy, 0.4)
    peak, kept = _allocated_bytes()
    yield ceiling("allocated at once while 1 MiB passes the ring [bytes]", peak, 600.0)
    yield ceiling("kept for each MiB that has passed the ring [bytes]", kept, 1.0)
