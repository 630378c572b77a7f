"""The ring between reader and publisher, against a model of what a queue of samples does."""

from __future__ import annotations

import gc
import logging
import mmap
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.radio.ring_buffer import BYTES_PER_SAMPLE, MAX_SIZE, MIN_SIZE, Anchor, RingBuffer, clamp_size
from tests.support.programs import PATIENCE_S

_PAGE = mmap.PAGESIZE // BYTES_PER_SAMPLE


def _ring(n_samples: int = _PAGE) -> RingBuffer:
    return RingBuffer(n_samples, min_size=1, max_size=max(n_samples, 1))


def _numbered(first: int, n_samples: int) -> NDArray[np.complex64]:
    """Samples that say their own number: real and imaginary part each carry 20 bits of it."""
    number = np.arange(first, first + n_samples, dtype=np.int64)
    return ((number & 0xFFFFF) + 1j * (number >> 20)).astype(np.complex64)


def _mark(ring: RingBuffer, first_sample: int, epoch: int = 1) -> None:
    ring.mark(first_sample=first_sample, config_epoch=epoch, sample_rate_hz=1e6, center_frequency_hz=1e8)


# Sizes ---------------------------------------------------------------------------------------------------------------


def test_the_default_limits_are_the_contracts() -> None:
    assert (MIN_SIZE, MAX_SIZE) == (262_144, 4_194_304)
    assert RingBuffer(2_500_000).size == -(-2_500_000 // _PAGE) * _PAGE


@pytest.mark.parametrize("n_samples", [0, -1, -(2**40)])
def test_a_size_of_nothing_is_refused(n_samples: int) -> None:
    with pytest.raises(ValueError, match="above zero"):
        RingBuffer(n_samples)


@pytest.mark.parametrize(("min_size", "max_size"), [(0, 10), (-1, 10), (11, 10)])
def test_senseless_limits_are_refused(min_size: int, max_size: int) -> None:
    with pytest.raises(ValueError, match="min_size"):
        clamp_size(10, min_size, max_size)


def test_a_size_beyond_the_limits_is_clamped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert clamp_size(1000) == MIN_SIZE
    assert clamp_size(10_000_000) == MAX_SIZE
    assert caplog.messages == [
        "ring of 1000 samples clamped to 262144 (limits 262144 to 4194304)",
        "ring of 10000000 samples clamped to 4194304 (limits 262144 to 4194304)",
    ]
    caplog.clear()
    assert clamp_size(1_000_000) >= 1_000_000
    assert not caplog.messages


@given(n_samples=st.integers(1, 10_000_000))
def test_a_size_is_whole_pages_and_never_less_than_asked(n_samples: int) -> None:
    size = clamp_size(n_samples, 1, 10_000_000)
    assert size % _PAGE == 0
    assert n_samples <= size < n_samples + _PAGE


# Memory --------------------------------------------------------------------------------------------------------------


def _mappings() -> int:
    return Path("/proc/self/maps").read_text().count("herald-ring")


def test_the_memory_is_mapped_twice_and_goes_with_the_last_view() -> None:
    gc.collect()
    before = _mappings()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    ring = _ring()
    assert _mappings() > before
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    ring.write(_numbered(0, 10))
    view = ring.read_view(10)
    del ring
    gc.collect()
    assert _mappings() > before, "unmapped under a view"
    assert view.tolist() == _numbered(0, 10).tolist()
    del view
    gc.collect()
    assert _mappings() == before


def test_a_view_is_contiguous_across_the_seam_and_shows_both_sides_of_it() -> None:
    ring = _ring()
    ring.write(_numbered(0, ring.size - 3))
    ring.release(ring.size - 3)
    ring.write(_numbered(ring.size - 3, 10))
    view = ring.read_view(10)
    assert view.flags.c_contiguous
    assert view.tolist() == _numbered(ring.size - 3, 10).tolist()
    room = ring.write_view(ring.size)
    assert len(room) == ring.size - 10
    assert room.flags.c_contiguous and room.flags.writeable


def test_leaving_the_interpreter_while_a_thread_writes_does_no_harm() -> None:
    program = (
        "import threading\n"
        "import numpy as np\n"
        "from app_core.radio.ring_buffer import RingBuffer\n"
        "ring = RingBuffer(262_144)\n"
        "view, chunk, running = ring.write_view(262_144), np.ones(262_144, np.complex64), threading.Event()\n"
        "def write():\n"
        "    while True:\n"
        "        np.copyto(view, chunk)\n"
        "        running.set()\n"
        "threading.Thread(target=write, daemon=True).start()\n"
        "running.wait()\n"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], check=False)
        assert done.returncode == 0


def test_nothing_is_allocated_in_the_loops() -> None:
    ring = RingBuffer(4 * 131_072, min_size=1)
    _mark(ring, 0)
    chunk = np.ones(131_072, dtype=np.complex64)  # 1 MiB

    def once() -> None:
        ring.write(chunk)
        ring.anchor_at_read()
        ring.release(len(ring.read_view(131_072)))
        room = ring.write_view(131_072)
        ring.commit_write(len(room))
        ring.release(len(room))

    tracemalloc.start()
    try:
        for _ in range(50):
            once()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(2000):
            once()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 4000, "a round takes memory"  # some views' worth, of a MiB that passes
    assert after - before < 4000, "rounds keep memory"  # the smallest object of all has 16 bytes, 2000 times


# Behaviour -----------------------------------------------------------------------------------------------------------


def test_what_finds_no_room_is_dropped_from_the_new_end_and_counted() -> None:
    ring = _ring()
    assert ring.write(_numbered(0, ring.size - 5)) == ring.size - 5
    assert ring.write(_numbered(ring.size - 5, 12)) == 5
    assert ring.write(_numbered(0, 3)) == 0
    statistics = ring.statistics()
    assert (statistics.overflow_count, statistics.dropped_samples) == (2, 7 + 3)
    assert statistics.total_samples_written == ring.size
    assert statistics.fill_percentage == 100.0
    assert ring.read_view(ring.size).tolist() == _numbered(0, ring.size).tolist()


def test_the_statistics_count_what_went_through() -> None:
    ring = _ring()
    ring.write(_numbered(0, 100))
    ring.release(60)
    ring.count_underflow()
    statistics = ring.statistics()
    assert (statistics.total_samples_written, statistics.total_samples_read, statistics.underflow_count) == (100, 60, 1)
    assert statistics.fill_percentage == round(100 * 40 / ring.size, 2)
    assert (statistics.overflow_count, statistics.dropped_samples, statistics.size) == (0, 0, ring.size)
    assert (ring.readable, ring.total_read) == (40, 60)


@pytest.mark.parametrize("n_samples", [-1, 11])
def test_more_than_waits_cannot_be_released(n_samples: int) -> None:
    ring = _ring()
    ring.write(_numbered(0, 10))
    with pytest.raises(ValueError, match="cannot release"):
        ring.release(n_samples)
    assert ring.readable == 10


def test_a_view_may_begin_behind_the_oldest_sample() -> None:
    ring = _ring()
    ring.write(_numbered(0, 10))
    assert ring.read_view(4, offset=3).tolist() == _numbered(3, 4).tolist()
    assert ring.read_view(100, offset=8).tolist() == _numbered(8, 2).tolist()
    assert len(ring.read_view(4, offset=10)) == 0
    assert len(ring.read_view(4, offset=11)) == 0


def test_a_view_ends_at_an_anchor_and_the_anchor_says_what_follows() -> None:
    ring = _ring()
    assert ring.anchor_at_read() is None
    _mark(ring, 1000)
    ring.write(_numbered(0, 10))
    _mark(ring, 2000, epoch=2)
    ring.write(_numbered(10, 5))
    assert ring.anchor_at_read() == Anchor(0, 1000, 1, 1e6, 1e8)
    assert len(ring.read_view(100)) == 10
    assert ring.run_is_closed(10)
    assert not ring.run_is_closed(9)
    ring.release(10)
    assert ring.anchor_at_read() == Anchor(10, 2000, 2, 1e6, 1e8)
    assert ring.read_view(100).tolist() == _numbered(10, 5).tolist()
    assert not ring.run_is_closed(5)


def test_of_several_anchors_at_one_place_the_last_holds_and_they_do_not_pile_up() -> None:
    ring = _ring()
    _mark(ring, 0)
    ring.write(_numbered(0, ring.size))
    for number in range(1000):
        assert ring.write(_numbered(0, 7)) == 0
        _mark(ring, 7 * (number + 1))
    assert len(ring._anchors) <= 2
    assert len(ring.read_view(ring.size)) == ring.size
    ring.anchor_at_read()
    ring.release(ring.size)
    ring.write(_numbered(0, 1))
    anchor = ring.anchor_at_read()
    assert anchor is not None
    assert anchor.first_sample == 7000


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    longest_write=st.integers(1, 3 * _PAGE),
    longest_read=st.integers(1, 3 * _PAGE),
    lossy=st.booleans(),
)
def test_two_threads_lose_nothing_but_what_the_counters_say(
    seed: int, longest_write: int, longest_read: int, lossy: bool
) -> None:
    ring = _ring(2 * _PAGE)
    total = max(3 * ring.size, min(20_000, 50 * min(longest_write, longest_read)))
    failures: list[str] = []
    finished = threading.Event()
    dropped = 0
    _mark(ring, 0)

    def write() -> None:
        nonlocal dropped
        sizes = np.random.default_rng(seed)
        sent = 0
        while sent < total and not failures:
            n_samples = min(int(sizes.integers(1, longest_write + 1)), total - sent)
            if sizes.random() < 0.5:
                room = ring.write_view(n_samples)
                np.copyto(room, _numbered(sent, len(room)))
                ring.commit_write(len(room))
                sent += len(room)
            else:
                accepted = ring.write(_numbered(sent, n_samples))
                sent += n_samples if lossy else accepted
                if lossy and accepted < n_samples:
                    dropped += n_samples - accepted
                    _mark(ring, sent)
            time.sleep(0)
        finished.set()

    def read() -> None:
        sizes = np.random.default_rng(seed + 1)
        position = 0
        while not failures:
            over = finished.is_set()
            anchor = ring.anchor_at_read()
            view = ring.read_view(int(sizes.integers(1, longest_read + 1)))
            if len(view) == 0 and over:
                break
            if anchor is None:
                failures.append("no anchor")
                break
            first = anchor.first_sample + ring.total_read - anchor.position
            if len(view) and (first < position or not np.array_equal(view, _numbered(first, len(view)))):
                failures.append(f"wrong samples at {first}, expected {position} or later")
            if not lossy and len(view) and first != position:
                failures.append(f"lost samples before {first}")
            position = first + len(view)
            ring.release(len(view))
            time.sleep(0)

    writer, reader = threading.Thread(target=write), threading.Thread(target=read)
    reader.start()
    writer.start()
    writer.join(PATIENCE_S)
    reader.join(PATIENCE_S)
    assert not failures
    assert not writer.is_alive() and not reader.is_alive()
    statistics = ring.statistics()
    assert statistics.total_samples_written == statistics.total_samples_read
    if lossy:
        assert statistics.dropped_samples == dropped
        assert statistics.total_samples_read == total - dropped
    else:
        assert statistics.total_samples_read == total
