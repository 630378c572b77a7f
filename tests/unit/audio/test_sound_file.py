from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app_core.audio.ffmpeg_reader import FfmpegReader, find_ffmpeg
from app_core.audio.sound_file import REDUCED_RATE_HZ, LibsndfileReader, RawPcmReader, Sound, open_sound_file
from app_core.base.errors import ConfigError, WireError

NEEDS_FFMPEG = pytest.mark.skipif(find_ffmpeg() is None, reason="FFmpeg is not installed")


def noise(n_frames: int, n_channels: int = 1) -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    return (0.2 * rng.standard_normal((n_frames, n_channels))).astype(np.float32)


def read_all(sound: Sound, n_frames: int = 3000) -> NDArray[np.float32]:
    blocks = []
    while len(block := sound.read(n_frames)):
        assert len(block) <= n_frames
        blocks.append(block)
    sound.close()
    return np.concatenate(blocks)


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "FLOAT"), ("w64", "FLOAT"), ("au", "FLOAT")])
def test_every_channel_and_sample_of_a_file_comes_out(tmp_path: Path, suffix: str, subtype: str) -> None:
    pcm = noise(10_001, 3)
    path = tmp_path / f"three.{suffix}"
    soundfile.write(path, pcm, 16_000, subtype=subtype)
    sound = open_sound_file(path)
    assert (sound.sample_rate_hz, sound.n_channels, sound.duration_s) == (16_000.0, 3, 10_001 / 16_000)
    np.testing.assert_array_equal(read_all(sound), pcm)


def test_an_mp3_sounds_the_same_in_blocks_as_in_one_piece(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(60_000)[:, 0], 22_050)
    whole = read_all(LibsndfileReader(path), 1 << 20)
    blocks = read_all(LibsndfileReader(path), 1000)
    assert whole.shape == blocks.shape
    # libmpg123 rounds differently by a unit where a block ends within a frame.
    np.testing.assert_allclose(blocks, whole, atol=1e-6)


def test_a_name_says_nothing_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "-rate.raw"
    soundfile.write(path, noise(100), 8_000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read_all(open_sound_file(path)), noise(100))


def test_a_wav_that_was_cut_is_read_to_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, noise(5000), 8_000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:-3001])
    assert len(read_all(open_sound_file(path))) == 3499


def test_a_flac_that_was_damaged_is_never_read_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, noise(50_000), 8_000)
    path.write_bytes(path.read_bytes()[:40_000])
    sound = open_sound_file(path)
    n_frames = 0
    with pytest.raises(WireError):
        while len(block := sound.read(4000)):
            n_frames += len(block)
    assert n_frames >= 4000
    sound.close()


def test_what_is_no_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    with pytest.raises(WireError, match="is a directory"):
        open_sound_file(tmp_path)
    with pytest.raises(WireError, match="is empty"):
        open_sound_file(tmp_path / "empty.wav")
    with pytest.raises(WireError, match="is a device"):
        open_sound_file(Path("/dev/zero"))
    with pytest.raises(FileNotFoundError):
        open_sound_file(tmp_path / "missing.wav")


@NEEDS_FFMPEG
def test_a_text_is_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("Tornado warning. " * 100)
    with pytest.raises(WireError, match="Invalid data"):
        open_sound_file(path)


@NEEDS_FFMPEG
def test_ffmpeg_reads_what_libsndfile_cannot(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(9000, 2), 16_000, subtype="PCM_16")
    path = tmp_path / "http: a|b.mka"
    subprocess.run(
        [str(find_ffmpeg()), "-v", "error", "-i", "a.wav", "-c:a", "pcm_s16le", f"file:{path}"],
        cwd=tmp_path,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    with pytest.raises(WireError):
        LibsndfileReader(path)
    sound = open_sound_file(path)
    assert (sound.sample_rate_hz, sound.n_channels) == (16_000.0, 2)
    np.testing.assert_array_equal(read_all(sound), read_all(LibsndfileReader(tmp_path / "a.wav")))


@NEEDS_FFMPEG
def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(9000), 16_000, subtype="PCM_16")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes((tmp_path / "a.wav").read_bytes()))
    writer.start()
    pcm = read_all(open_sound_file(pipe))
    writer.join()
    np.testing.assert_array_equal(pcm, read_all(LibsndfileReader(tmp_path / "a.wav")))


@NEEDS_FFMPEG
def test_a_rate_beyond_all_use_is_brought_down(tmp_path: Path) -> None:
    path = tmp_path / "fast.wav"
    soundfile.write(path, noise(38_400), 384_000)
    sound = open_sound_file(path)
    assert sound.sample_rate_hz == REDUCED_RATE_HZ
    assert len(read_all(sound)) == pytest.approx(4800, abs=10)


@NEEDS_FFMPEG
@pytest.mark.parametrize("name", ["http:a.wav", "-a.wav", "concat:a|b.wav"])
def test_a_name_is_never_an_address_or_an_option_of_ffmpeg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / name, noise(100), 8_000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(read_all(FfmpegReader(Path(name))), noise(100))


@NEEDS_FFMPEG
def test_ffmpeg_ends_when_nobody_reads_on_even_while_it_waits(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(600_000), 8_000, subtype="PCM_16")
    os.mkfifo(tmp_path / "pipe")
    released = threading.Event()

    def write_half_and_hold() -> None:
        with (tmp_path / "pipe").open("wb") as pipe:
            pipe.write((tmp_path / "a.wav").read_bytes()[:1_000_000])
            pipe.flush()
            released.wait(30.0)

    writer = threading.Thread(target=write_half_and_hold)
    writer.start()
    sound = FfmpegReader(tmp_path / "pipe")
    # Nearly all that was sent: from here FFmpeg waits for more.
    assert len(sound.read(490_000)) == 490_000
    closer = threading.Thread(target=sound.close)
    closer.start()
    closer.join(10.0)
    is_closed = not closer.is_alive()
    released.set()
    writer.join()
    closer.join()
    assert is_closed


def test_without_ffmpeg_the_line_to_type_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A ")
    assert shutil.which("ffmpeg") is None
    with pytest.raises(ConfigError, match="apt-get install ffmpeg"):
        open_sound_file(path)


def test_raw_pcm_comes_as_soon_as_it_is_there_however_it_is_cut() -> None:
    read_end, write_end = os.pipe()
    sound = RawPcmReader(read_end, 8_000.0)
    samples = np.array([0, 1, -1, 32767, -32768], "<i2")
    sent = samples.tobytes()
    received = []
    for piece in (sent[:3], sent[3:4], sent[4:7], sent[7:]):
        os.write(write_end, piece)
        received.append(sound.read(4096))
    os.write(write_end, b"\x7f")
    os.close(write_end)
    assert len(sound.read(4096)) == 0
    os.close(read_end)
    np.testing.assert_array_equal(np.concatenate(received)[:, 0], samples / np.float32(32768))
    assert len(received[0]) == 1
