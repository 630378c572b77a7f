"""Clips are made once, kept as WAV files, and made again when a file is not what it should be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.base.errors import ConfigError
from app_core.synth.clips import ClipStore, default_cache_folder
from app_core.synth.modulation import LOW_RATE_HZ, MODULATION_STEP


def tone_file(path: Path, rate_hz: int, level: float = 1.0, seconds: float = 2.0, channels: int = 1) -> Path:
    """Write a 1 kHz tone."""
    pcm = level * np.sin(2.0 * np.pi * 1_000.0 * np.arange(round(rate_hz * seconds)) / rate_hz)
    soundfile.write(path, np.repeat(pcm[:, np.newaxis], channels, axis=1), rate_hz, subtype="FLOAT")
    return path


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (44_100, 2), (48_000, 1)])
def test_a_recording_of_any_rate_has_the_deviation_of_its_level(tmp_path: Path, rate_hz: int, channels: int) -> None:
    clip = ClipStore(None).recording(tone_file(tmp_path / "tone.wav", rate_hz, channels=channels))
    assert clip.size == 2 * LOW_RATE_HZ
    modulation = clip[1_000:-1_000] * MODULATION_STEP
    assert np.sqrt(2.0 * np.mean(np.square(modulation))) == pytest.approx(1.0, rel=0.01)


def test_a_recording_longer_than_a_block_is_unbroken(tmp_path: Path) -> None:
    clip = ClipStore(tmp_path).recording(tone_file(tmp_path / "tone.wav", 48_000, 0.5, seconds=5.0))
    spectrum = np.abs(np.fft.rfft(clip[12_500:112_500].astype(np.float64)))
    assert spectrum.argmax() == 4_000
    assert np.delete(spectrum, 4_000).max() < 1e-3 * spectrum[4_000]


def test_the_second_time_the_kept_file_is_used(tmp_path: Path) -> None:
    source = tone_file(tmp_path / "tone.wav", 8_000)
    folder = tmp_path / "deep" / "cache"
    first = ClipStore(folder).recording(source)
    (kept,) = folder.iterdir()
    with kept.open("r+b") as file:
        file.seek(44 + 2 * 300)
        file.write(np.int16(-12_345).tobytes())
    second = ClipStore(folder).recording(source)
    assert second[300] == -12_345
    assert second.size == first.size


def test_a_recording_that_changed_is_made_anew(tmp_path: Path) -> None:
    store = ClipStore(tmp_path / "cache")
    loud = np.abs(store.recording(tone_file(tmp_path / "tone.wav", 8_000, 0.8))).max()
    changed = tone_file(tmp_path / "tone.wav", 8_000, 0.1)
    os.utime(changed, (1e9, 1e9))
    quiet = np.abs(store.recording(changed)).max()
    assert quiet < 0.2 * loud


@pytest.mark.parametrize("damage", [b"", b"RIFF", b"not a sound file at all, but long enough to be one, perhaps"])
def test_a_damaged_kept_file_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    source = tone_file(tmp_path / "tone.wav", 8_000)
    folder = tmp_path / "cache"
    expected = ClipStore(folder).recording(source).copy()
    (kept,) = folder.iterdir()
    kept.unlink()
    kept.write_bytes(damage)
    np.testing.assert_array_equal(ClipStore(folder).recording(source), expected)


def test_a_truncated_kept_file_is_made_anew(tmp_path: Path) -> None:
    source = tone_file(tmp_path / "tone.wav", 8_000)
    folder = tmp_path / "cache"
    n_samples = ClipStore(folder).recording(source).size
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(whole[:-1_000])
    assert ClipStore(folder).recording(source).size == n_samples


def test_a_folder_that_cannot_be_made_costs_nothing_but_the_keeping(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    clip = ClipStore(tmp_path / "file" / "cache").recording(tone_file(tmp_path / "tone.wav", 8_000))
    assert clip.size == 2 * LOW_RATE_HZ
    assert "stays in memory" in caplog.text


def test_nothing_unfinished_stays_in_the_folder(tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF but no sound")
    folder = tmp_path / "cache"
    with pytest.raises(ConfigError, match="cannot be read as audio"):
        ClipStore(folder).recording(broken)
    assert list(folder.iterdir()) == []


def test_recordings_without_samples_or_with_an_odd_rate_are_refused(tmp_path: Path) -> None:
    for path, rate_hz, seconds in ((tmp_path / "empty.wav", 8_000, 0.0), (tmp_path / "slow.wav", 2_000, 1.0)):
        tone_file(path, rate_hz, seconds=seconds)
        with pytest.raises(ConfigError, match="cannot be put on the air"):
            ClipStore(None).recording(path)
    with pytest.raises(ConfigError, match="cannot read the audio file"):
        ClipStore(None).recording(tmp_path / "gone.wav")


def test_speech_differs_with_its_text_and_voice(tmp_path: Path) -> None:
    store = ClipStore(tmp_path)
    clips = [
        store.speech(*said) for said in (("One demo.", "en-us"), ("Two demos.", "en-us"), ("One demo.", "en-us+f3"))
    ]
    assert len({clip.tobytes() for clip in clips}) == 3
    assert len(list(tmp_path.iterdir())) == 3
    np.testing.assert_array_equal(store.speech("One demo.", "en-us"), clips[0])


def test_the_default_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert default_cache_folder() == Path("/var/cache/me/herald/synth")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_cache_folder() == Path("/home/me/.cache/herald/synth")
