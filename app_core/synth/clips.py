"""Stored modulation: what is slow to make is made once, and kept as WAV files in a cache folder.

A clip is modulation as `modulation.modulate` gives it: int16 at `LOW_RATE_HZ`. Its file is mapped and not read, so that
an hour of audio costs no memory. A file's name is a hash of all that its content depends on; files appear by renaming,
so that two programs may share a folder. Without a folder that can be written, clips live in memory.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import wave
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import ConfigError
from app_core.synth.modulation import HIGHEST_RATE_HZ, LOW_RATE_HZ, LOWEST_RATE_HZ, Modulator, modulate
from app_core.synth.speech import speak, speech_engine

log = logging.getLogger(__name__)

_FORM = "1"
"""To be changed with anything that changes the content of a clip for the same source."""

_WAV_HEADER_BYTES = 44
_BLOCK_FRAMES = 65_536


def default_cache_folder() -> Path | None:
    """Give ``$XDG_CACHE_HOME/herald/synth``, by default below ``~/.cache``; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "herald" / "synth"
    try:
        return Path.home() / ".cache" / "herald" / "synth"
    except RuntimeError:
        return None


class ClipStore:
    """Makes clips, and keeps them.

    Parameters
    ----------
    folder
        Where files are kept; it is made when the first clip is. None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def speech(self, text: str, voice: str) -> NDArray[np.int16]:
        """Give the clip of a spoken text, shape (n,). [MODULATION_STEP]"""
        name = self._name("speech", speech_engine(), voice, text)
        return self._clip(name, lambda: iter((modulate(*speak(text, voice)),)))

    def recording(self, path: Path) -> NDArray[np.int16]:
        """Give the clip of an audio file, shape (n,); several channels are mixed to one. [MODULATION_STEP]

        Raises
        ------
        ConfigError
            If the file cannot be read as audio, is empty, or has a rate that cannot be taken.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise ConfigError(f"cannot read the audio file {path}: {error.strerror}") from error
        name = self._name("recording", str(path.resolve()), str(status.st_size), str(status.st_mtime_ns))
        return self._clip(name, lambda: _modulate_file(path))

    @staticmethod
    def _name(kind: str, *content: str) -> str:
        digest = hashlib.sha256("\0".join((_FORM, kind, *content)).encode()).hexdigest()
        return f"{kind}-{digest[:24]}.wav"

    def _clip(self, name: str, make: Callable[[], Iterator[NDArray[np.int16]]]) -> NDArray[np.int16]:
        if self._folder is not None:
            kept = _map_wav(self._folder / name)
            if kept is not None:
                return kept
            try:
                _write_wav(self._folder / name, make())
            except OSError as error:
                log.warning("cannot keep audio in %s (%s): it stays in memory", self._folder, error.strerror)
                self._folder = None
            else:
                written = _map_wav(self._folder / name)
                if written is not None:
                    return written
        return np.concatenate((*make(), np.zeros(0, np.int16)))


def _modulate_file(path: Path) -> Iterator[NDArray[np.int16]]:
    # libsndfile costs memory and start-up time, and most stations play no file.
    import soundfile

    try:
        with soundfile.SoundFile(path) as audio:
            if not LOWEST_RATE_HZ <= audio.samplerate <= HIGHEST_RATE_HZ or audio.frames == 0:
                raise ConfigError(f"{path}: {audio.frames} samples at {audio.samplerate} Hz cannot be put on the air")
            modulator = Modulator(audio.samplerate)
            for frames in audio.blocks(blocksize=_BLOCK_FRAMES, dtype="float32", always_2d=True):
                yield modulator.push(np.nan_to_num(frames.mean(axis=1, dtype=np.float32)))
            yield modulator.flush()
    except soundfile.LibsndfileError as error:
        raise ConfigError(f"{path} cannot be read as audio: {error}") from error


def _write_wav(path: Path, pieces: Iterable[NDArray[np.int16]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        unfinished = Path(file.name)
        try:
            with wave.open(file, "wb") as wav:
                wav.setnchannels(1)
                wav.setsampwidth(2)
                wav.setframerate(LOW_RATE_HZ)
                for piece in pieces:
                    wav.writeframesraw(piece.astype("<i2").tobytes())
            file.close()
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def _map_wav(path: Path) -> NDArray[np.int16] | None:
    """Map a clip that `_write_wav` wrote, shape (n,), n >= 1; None if there is none, or it is damaged."""
    try:
        with wave.open(str(path), "rb") as wav:
            form = (wav.getnchannels(), wav.getsampwidth(), wav.getframerate())
            n_samples = wav.getnframes()
        whole = path.stat().st_size == _WAV_HEADER_BYTES + 2 * n_samples
    except (OSError, EOFError, wave.Error):
        return None
    if form != (1, 2, LOW_RATE_HZ) or not whole or n_samples == 0:
        return None
    return np.asarray(np.memmap(path, dtype="<i2", mode="r", offset=_WAV_HEADER_BYTES))
