"""FLAC files that a killed process or a full disk may have left torn: opened, measured, completed, mended.

libsndfile hands every encoded block to the system as it comes, but writes the length into the header only at the end. A
file that was not completed lacks its length and its last one or two blocks of 4096 samples, and players cannot seek in
it. An error while closing is not told at all, so that a file is known to be whole only after it has been read.

A mended file is no longer than the torn one: the same encoder makes the same blocks of the same samples. That is why a
file can be mended in its own place on a disk that has no room left.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from app_core.alerts.spool import sync_directory

MENDING_SUFFIX = ".mending"

DISK_ERRORS = (OSError, soundfile.SoundFileError, AssertionError)
"""What soundfile raises when the disk does not give or take; it asserts that libsndfile took every sample."""

_READ_SAMPLES = 1024
_SYSTEM_ERROR = 2
"""libsndfile's code of an error that is the system's and not the file's."""


def open_flac(file: Path | io.BytesIO, sample_rate_hz: float) -> soundfile.SoundFile:
    """Begin a file: mono, 16 bit, at whole hertz.

    Raises
    ------
    OSError, soundfile.SoundFileError
        If it cannot be made.
    """
    return soundfile.SoundFile(file, "w", samplerate=round(sample_rate_hz), channels=1, format="FLAC", subtype="PCM_16")


def whole_length(path: Path) -> tuple[int, int]:
    """Read a file to its end, to learn whether it can be played.

    Returns
    -------
    n_samples, sample_rate_hz
        Both 0 if the file cannot be opened, or holds another number of samples than its header says.
    """
    try:
        with soundfile.SoundFile(path) as file:
            stated, sample_rate_hz = file.frames, file.samplerate
        n_samples = sum(len(pcm) for pcm, _ in _read_torn(path))
    except DISK_ERRORS:
        return 0, 0
    return (n_samples, sample_rate_hz) if n_samples == stated else (0, 0)


def complete(part: Path, final: Path) -> None:
    """Bring a whole file to the disk, and give it its name.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    sync_file(part)
    part.replace(final)
    sync_directory(final.parent)


def mend(part: Path, final: Path) -> int:
    """Make a whole file of what can be read of a torn one, and remove that.

    Returns
    -------
    n_samples
        Samples of the whole file; 0 if there is not a single one, and then no file is left.

    Raises
    ------
    OSError, soundfile.SoundFileError
        If the disk does not give or take it; the torn file is kept.
    """
    copy = part.with_name(part.name + MENDING_SUFFIX)
    try:
        source = copy
        try:
            n_samples = _copy(part, copy)
        except DISK_ERRORS:
            # No room for a second file.
            copy.unlink(missing_ok=True)
            source = part
            n_samples = _rewrite(part)
        if n_samples:
            complete(source, final)
        part.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):
            copy.unlink(missing_ok=True)
    return n_samples


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk.

    Raises
    ------
    OSError
        If the disk does not take it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path) -> int:
    """Copy all samples that can be read, and return their number; nothing is written if there are none."""
    n_samples = _encode(source, target)
    if n_samples and whole_length(target)[0] != n_samples:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    return n_samples


def _rewrite(path: Path) -> int:
    """Put the mended file over the torn one; most of its bytes are the same, so that a kill meanwhile costs little."""
    mended = io.BytesIO()
    n_samples = _encode(path, mended)
    if n_samples:
        if len(mended.getbuffer()) > path.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        with path.open("r+b") as file:
            file.write(mended.getvalue())
            file.truncate()
    return n_samples


def _encode(source: Path, target: Path | io.BytesIO) -> int:
    n_samples = 0
    with contextlib.ExitStack() as stack:
        target_file: soundfile.SoundFile | None = None
        for pcm, sample_rate_hz in _read_torn(source):
            if target_file is None:
                target_file = stack.enter_context(open_flac(target, sample_rate_hz))
            target_file.write(pcm)
            n_samples += len(pcm)
    return n_samples


def _read_torn(path: Path) -> Iterator[tuple[NDArray[np.int16], int]]:
    """Give pieces of audio and the rate up to the end of the file, or to where the decoder gives up."""
    try:
        with soundfile.SoundFile(path) as file:
            while len(pcm := file.read(_READ_SAMPLES, dtype="int16")):
                yield pcm, file.samplerate
    except soundfile.LibsndfileError as error:
        if error.code == _SYSTEM_ERROR:
            raise
