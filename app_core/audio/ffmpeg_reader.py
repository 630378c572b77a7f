"""Audio that only FFmpeg can read, as a stream of PCM from a child process.

FFmpeg writes an AU file to a pipe: a header of a few words that tells rate and channels, then big-endian float32 to
the end. It may open local files only, never a network address, whatever a playlist says.
"""

from __future__ import annotations

import importlib
import os
import struct
import threading
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from app_core.base.child import find_program, open_pipe
from app_core.base.errors import ConfigError, WireError

_AU_HEADER = struct.Struct(">4s5I")
_AU_FLOAT = 6
_LARGEST_AU_HEADER = 65536
_LAST_WORDS_BYTES = 2000


def find_ffmpeg() -> str | None:
    """Give the path of FFmpeg: on the PATH, else the one that the package imageio-ffmpeg carries, else None."""
    found = find_program("ffmpeg")
    if found is not None:
        return found
    try:
        carried: str = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None
    return carried


class FfmpegReader:
    """The first audio stream of a file, decoded by FFmpeg.

    Parameters
    ----------
    path
        A file, or a named pipe.
    resample_to_hz
        Rate that FFmpeg shall bring it to; None for the file's own. [samples per second]

    Attributes
    ----------
    sample_rate_hz, n_channels
        Of what `read` gives.
    duration_s
        None: it is not known before the end.

    Raises
    ------
    ConfigError
        If there is no FFmpeg.
    LifecycleError
        If FFmpeg cannot be started.
    OSError
        If `path` cannot be opened.
    WireError
        If FFmpeg finds no audio in it.
    """

    duration_s: float | None = None

    def __init__(self, path: Path, *, resample_to_hz: int | None = None) -> None:
        program = find_ffmpeg()
        if program is None:
            raise ConfigError("this format needs FFmpeg, which is not installed: apt-get install ffmpeg")
        self._path = path
        self._last_words = b""
        self._start(program, resample_to_hz)
        try:
            self.sample_rate_hz, self.n_channels = self._read_header()
        except WireError:
            self.close()
            raise

    def _start(self, program: str, resample_to_hz: int | None) -> None:
        # A pipe is handed over open, since names such as /dev/fd/63 mean nothing in the child.
        pipe: IO[bytes] | None = self._path.open("rb") if self._path.is_fifo() else None
        read_end, write_end = os.pipe()
        argv = [program, "-nostdin", "-hide_banner", "-v", "error", "-protocol_whitelist", "file,pipe"]
        argv += ["-i", f"file:{self._path}" if pipe is None else "pipe:0", "-map", "0:a:0"]
        argv += [] if resample_to_hz is None else ["-ar", str(resample_to_hz)]
        argv += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        try:
            self._process = open_pipe(argv, stdin=pipe, stderr=write_end)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
            if pipe is not None:
                pipe.close()
        assert self._process.stdout is not None  # noqa: S101  (open_pipe always makes it)
        self._stdout = self._process.stdout
        # Errors are read at all times, for a child whose errors nobody reads stands still.
        self._listener = threading.Thread(target=self._listen, args=(read_end,), name="FfmpegErrors", daemon=True)
        self._listener.start()

    def _listen(self, read_end: int) -> None:
        with os.fdopen(read_end, "rb", buffering=0) as errors:
            while piece := errors.read(4096):
                self._last_words = (self._last_words + piece)[-_LAST_WORDS_BYTES:]

    def _read_header(self) -> tuple[float, int]:
        header = self._stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            raise WireError(f"no audio that FFmpeg can read ({self._reason()})")
        magic, offset, _, coding, rate_hz, n_channels = _AU_HEADER.unpack(header)
        if magic != b".snd" or coding != _AU_FLOAT or n_channels < 1 or offset > _LARGEST_AU_HEADER:
            raise WireError("FFmpeg wrote something else than was asked of it")
        self._stdout.read(offset - _AU_HEADER.size)
        return float(rate_hz), n_channels

    def _reason(self) -> str:
        """Wait for FFmpeg's end and give its last line."""
        self._process.wait()
        self._listener.join()
        lines = self._last_words.decode("utf-8", "replace").strip().splitlines() or ["it gives no reason"]
        return lines[-1].strip().removeprefix(f"file:{self._path}: ")

    def read(self, n_frames: int) -> NDArray[np.float32]:
        """Read on.

        Returns
        -------
        pcm
            Shape (n, n_channels), n = `n_frames` but at the end, where it is less; 0 after the end. [full scale = ±1]

        Raises
        ------
        WireError
            If FFmpeg gave up before the end of the file.
        """
        frame_bytes = 4 * self.n_channels
        chunk = self._stdout.read(n_frames * frame_bytes)
        if not chunk:
            code = self._process.wait()
            if code != 0:
                raise WireError(f"FFmpeg stopped ({self._reason()})")
        n_whole = len(chunk) // frame_bytes
        frames = np.frombuffer(chunk, ">f4", count=n_whole * self.n_channels)
        return frames.astype(np.float32).reshape(n_whole, self.n_channels)

    def close(self) -> None:
        """End FFmpeg if it still runs."""
        self._process.kill()
        self._stdout.close()
        self._process.wait()
        self._listener.join()
