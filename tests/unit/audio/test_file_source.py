"""A file as a source: at its own speed, once or again and again."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.audio.ingest_config import FileSettings
from tests.support.programs import eventually, require_program
from tests.unit.audio.ingest import Sink, frequency_of, listening, tone
from tests.unit.audio.recordings import RATE_HZ, TEST, spoken


@pytest.fixture(autouse=True)
def ffmpeg() -> str:
    return require_program("ffmpeg")


def test_a_file_is_heard_whole_at_its_own_speed_and_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "-drill:1.wav"
    soundfile.write(path, tone(3.0, 24_000), 24_000, subtype="PCM_16")
    sink = Sink()
    with listening(FileSettings(id="drill", type="file", path=path), sink) as source:
        eventually(lambda: sink.is_finished, "the end")
        time.sleep(0.3)
        status = source.status()
        assert source.is_alive
    assert (status["ended"], status["connected"], status["reconnects"]) == (True, False, 0)
    # Exactly what is in the file, and not faster than it was spoken.
    np.testing.assert_allclose(sink.pcm(), soundfile.read(path, dtype="float32")[0], atol=1e-4)
    assert sink.blocks[-1].timestamp - sink.blocks[0].timestamp == pytest.approx(2.9, abs=0.25)
    sink.check()
    assert not caplog.messages


def test_a_message_in_a_file_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, spoken(), RATE_HZ)
    sink = Sink()
    with listening(FileSettings(id="drill", type="file", path=path, sample_rate_hz=16_000), sink):
        eventually(lambda: sink.is_finished, "the end", 40.0)
    assert sink.headers == [TEST]


def test_a_file_is_repeated_without_a_break(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    # A whole number of periods.
    soundfile.write(path, tone(1.0, 24_000), 24_000, subtype="PCM_16")
    sink = Sink()
    with listening(FileSettings(id="drill", type="file", path=path, repeat=True), sink):
        eventually(lambda: sink.seconds > 2.5, "the third time")
    assert len(sink.epochs) == 1
    assert frequency_of(sink.pcm(), 24_000.0) == pytest.approx(1000.0, abs=0.1)


def test_a_file_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "later.wav"
    sink = Sink()
    with listening(FileSettings(id="drill", type="file", path=path), sink) as source:
        eventually(lambda: source.status()["last_error"] == "there is no such file", "the complaint")
        soundfile.write(tmp_path / "now.wav", tone(0.5, 24_000), 24_000)
        (tmp_path / "now.wav").rename(path)
        eventually(lambda: sink.is_finished, "its end")
    assert sink.seconds == pytest.approx(0.5, abs=0.01)


def test_a_file_without_audio_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("no audio\n")
    with listening(FileSettings(id="drill", type="file", path=path), Sink()) as source:
        eventually(lambda: source.status()["last_error"].startswith("FFmpeg: "), "the complaint")
        assert "Invalid data" in source.status()["last_error"]
