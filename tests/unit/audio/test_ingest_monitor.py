"""A source that is watched: what the keeper and Redis get of it, and what becomes of one that died."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app_core.audio.ingest_config import FileSettings
from app_core.audio.ingest_monitor import IngestMonitor
from app_core.base.blocks import PcmBlock
from app_core.bridge import keys
from app_core.bridge.pcm_frame import decode_pcm
from app_core.eas.events import HeaderDecoded, SameEvent
from tests.unit.audio.ingest import tone
from tests.unit.audio.recordings import TEST, spoken

RATE_HZ = 24_000


class _Keeper:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.headers: list[tuple[str, str, str]] = []
        self.seconds = 0.0

    def on_pcm(self, channel_id: str, block: PcmBlock) -> None:
        assert channel_id == "mirror"
        self.seconds += len(block.pcm) / block.sample_rate_hz

    def on_events(
        self, channel_id: str, receiver_id: str, events: list[SameEvent], to_utc: Callable[[int], float]
    ) -> None:
        decoded = [event.header.text for event in events if isinstance(event, HeaderDecoded)]
        self.headers += [(channel_id, receiver_id, text) for text in decoded]

    def end_channel(self, channel_id: str) -> None:
        pass


class _Watched:
    """A watched source that is never started: a test gives the audio."""

    def __init__(self, loudness_lufs: float | None = None) -> None:
        self.keeper = _Keeper()
        self.frames: list[tuple[str, bytes]] = []
        settings = FileSettings(
            id="mirror", type="file", path=Path("a.wav"), name="The mirror", loudness_lufs=loudness_lufs
        )
        self.monitor = IngestMonitor(settings, self.keeper, lambda *frame: self.frames.append(frame))

    def play(self, pcm: np.ndarray[tuple[int], np.dtype[np.float32]], epoch: int = 1) -> None:
        for start in range(0, len(pcm), 2_400):
            timestamp = 1.75e9 + epoch * 1000 + start / RATE_HZ
            block = PcmBlock(pcm[start : start + 2_400], float(RATE_HZ), start, timestamp, epoch)
            self.monitor.take(block)

    def published(self) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        assert {channel for channel, _ in self.frames} == {keys.pcm("mirror")}
        return np.concatenate([decode_pcm(frame).pcm for _, frame in self.frames])


def test_what_is_heard_goes_to_the_keeper_and_what_is_played_to_redis() -> None:
    watched = _Watched()
    pcm = spoken(rate_hz=RATE_HZ)
    watched.play(pcm)
    watched.monitor.finish()
    assert watched.keeper.headers == [("mirror", "mirror", TEST)]
    assert watched.keeper.seconds == pytest.approx(len(pcm) / RATE_HZ)
    np.testing.assert_allclose(watched.published(), pcm, atol=1e-4)
    status = watched.monitor.status()
    assert (status["name"], status["receiver_id"], status["running"]) == ("The mirror", "", True)
    assert (status["source"], status["source_type"]) == ("FileSource", "file")
    assert (status["headers_decoded"], status["last_header"], status["lost_samples"]) == (1, TEST, 0)
    assert status["audited_s"] == pytest.approx(len(pcm) / RATE_HZ, abs=0.1)
    assert status["last_pcm_age_s"] < 20.0


def test_before_any_audio_there_is_none() -> None:
    status = _Watched().monitor.status()
    assert (status["running"], status["last_pcm_age_s"], status["connected"]) == (False, None, False)


def test_what_is_pending_is_decided_at_the_end() -> None:
    watched = _Watched()
    pcm = spoken(rate_hz=RATE_HZ)
    # Up to just behind the first burst: the decoder waits for what may still come.
    watched.play(pcm[: round((0.5 + (len(TEST) + 16) * 8 / 520.83 + 0.02) * RATE_HZ)])
    assert watched.keeper.headers == []
    watched.monitor.finish()
    assert watched.keeper.headers == [("mirror", "mirror", TEST)]


def test_loudness_is_leveled_for_listeners_and_not_for_the_decoder() -> None:
    quiet = (0.05 * tone(12.0, RATE_HZ)).astype(np.float32)
    watched = _Watched(loudness_lufs=-16.0)
    watched.play(quiet)
    played = watched.published()
    assert np.abs(played[-RATE_HZ:]).max() > 3 * np.abs(quiet).max()
    assert watched.keeper.seconds == pytest.approx(12.0)


def test_a_source_that_died_gets_a_successor_and_a_decoder_without_its_past() -> None:
    watched = _Watched()
    watched.play(spoken(rate_hz=RATE_HZ))
    died = watched.monitor.source
    watched.monitor.renew()
    assert watched.monitor.source is not died
    assert watched.monitor.status()["headers_decoded"] == 0
    watched.play(spoken(rate_hz=RATE_HZ), epoch=2)
    assert watched.monitor.status()["headers_decoded"] == 1
