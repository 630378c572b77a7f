"""What the tests of sources share: a sink that notes audio and headers, and recordings as MP3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from app_core.audio.ingest_config import AnyIngestSettings
from app_core.audio.ingest_monitor import make_source
from app_core.audio.ingest_source import IngestSource
from app_core.base.blocks import PcmBlock
from app_core.base.child import run_quietly
from app_core.eas.events import HeaderDecoded, SameEvent
from app_core.eas.listener import SameListener
from tests.support.programs import require_program


class Sink:
    """Takes a source's audio, and decodes it."""

    def __init__(self) -> None:
        self.blocks: list[PcmBlock] = []
        self.headers: list[str] = []
        self.is_finished = False
        self._decoder: SameListener | None = None

    def take(self, block: PcmBlock) -> None:
        self.blocks.append(block)
        if self._decoder is None:
            self._decoder = SameListener(block.sample_rate_hz)
        self._note(self._decoder.push(block.pcm))

    def finish(self) -> None:
        if self._decoder is not None:
            self._note(self._decoder.finish())
        self.is_finished = True

    @property
    def seconds(self) -> float:
        """Audio that came. [seconds]"""
        return sum(len(block.pcm) / block.sample_rate_hz for block in list(self.blocks))

    @property
    def epochs(self) -> list[int]:
        """The epochs, each once, in their order."""
        return list(dict.fromkeys(block.config_epoch for block in list(self.blocks)))

    def pcm(self) -> NDArray[np.float32]:
        """All audio of the first epoch."""
        epoch = self.epochs[0]
        return np.concatenate([block.pcm for block in self.blocks if block.config_epoch == epoch])

    def check(self) -> None:
        """Check what holds for any source: samples are counted, times do not go back or lie ahead, levels are sane."""
        for before, after in pairwise(self.blocks):
            if before.config_epoch == after.config_epoch:
                assert after.first_sample == before.first_sample + len(before.pcm)
            else:
                assert after.config_epoch > before.config_epoch
                assert after.first_sample == 0
            assert after.timestamp >= before.timestamp
        for block in self.blocks:
            assert block.pcm.dtype == np.float32
            assert block.pcm.ndim == 1
            assert np.abs(block.pcm).max() <= 1.0
            assert block.timestamp + len(block.pcm) / block.sample_rate_hz <= time.time() + 1.0

    def _note(self, events: list[SameEvent]) -> None:
        self.headers += [event.header.text for event in events if isinstance(event, HeaderDecoded)]


@contextmanager
def listening(settings: AnyIngestSettings, sink: Sink) -> Iterator[IngestSource]:
    """Run a source for the length of a block."""
    source = make_source(settings, sink)
    source.start()
    try:
        yield source
    finally:
        source.stop(20.0)
    assert source.failure is None


def encoded(pcm: NDArray[np.float32], rate_hz: int, folder: Path, name: str, *arguments: str) -> bytes:
    """Give audio in the format that `name` ends in, by FFmpeg."""
    wav, path = folder / f"{name}.wav", folder / name
    soundfile.write(wav, pcm, rate_hz, subtype="PCM_16")
    argv = [require_program("ffmpeg"), "-nostdin", "-v", "error", "-y", "-i", str(wav), *arguments, str(path)]
    assert run_quietly(argv, timeout_s=60.0) is not None
    return path.read_bytes()


def tone(seconds: float, rate_hz: int, frequency_hz: float = 1000.0) -> NDArray[np.float32]:
    """A sine at half scale, shape (n,)."""
    phase = 2 * np.pi * frequency_hz * np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(phase)).astype(np.float32)


def frequency_of(pcm: NDArray[np.float32], rate_hz: float) -> float:
    """Give the frequency of a tone by its crossings of zero. [hertz]"""
    rising = np.flatnonzero((pcm[:-1] < 0) & (pcm[1:] >= 0))
    exact = rising + pcm[rising] / (pcm[rising] - pcm[rising + 1])
    return float((len(exact) - 1) * rate_hz / (exact[-1] - exact[0]))
