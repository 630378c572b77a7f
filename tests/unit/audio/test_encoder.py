from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from app_core.audio import encoder as encoder_module
from app_core.audio.broadcast_queue import BroadcastQueue
from app_core.audio.codecs import MP3, OPUS, Codec
from app_core.audio.encoder import FfmpegEncoder, s16_bytes
from app_core.audio.ffmpeg_process import STDERR_LINES, ErrorLines
from app_core.base.blocks import PcmBlock
from tests.support.programs import eventually, require_program
from tests.support.tone_source import ToneSource, decode_stream


def pcm_block(n: int = 2400, first_sample: int = 0) -> PcmBlock:
    return PcmBlock(np.zeros(n, np.float32), 24_000.0, first_sample, 0.0, 0)


class Running:
    def __init__(self, codec: Codec, **options: object) -> None:
        self.queue = BroadcastQueue("wx")
        self.pieces: list[bytes] = []
        self.fresh_at: list[int] = []
        self.encoder = FfmpegEncoder(
            "wx",
            codec,
            self.queue.subscribe("encoder", 5.0),
            self.pieces.append,
            on_fresh=lambda: self.fresh_at.append(len(self.pieces)),
            **options,  # type: ignore[arg-type]
        )

    @property
    def encoded(self) -> bytes:
        return b"".join(self.pieces)

    def wait_for_output(self) -> None:
        before = len(self.pieces)
        eventually(lambda: len(self.pieces) > before, "output")


@contextmanager
def running(codec: Codec = MP3, **options: object) -> Iterator[Running]:
    require_program("ffmpeg")
    run = Running(codec, **options)
    with run.encoder:
        yield run


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace FFmpeg by a shell script."""

    def install(script: str) -> None:
        program = tmp_path / "ffmpeg"
        program.write_text("#!/bin/sh\n" + script, encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(encoder_module, "find_ffmpeg", lambda: str(program))

    return install


def test_audio_becomes_16_bits_clipped_and_without_nonsense() -> None:
    pcm = np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, np.nan, np.inf, -np.inf], np.float32)
    samples = np.frombuffer(s16_bytes(pcm), "<i2")
    assert samples.tolist() == [0, 32767, -32767, 32767, -32767, 16384, 0, 32767, -32767]
    assert np.isnan(pcm[6])


def test_stereo_goes_out_in_turn() -> None:
    pcm = np.array([[0.5, -0.5], [0.25, -0.25]], np.float32)
    assert np.frombuffer(s16_bytes(pcm), "<i2").tolist() == [16384, -16384, 8192, -8192]


def test_silence_comes_at_once_while_the_source_has_said_nothing() -> None:
    with running() as run:
        run.wait_for_output()
        assert run.encoder.is_starving
        assert run.encoder.status()["silence_s"] > 0.0


def test_without_silence_a_source_that_says_nothing_has_no_stream() -> None:
    with running(starved_after_s=None) as run:
        eventually(lambda: run.encoder.pid is not None, "FFmpeg")
        assert not run.encoder.is_starving
        assert run.pieces == []


def test_a_change_of_format_gives_a_fresh_stream_and_loses_no_audio() -> None:
    with running(starved_after_s=None) as run:
        for number in range(10):
            run.queue.put(pcm_block(2400, number * 2400))
        eventually(lambda: run.encoder.status()["fed_s"] > 0.99, "a second of audio")
        stereo = PcmBlock(np.zeros((48_000, 2), np.float32), 48_000.0, 0, 0.0, 1)
        run.queue.put(stereo)
        eventually(lambda: run.encoder.status()["channels"] == 2, "the other format")
        eventually(lambda: len(run.fresh_at) == 2, "a fresh stream")
        run.encoder.start_anew()
        eventually(lambda: len(run.fresh_at) == 2 and run.encoder.status()["fed_s"] > 1.9, "all of it")
        first = b"".join(run.pieces[: run.fresh_at[1]])
        assert len(decode_stream(first)) / 48_000 == pytest.approx(1.0, abs=0.1)
        assert run.encoder.restarts == 0


@pytest.mark.parametrize("codec", [MP3, OPUS], ids=lambda codec: codec.name)
def test_a_killed_ffmpeg_is_replaced_and_what_waited_is_heard(codec: Codec) -> None:
    with running(codec) as run, ToneSource(run.queue.put):
        run.wait_for_output()
        pid = run.encoder.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: run.encoder.restarts == 1, "its loss")
        eventually(lambda: len(run.fresh_at) == 2, "a fresh stream")
        status = run.encoder.status()
        assert "killed by signal 9" in status["last_error"]
        after = b"".join(run.pieces[run.fresh_at[1] :])
        assert after.startswith(b"OggS" if codec.is_ogg else b"\xff")


def test_an_asked_for_restart_carries_the_new_title() -> None:
    with running(OPUS, title="Before") as run, ToneSource(run.queue.put):
        eventually(lambda: b"Before" in run.encoded, "the first title")
        run.encoder.start_anew("After")
        eventually(lambda: b"After" in run.encoded, "the other title")
        assert run.encoder.restarts == 0


def test_a_frozen_ffmpeg_is_replaced() -> None:
    with running(mute_after_s=1.0) as run, ToneSource(run.queue.put):
        run.wait_for_output()
        pid = run.encoder.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: run.encoder.restarts >= 1, "its loss")
        eventually(lambda: run.encoder.pid not in (None, pid), "another one")
        assert "no output for 1 s" in " ".join(run.encoder.status()["stderr"])


def test_the_last_words_of_ffmpeg_are_kept(fake_ffmpeg: Callable[[str], None]) -> None:
    fake_ffmpeg("i=0; while [ $i -lt 80 ]; do i=$((i+1)); echo line $i >&2; done; exit 3\n")
    run = Running(MP3)
    with run.encoder:
        eventually(lambda: run.encoder.restarts >= 2, "two of its ends")
        status = run.encoder.status()
        assert len(status["stderr"]) == STDERR_LINES
        assert status["stderr"][-1] == "line 80"
        assert status["last_error"] == "FFmpeg ended with exit code 3: line 80"


def test_errors_that_nobody_reads_would_stop_it_and_do_not(fake_ffmpeg: Callable[[str], None]) -> None:
    fake_ffmpeg("head -c 1000000 /dev/zero | tr '\\0' 'x' | fold -w 100 >&2; exec cat\n")
    run = Running(MP3)
    with run.encoder:
        run.wait_for_output()


def test_a_machine_without_ffmpeg_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "find_ffmpeg", lambda: None)
    run = Running(MP3)
    with run.encoder:
        eventually(lambda: "apt-get install ffmpeg" in run.encoder.status()["last_error"], "the advice")


def test_a_write_never_waits_for_an_ffmpeg_that_reads_nothing(fake_ffmpeg: Callable[[str], None]) -> None:
    fake_ffmpeg("exec sleep 60\n")
    run = Running(MP3, mute_after_s=60.0)
    with run.encoder:
        eventually(lambda: run.encoder.pid is not None, "the process")
        for number in range(200):
            run.queue.put(pcm_block(2400, number * 2400))
        eventually(lambda: run.queue.status()["encoder"]["depth_s"] > 3.0, "audio that waits")
        assert run.queue.status()["encoder"]["dropped_count"] > 0
        run.encoder.stop(5.0)
        assert not run.encoder.is_alive


class FullPipe:
    """An FFmpeg that takes and gives nothing."""

    has_ended = False
    pid = 0

    def write(self, pcm: memoryview) -> int:
        return 0

    def read(self) -> bytes:
        return b""


class TakingAll(FullPipe):
    def write(self, pcm: memoryview) -> int:
        return len(pcm)


class CountedWaits(threading.Event):
    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout)
        return False


def test_a_full_pipe_is_looked_at_again_after_a_pause() -> None:
    run = Running(MP3)
    run.encoder._ffmpeg = FullPipe()  # type: ignore[assignment]
    stopping = CountedWaits()
    run.queue.put(pcm_block())
    for _ in range(5):
        run.encoder._turn(stopping)
    # The first turn takes the block, for which it has waited already.
    assert stopping.waits_s == [encoder_module._FULL_WAIT_S] * 4


def test_silence_goes_on_after_the_source_has_closed() -> None:
    with running() as run:
        run.wait_for_output()
        run.encoder._subscription.close()
        before_s = run.encoder.status()["silence_s"]
        eventually(lambda: run.encoder.status()["silence_s"] > before_s + 0.5, "more silence")


def paused(*, re_flag: bool) -> Running:
    """Give an encoder, of which no thread runs, that has put three seconds of silence in."""
    run = Running(MP3, re_flag=re_flag)
    run.encoder._ffmpeg = TakingAll()  # type: ignore[assignment]
    run.encoder._heard_s = time.monotonic() - 3600.0
    for _ in range(3):
        run.encoder._feed_silence()
    return run


@pytest.mark.parametrize(("re_flag", "skipped_s"), [(True, 2.6), (False, 0.0)])
def test_what_was_held_back_is_skipped_where_nothing_can_catch_up(re_flag: bool, skipped_s: float) -> None:
    run = paused(re_flag=re_flag)
    for number in range(31):
        run.queue.put(pcm_block(2400, 2400 * number))
    for _ in range(31):
        run.encoder._turn(threading.Event())
    status = run.encoder.status()
    assert status["skipped_s"] == pytest.approx(skipped_s, abs=0.11)
    assert status["fed_s"] + status["skipped_s"] == pytest.approx(3.1)
    assert run.queue.status()["encoder"]["depth_s"] == 0.0


def test_no_more_is_skipped_than_there_was_silence() -> None:
    run = paused(re_flag=True)
    for number in range(49):
        run.queue.put(pcm_block(2400, 2400 * number))
    for _ in range(49):
        run.encoder._turn(threading.Event())
    assert run.encoder.status()["skipped_s"] == pytest.approx(3.0, abs=0.11)


def test_what_comes_anew_after_a_silence_is_heard() -> None:
    run = paused(re_flag=True)
    for number in range(50):
        run.queue.put(pcm_block(2400, 2400 * number))
        run.encoder._turn(threading.Event())
    assert (run.encoder.status()["skipped_s"], run.encoder.status()["fed_s"]) == (0.0, pytest.approx(5.0))


def test_silence_of_hours_is_made_a_second_at_a_time() -> None:
    run = Running(MP3)
    run.encoder._heard_s = time.monotonic() - 7200.0
    for n_pieces in range(1, 4):
        run.encoder._feed_silence()
        assert len(run.encoder._pending) == 2 * 24_000
        assert run.encoder.status()["silence_s"] == n_pieces


def test_the_subscription_ends_with_the_encoder() -> None:
    with running() as run:
        eventually(lambda: run.encoder.pid is not None, "FFmpeg")
    assert run.queue.status() == {}
    assert run.encoder.pid is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("Encoder-")]


def test_the_cause_is_told_and_not_what_came_of_it() -> None:
    errors = ErrorLines()
    errors.take(b"[alsa @ 0x1] cannot open audio device hw:1,0 (Device or resource busy)\nConversion failed!\n")
    errors.begin()
    assert errors.cause() == "Conversion failed!"
    errors.take(
        b"[Parsed_pan_0 @ 0x55d5] [SWR @ 0x1] Input channel layout has another number of channels, ignoring layout\n"
        b"[alsa @ 0x55e] cannot open audio device hw:9,9 (No such file or directory)\n"
        b"Could not write header for output file #0\n"
        b"Error initializing output stream 0:0 -- \n"
    )
    assert errors.cause() == "[alsa @ 0x55e] cannot open audio device hw:9,9 (No such file or directory)"
    assert not [line for line in errors.lines if "Parsed_pan" in line]
    assert errors.last == "Error initializing output stream 0:0 --"


def test_lines_come_whole_however_they_are_cut() -> None:
    errors = ErrorLines()
    for piece in (
        b"first l",
        b"ine\nsecond\rthi",
        b"rd\n\nGuessed Channel Layout for Input Stream #0.0 : mono\n",
        b"x" * 600,
    ):
        errors.take(piece)
    assert errors.lines[:3] == ["first line", "second", "third"]
    assert errors.last == "x" * 500
