from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.audio.decode_sound import open_sound_recording
from app_core.audio.heard import Heard
from app_core.audio.sound_file import open_sound_file
from app_core.base.errors import ConfigError
from app_core.eas.encoder import encode_transmission
from app_core.eas.events import AttentionHeard, BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified, SameEvent
from app_core.eas.header import parse_header
from services.decode_plot import FirstMessage, draw_message, read_span, require_matplotlib, spectrogram_dbfs
from tests.support.programs import missing
from tests.unit.audio.recordings import RATE_HZ, TEST, TORNADO
from tests.unit.eas.test_confidence import soft_bits

needs_matplotlib = pytest.mark.usefixtures("matplotlib")


@pytest.fixture(name="matplotlib")
def require_extra() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib")


def height(picture: Path) -> int:
    """Of a PNG. [pixels]"""
    return int.from_bytes(picture.read_bytes()[20:24], "big")


def entry(event: SameEvent, start_s: float, end_s: float, *channels: str) -> Heard:
    return Heard(event, channels or ("mono",), None, start_s, end_s)


def burst(start_s: float, *channels: str, kind: str = "header") -> Heard:
    return entry(BurstHeard(kind, 0, 1, 9.0, 0.0, soft_bits(TEST, 1.0)), start_s, start_s + 1.0, *channels)


def header(text: str, start_s: float, end_s: float, *channels: str) -> Heard:
    return entry(HeaderDecoded(parse_header(text), 0, 1, 2, 1e-9, 9.0, soft_bits(text)), start_s, end_s, *channels)


def test_the_first_message_has_its_bursts_its_tone_and_its_end() -> None:
    message = FirstMessage()
    tone = entry(AttentionHeard("nwr", 0, 1, (1050.0,), -6.0), 110.0, 118.0)
    end = entry(EndOfMessage(0, 1), 130.0, 131.0)
    first = header(TEST, 100.0, 103.0)
    # The burst at 3 s belongs to something that was never decided.
    message.take([burst(3.0), burst(100.0), burst(102.0), first, burst(104.0), tone])
    message.take([end, header(TORNADO, 200.0, 203.0), burst(204.0)])
    assert message.header == first
    assert [one.start_s for one in message.entries] == [100.0, 102.0, 104.0, 110.0, 130.0]
    assert [one.start_s for one in message.bursts] == [100.0, 102.0, 104.0]
    assert message.extent_s == (99.0, 132.0)


def test_only_the_channel_that_said_it_counts() -> None:
    message = FirstMessage()
    message.take([burst(1.0, "left"), burst(1.0, "right"), header(TEST, 1.0, 4.0, "right"), burst(5.0, "left")])
    assert [one.channels for one in message.entries] == [("right",)]


def test_a_doubtful_header_is_a_message_too() -> None:
    message = FirstMessage()
    doubtful = entry(HeaderUnverified(TEST, 0, 1, 3, 0.5, 2.0), 1.0, 6.0)
    message.take([burst(1.0), doubtful])
    assert message.header == doubtful


def test_what_is_kept_and_drawn_is_bounded() -> None:
    message = FirstMessage()
    message.take([burst(float(second)) for second in range(1000)])
    assert len(message.entries) < 50
    assert message.extent_s == (0.0, 90.0)
    message.take([header(TEST, 999.0, 1000.0)])
    message.take([burst(1000.0 + second, kind="end") for second in range(1000)])
    assert len(message.entries) < 50
    begin_s, end_s = message.extent_s
    assert end_s - begin_s <= 90.0


def test_a_span_of_one_channel_is_read(tmp_path: Path) -> None:
    pcm = np.stack([np.arange(200_000), -np.arange(200_000)], axis=1) / 200_000.0
    path = tmp_path / "a.wav"
    soundfile.write(path, pcm, 8000, "FLOAT")
    sound = open_sound_file(path)
    np.testing.assert_allclose(read_span(sound, 1, 10.0, 20.0), pcm[80_000:160_000, 1], atol=1e-6)
    sound.close()
    sound = open_sound_file(path)
    assert len(read_span(sound, 0, 20.0, 99.0)) == 200_000 - 160_000
    sound.close()
    sound = open_sound_file(path)
    assert len(read_span(sound, 0, 50.0, 99.0)) == 0
    sound.close()


@pytest.mark.parametrize("rate_hz", [8000.0, 22_050.0, 48_000.0])
def test_a_spectrogram_shows_a_tone_at_its_place_and_level(rate_hz: float) -> None:
    time_s = np.arange(round(4.0 * rate_hz)) / rate_hz
    pcm = np.where(time_s >= 2.0, 0.1 * np.sin(2.0 * np.pi * 2000.0 * time_s), 0.0).astype(np.float32)
    spectra = spectrogram_dbfs(pcm, rate_hz)
    n_bins, n_columns = spectra.shape
    assert spectra[:, : n_columns // 2 - 20].max() < -100.0
    late = spectra[:, n_columns // 2 + 20 :]
    assert late.max() == pytest.approx(-20.0, abs=0.5)
    # The last bin stands for 4 kHz.
    assert set(late.argmax(axis=0)) <= {round((n_bins - 1) / 2) + step for step in (-1, 0, 1)}


def test_a_spectrogram_of_next_to_nothing_is_drawn_all_the_same() -> None:
    assert spectrogram_dbfs(np.zeros(0, np.float32), 8000.0).shape[1] >= 1
    assert np.isfinite(spectrogram_dbfs(np.full(5000, np.nan, np.float32), 8000.0)).all()


def decoded(path: Path) -> FirstMessage:
    message = FirstMessage()
    recording = open_sound_recording(path)
    for step in recording.steps():
        message.take(step.heard)
    recording.close()
    return message


@needs_matplotlib
@pytest.mark.parametrize("name", ["test.wav", "a $1 _{x.wav"])
def test_a_picture_is_drawn_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    path, picture = tmp_path / name, tmp_path / "why.png"
    soundfile.write(path, encode_transmission(TEST, RATE_HZ).pcm, RATE_HZ)
    draw_message(path, decoded(path), picture)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@needs_matplotlib
def test_soft_bits_and_characters_are_drawn_where_they_are_known(tmp_path: Path) -> None:
    path = tmp_path / "test.wav"
    soundfile.write(path, encode_transmission(TEST, RATE_HZ).pcm, RATE_HZ)
    message = FirstMessage()
    message.take([burst(0.0), burst(2.0), header(TEST, 0.0, 3.0)])
    draw_message(path, message, tmp_path / "with.png")
    message = FirstMessage()
    message.take([entry(HeaderUnverified("", 0, 1, 3, 1.0, 0.0), 0.0, 3.0)])
    draw_message(path, message, tmp_path / "without.png")
    assert height(tmp_path / "with.png") > 1.5 * height(tmp_path / "without.png")


@needs_matplotlib
def test_a_recording_without_a_message_is_drawn_from_its_beginning(tmp_path: Path) -> None:
    path, picture = tmp_path / "noise.wav", tmp_path / "why.png"
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal((20_000, 2)), 8000)
    draw_message(path, FirstMessage(), picture)
    assert picture.stat().st_size > 10_000


@needs_matplotlib
@pytest.mark.parametrize("name", ["nowhere/why.png", "why.nonsense"])
def test_a_picture_that_cannot_be_written_says_why(tmp_path: Path, name: str) -> None:
    path = tmp_path / "test.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    with pytest.raises(ConfigError, match="cannot be written"):
        draw_message(path, FirstMessage(), tmp_path / name)


def test_without_matplotlib_the_line_to_type_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'herald-sdr\[plot\]'"):
        require_matplotlib()
