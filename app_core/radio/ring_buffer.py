"""The ring between the thread that reads the device and the thread that publishes.

Single producer, single consumer, no lock. Two counters run for ever: only the writer moves `_written`, only the reader
moves `_read`, each after it has finished with the memory, and a Python attribute is stored whole; so neither side can
see samples that are not there. The memory is mapped twice, back to back, so that every view is contiguous, across the
seam too.

When the ring is full the writer's newest samples are dropped and counted; what is in the ring stays in order. Where
samples are missing, by an overflow here or a loss in the device, an anchor says so: a position in the ring and the
stream's sample index there. A view never reaches across an anchor.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import weakref
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

MIN_SIZE = 262_144
"""Smallest ring by default: about 0.1 s at 2.5 MS/s. [samples]"""

MAX_SIZE = 4_194_304
"""Largest ring by default: about 1.6 s at 2.5 MS/s. [samples]"""

BYTES_PER_SAMPLE = 8

_PROT_NONE = 0
_MAP_FIXED = 0x10
_MAP_FAILED = ctypes.c_void_p(-1).value


@dataclass(frozen=True, slots=True)
class RingStatistics:
    """Health of a ring, with the fields of ``sdr:ring_buffer:{receiver_id}``.

    Attributes
    ----------
    fill_percentage
        Share of the ring that waits to be read. [0..100]
    overflow_count
        Times at which the writer found too little room.
    underflow_count
        Times at which the reader waited in vain for the samples it asked for.
    total_samples_written, total_samples_read
        Since the ring was made.
    size
        Capacity. [samples]
    dropped_samples
        Samples lost to overflows.
    """

    fill_percentage: float
    overflow_count: int
    underflow_count: int
    total_samples_written: int
    total_samples_read: int
    size: int
    dropped_samples: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a run of consecutive samples begins.

    Attributes
    ----------
    position
        Samples written to the ring before it.
    first_sample
        Index in the receiver's stream, lost samples counted.
    config_epoch
        As in `IqBlock`. [UTC nanoseconds]
    sample_rate_hz, center_frequency_hz, frequency_correction_ppm
        How the receiver was tuned from here on.
    """

    position: int
    first_sample: int
    config_epoch: int
    sample_rate_hz: float
    center_frequency_hz: float
    frequency_correction_ppm: float | None = None


def clamp_size(n_samples: int, min_size: int = MIN_SIZE, max_size: int = MAX_SIZE) -> int:
    """Give the capacity that a ring for `n_samples` will have: within the limits, rounded up to whole pages.

    Raises
    ------
    ValueError
        If `n_samples` is zero or less, or the limits are not ``0 < min_size <= max_size``.
    """
    if n_samples <= 0:
        raise ValueError(f"a ring needs a size above zero, not {n_samples}")
    if not 0 < min_size <= max_size:
        raise ValueError(f"ring limits must be 0 < min_size <= max_size, not {min_size} and {max_size}")
    clamped = min(max(n_samples, min_size), max_size)
    if clamped != n_samples:
        log.info("ring of %d samples clamped to %d (limits %d to %d)", n_samples, clamped, min_size, max_size)
    page_samples = mmap.PAGESIZE // BYTES_PER_SAMPLE
    return -(-clamped // page_samples) * page_samples


def _map_mirrored(n_bytes: int) -> ctypes.Array[ctypes.c_char]:
    """Map one piece of shared memory twice, back to back; it is unmapped when the last view of it is gone.

    Raises
    ------
    MemoryError
        If the kernel refuses one of the mappings.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    descriptor = os.memfd_create("herald-ring", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, n_bytes)
        # Reserve the whole range first, so that nothing else can be placed between the two halves.
        address = libc.mmap(None, 2 * n_bytes, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if address == _MAP_FAILED:
            raise MemoryError(f"cannot reserve {2 * n_bytes} bytes for the ring: {os.strerror(ctypes.get_errno())}")
        for half in (0, n_bytes):
            mapped = libc.mmap(address + half, n_bytes, protection, mmap.MAP_SHARED | _MAP_FIXED, descriptor, 0)
            if mapped == _MAP_FAILED:
                reason = os.strerror(ctypes.get_errno())
                libc.munmap(address, 2 * n_bytes)
                raise MemoryError(f"cannot map {n_bytes} bytes for the ring: {reason}")
    finally:
        os.close(descriptor)
    memory = (ctypes.c_char * (2 * n_bytes)).from_address(address)
    unmap = weakref.finalize(memory, libc.munmap, address, 2 * n_bytes)
    # At the interpreter's exit a thread may still be writing; the kernel unmaps what is left.
    unmap.atexit = False
    return memory


class RingBuffer:
    """Samples on their way from one writing thread to one reading thread.

    Parameters
    ----------
    n_samples
        Wanted capacity; see `clamp_size` for what becomes of it.
    min_size, max_size
        Limits of the capacity.

    Raises
    ------
    ValueError
        As `clamp_size`.
    """

    def __init__(self, n_samples: int, *, min_size: int = MIN_SIZE, max_size: int = MAX_SIZE) -> None:
        self.size = clamp_size(n_samples, min_size, max_size)
        memory = _map_mirrored(self.size * BYTES_PER_SAMPLE)
        self._iq: NDArray[np.complex64] = np.frombuffer(memoryview(memory).cast("B"), dtype=np.complex64)
        self._written = 0
        self._read = 0
        self._overflow_count = 0
        self._underflow_count = 0
        self._dropped_samples = 0
        self._anchors: deque[Anchor] = deque()
        self._current: Anchor | None = None

    # Writer's side -------------------------------------------------------------------------------------------------

    def write_view(self, n_samples: int) -> NDArray[np.complex64]:
        """Give room for the next samples, to be filled in place and handed over by `commit_write`.

        Returns
        -------
        room
            Shape (m,), m <= `n_samples`: shorter when the ring has less room; a device is then read into memory of the
            caller's own, and `write` counts what is lost. [complex64]
        """
        free = self.size - (self._written - self._read)
        start = self._written % self.size
        return self._iq[start : start + min(n_samples, free)]

    def commit_write(self, n_samples: int) -> None:
        """Hand the first `n_samples` of the last `write_view` over to the reader."""
        self._written += n_samples

    def mark(
        self,
        *,
        first_sample: int,
        config_epoch: int,
        sample_rate_hz: float,
        center_frequency_hz: float,
        frequency_correction_ppm: float | None = None,
    ) -> None:
        """Say what the next sample to be written is; called before the first one, after a loss and after a retune."""
        anchor = Anchor(
            self._written, first_sample, config_epoch, sample_rate_hz, center_frequency_hz, frequency_correction_ppm
        )
        try:
            # While the ring is full every write is a loss at one place: the last word holds, and nothing piles up.
            if self._anchors[-1].position == anchor.position:
                self._anchors[-1] = anchor
                return
        except IndexError:
            pass  # none waits, or the reader took it in this moment
        self._anchors.append(anchor)

    def write(self, iq: NDArray[np.complex64]) -> int:
        """Copy samples in; what finds no room is dropped and counted.

        Parameters
        ----------
        iq
            Shape (n,), complex64.

        Returns
        -------
        accepted
            How many of them found room.
        """
        room = self.write_view(len(iq))
        accepted = len(room)
        np.copyto(room, iq[:accepted])
        self.commit_write(accepted)
        if accepted < len(iq):
            self._overflow_count += 1
            self._dropped_samples += len(iq) - accepted
        return accepted

    # Reader's side -------------------------------------------------------------------------------------------------

    @property
    def readable(self) -> int:
        """Samples that wait."""
        return self._written - self._read

    @property
    def total_read(self) -> int:
        """Samples taken since the ring was made: the position of the oldest waiting sample."""
        return self._read

    def read_view(self, n_samples: int, *, offset: int = 0) -> NDArray[np.complex64]:
        """Look at waiting samples without taking them; `release` takes them.

        Parameters
        ----------
        n_samples
            Most samples to give.
        offset
            How far behind the oldest waiting sample the view begins.

        Returns
        -------
        waiting
            Shape (m,), m <= `n_samples`: what is there, up to the next anchor. Valid until `release`. [complex64]
        """
        begin = self._read + offset
        end = min(self._written, begin + n_samples)
        for anchor in list(self._anchors):  # a copy in one step: the writer may append meanwhile
            if anchor.position > begin:
                end = min(end, anchor.position)
                break
        if end <= begin:
            return self._iq[:0]
        start = begin % self.size
        return self._iq[start : start + (end - begin)]

    def anchor_at_read(self) -> Anchor | None:
        """Give the anchor that holds for the oldest waiting sample; None before the first `mark`."""
        while self._anchors and self._anchors[0].position <= self._read:
            self._current = self._anchors.popleft()
        return self._current

    def run_is_closed(self, n_samples: int) -> bool:
        """Whether an anchor follows within the next `n_samples`: what stands before it will not grow."""
        return any(self._read < anchor.position <= self._read + n_samples for anchor in list(self._anchors))

    def release(self, n_samples: int) -> None:
        """Take the oldest `n_samples` out; views of them are no longer valid.

        Raises
        ------
        ValueError
            If fewer samples wait.
        """
        if not 0 <= n_samples <= self.readable:
            raise ValueError(f"cannot release {n_samples} samples of {self.readable}")
        self._read += n_samples

    def count_underflow(self) -> None:
        """Count one wait in vain."""
        self._underflow_count += 1

    def statistics(self) -> RingStatistics:
        """Give the health of the ring; may be called from any thread."""
        waiting = self._written - self._read
        return RingStatistics(
            fill_percentage=round(100.0 * min(max(waiting, 0), self.size) / self.size, 2),
            overflow_count=self._overflow_count,
            underflow_count=self._underflow_count,
            total_samples_written=self._written,
            total_samples_read=self._read,
            size=self.size,
            dropped_samples=self._dropped_samples,
        )
