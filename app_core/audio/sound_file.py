"""Recorded audio of any format as a stream of blocks, and raw PCM from a pipe.

libsndfile reads what it knows (WAV, FLAC, Ogg, MP3, AIFF, AU, CAF, W64), FFmpeg all the rest. No more than a block is
ever in memory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app_core.audio.ffmpeg_reader import FfmpegReader
from app_core.base.errors import ConfigError, WireError

HIGHEST_RATE_HZ = 192_000
"""Files of a higher rate are brought to `REDUCED_RATE_HZ` by FFmpeg."""

REDUCED_RATE_HZ = 48_000

_PIECE_BYTES = 65536


class Sound(Protocol):
    """Audio that is read from its beginning to its end.

    Attributes
    ----------
    sample_rate_hz
        Samples per second.
    n_channels
        At least 1.
    duration_s
        None when it is not known. [seconds]
    """

    sample_rate_hz: float
    n_channels: int
    duration_s: float | None

    def read(self, n_frames: int) -> NDArray[np.float32]:
        """Read on, shape (n, n_channels), 0 <= n <= n_frames; n is 0 only at the end. [full scale = ±1]

        Raises
        ------
        WireError
            If what follows is damaged.
        """

    def close(self) -> None:
        """Give the file back."""


class LibsndfileReader:
    """A file that libsndfile reads.

    Parameters
    ----------
    path
        A regular file.

    Attributes
    ----------
    sample_rate_hz, n_channels, duration_s
        As for `Sound`.

    Raises
    ------
    OSError
        If it cannot be opened.
    WireError
        If libsndfile cannot read its format, or is not there itself.
    """

    def __init__(self, path: Path) -> None:
        try:
            import soundfile
        except OSError as error:
            raise WireError(f"libsndfile is missing: {error}") from error

        class Sequential(soundfile.SoundFile):  # type: ignore[misc]
            """A file that is never sought in: soundfile seeks after every read, which loses frames of an MP3."""

            def seekable(self) -> bool:
                return False

        # By descriptor and not by name, so that the suffix .raw means nothing and a name is never encoded.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._error = soundfile.SoundFileError
        try:
            self._file: Any = Sequential(descriptor, closefd=True)
        except soundfile.SoundFileError as error:
            raise WireError(getattr(error, "error_string", str(error)).rstrip(".")) from error
        self.sample_rate_hz = float(self._file.samplerate)
        self.n_channels = int(self._file.channels)
        n_frames = int(self._file.frames)
        # libsndfile gives a huge number where it does not know.
        self.duration_s: float | None = n_frames / self.sample_rate_hz if 0 <= n_frames < 1 << 48 else None

    def read(self, n_frames: int) -> NDArray[np.float32]:
        """As `Sound.read`."""
        try:
            pcm: NDArray[np.float32] = self._file.read(n_frames, dtype="float32", always_2d=True)
        except self._error as error:
            raise WireError(getattr(error, "error_string", str(error)).rstrip(".")) from error
        return pcm

    def close(self) -> None:
        """As `Sound.close`."""
        self._file.close()


class RawPcmReader:
    """Mono s16le PCM from a pipe or a file: what is there is given at once, so that nothing waits for a full block.

    Parameters
    ----------
    descriptor
        Open file descriptor; it stays open.
    sample_rate_hz
        Samples per second.
    """

    n_channels = 1
    duration_s: float | None = None

    def __init__(self, descriptor: int, sample_rate_hz: float) -> None:
        self._descriptor = descriptor
        self.sample_rate_hz = sample_rate_hz
        self._odd = b""

    def read(self, n_frames: int) -> NDArray[np.float32]:
        """As `Sound.read`; waits for at least one sample. Half a sample at the end is left out."""
        piece = b""
        while len(piece) < 2:
            received = os.read(self._descriptor, min(2 * n_frames, _PIECE_BYTES))
            if not received:
                return np.zeros((0, 1), np.float32)
            piece = self._odd + received
            self._odd = piece if len(piece) < 2 else b""
        n_whole = len(piece) // 2
        self._odd = piece[2 * n_whole :]
        samples = np.frombuffer(piece, "<i2", count=n_whole)
        return (samples.astype(np.float32) * np.float32(1 / 32768)).reshape(n_whole, 1)

    def close(self) -> None:
        """Do nothing: whoever opened the descriptor closes it."""


def open_sound_file(path: Path) -> Sound:
    """Open a file of any format.

    Parameters
    ----------
    path
        A file or a named pipe.

    Raises
    ------
    OSError
        If it cannot be opened.
    WireError
        If it is a directory or a device, is empty, or holds no audio that can be read.
    ConfigError
        If its format needs FFmpeg and there is none.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise WireError("is a directory: name the files in it")
    if stat.S_ISFIFO(status.st_mode):
        return _reduced(FfmpegReader(path), path)
    if not stat.S_ISREG(status.st_mode):
        raise WireError("is a device, not a file")
    if status.st_size == 0:
        raise WireError("is empty")
    try:
        return _reduced(LibsndfileReader(path), path)
    except WireError as error:
        reason = str(error)
    try:
        return _reduced(FfmpegReader(path), path)
    except ConfigError as missing:
        raise ConfigError(f"cannot be read by libsndfile ({reason}); {missing}") from missing


def _reduced(sound: Sound, path: Path) -> Sound:
    """Give `sound`, or where its rate is beyond any use the same file at a lower one."""
    if sound.sample_rate_hz <= HIGHEST_RATE_HZ:
        return sound
    sound.close()
    if path.is_fifo():
        raise WireError(f"{sound.sample_rate_hz:g} samples per second is too high for a pipe: save it to a file")
    return FfmpegReader(path, resample_to_hz=REDUCED_RATE_HZ)
