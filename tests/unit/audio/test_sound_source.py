"""Sound cards as sources, through ALSA itself: one whose sound is a file, and one that is not there."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from app_core.audio.ingest_config import AlsaSettings, PulseSettings
from app_core.audio.ingest_monitor import make_source
from app_core.audio.sources import AudioSourceType, Pacing
from tests.support.programs import eventually, require_program
from tests.unit.audio.ingest import Sink, frequency_of, listening, tone

_CARD = """
pcm.!radio {{
    type file
    slave.pcm "null"
    file "/dev/null"
    infile "{infile}"
    format "raw"
}}
"""


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the name of an ALSA device that hears a tone of 1 kHz, at 48 kHz in stereo."""
    require_program("ffmpeg")
    pcm = (32767 * np.repeat(tone(20.0, 48_000)[:, None], 2, axis=1)).astype("<i2")
    (tmp_path / "tone.raw").write_bytes(pcm.tobytes())
    configuration = tmp_path / "asound.conf"
    configuration.write_text(_CARD.format(infile=tmp_path / "tone.raw"), encoding="utf-8")
    monkeypatch.setenv("ALSA_CONFIG_PATH", f"/usr/share/alsa/alsa.conf:{configuration}")
    return "radio"


def test_a_sound_card_is_heard(card: str) -> None:
    sink = Sink()
    with listening(AlsaSettings(id="card", type="alsa", device=card, sample_rate_hz=22_050), sink) as source:
        eventually(lambda: sink.seconds > 1.0, "audio")
        assert source.status()["address"] == "alsa:radio"
        assert source.status()["codec"].startswith("pcm_s16le, 48000 Hz, stereo")
    assert frequency_of(sink.pcm(), 22_050.0) == pytest.approx(1000.0, abs=0.1)


def test_a_card_that_is_not_there_is_said_and_tried_again() -> None:
    require_program("ffmpeg")
    with listening(AlsaSettings(id="card", type="alsa", device="hw:77,0"), Sink()) as source:
        eventually(lambda: source.reconnects >= 1, "another try")
        assert source.status()["last_error"].startswith("FFmpeg: ")
        assert not source.status()["connected"]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (AlsaSettings(id="card", type="alsa", device="hw:1,0"), AudioSourceType.ALSA),
        (PulseSettings(id="card", type="pulse", device="usb.monitor"), AudioSourceType.PULSE),
    ],
)
def test_a_card_has_its_own_pace(
    caplog: pytest.LogCaptureFixture, settings: AlsaSettings | PulseSettings, kind: AudioSourceType
) -> None:
    caplog.set_level(logging.INFO)
    source = make_source(settings, Sink())
    assert (source.config.source_type, source.config.pacing) == (kind, Pacing.LIVE)
    assert "-re" not in source._argv("ffmpeg")
    assert caplog.messages == ["NOT using -re flag for SoundCardSource (default)"]
