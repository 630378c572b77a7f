from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.alerts.recorder import PreRoll, Recording
from app_core.base.errors import LinkError
from tests.unit.alerts.full_disk import files_of_at_most


def ramp(n: int, start: int = 1) -> NDArray[np.int16]:
    return (np.arange(start, start + n) % 30_000).astype(np.int16)


def noise(n: int, seed: int = 7) -> NDArray[np.int16]:
    return (np.random.default_rng(seed).standard_normal(n) * 3000).astype(np.int16)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 500))
def test_any_blocks_leave_the_last_seconds_in_memory(lengths: list[int], capacity: int) -> None:
    pre_roll = PreRoll(1.0, capacity)
    everything = ramp(sum(lengths))
    at = 0
    for length in lengths:
        assert pre_roll.append(everything[at : at + length], 1000 + at, 50.0 + at, 1) == at
        at += length
    assert pre_roll.end == at
    assert pre_roll.start == max(0, at - capacity)
    assert np.array_equal(pre_roll.read(pre_roll.start, at), everything[-min(at, capacity) :] if at else everything)
    assert pre_roll.index_at(50.0 + at) == at


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 400)), min_size=1, max_size=12))
def test_lost_samples_are_silence_at_their_place(blocks: list[tuple[int, int]]) -> None:
    pre_roll = PreRoll(1.0, 200)
    line = np.zeros(0, dtype=np.int16)
    for length, gap in blocks:
        pre_roll.append(ramp(length), 7 + len(line), float(len(line)), 1)
        line = np.concatenate((line, ramp(length), np.zeros(gap, dtype=np.int16)))
    line = line[: pre_roll.end]
    assert np.array_equal(pre_roll.read(pre_roll.start, pre_roll.end), line[-200:])
    assert pre_roll.lost_samples == sum(gap for _, gap in blocks[:-1])


def test_samples_that_came_before_are_left_out() -> None:
    pre_roll = PreRoll(100.0, 10.0)
    everything = ramp(300)
    pre_roll.append(everything[:200], 0, 0.0, 1)
    pre_roll.append(everything[150:250], 150, 1.5, 1)
    pre_roll.append(everything[100:150], 100, 1.0, 1)
    assert np.array_equal(pre_roll.read(0, 250), everything[:250])
    assert pre_roll.end == 250 and pre_roll.index_at(2.5) == 250


def test_a_new_stream_is_placed_by_its_timestamp() -> None:
    pre_roll = PreRoll(100.0, 10.0)
    pre_roll.append(ramp(200), 5000, 10.0, 1)
    # 3 s pass from the end of the first stream at 12.0.
    pre_roll.append(ramp(100), 0, 15.0, 2)
    assert pre_roll.end == 200 + 300 + 100
    assert not pre_roll.read(200, 500).any()
    assert np.array_equal(pre_roll.read(500, 600), ramp(100))
    assert pre_roll.index_at(15.0) == 500


def test_a_counter_that_begins_anew_without_saying_so_is_a_new_stream() -> None:
    pre_roll = PreRoll(100.0, 10.0)
    pre_roll.append(ramp(900), 5000, 10.0, 1)
    pre_roll.append(ramp(100), 0, 19.0, 1)
    pre_roll.append(ramp(100), 100, 20.0, 1)
    assert pre_roll.end == 1100
    assert np.array_equal(pre_roll.read(900, 1100), np.concatenate((ramp(100), ramp(100))))


def test_a_clock_that_is_set_back_between_streams_makes_no_gap() -> None:
    pre_roll = PreRoll(100.0, 10.0)
    pre_roll.append(ramp(200), 0, 1e9, 1)
    pre_roll.append(ramp(100), 0, 50.0, 2)
    assert pre_roll.end == 300
    pre_roll.append(ramp(100), 0, 1e9, 3)
    assert pre_roll.end == 300 + 1000 + 100


def test_a_senseless_jump_costs_no_memory_and_no_time() -> None:
    pre_roll = PreRoll(100.0, 1.0)
    pre_roll.append(ramp(100), 0, 0.0, 1)
    pre_roll.append(ramp(50), 10**15, 1.0, 1)
    assert pre_roll.end == 10**15 + 50
    assert np.array_equal(pre_roll.read(10**15, pre_roll.end), ramp(50))


def test_what_is_not_kept_cannot_be_read() -> None:
    pre_roll = PreRoll(100.0, 1.0)
    pre_roll.append(ramp(150), 0, 0.0, 1)
    for start, stop in ((49, 60), (100, 151), (60, 59)):
        with pytest.raises(ValueError, match="not within 50 to 150"):
            pre_roll.read(start, stop)


def test_a_recording_holds_what_was_written(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "new" / "one.flac", 16000.0)
    pcm = noise(50_000)
    recording.write(pcm[:20_000])
    recording.write_silence(40_000)
    recording.write(pcm[20_000:])
    assert not recording.path.exists()
    recording.close()
    audio, rate_hz = soundfile.read(recording.path, dtype="int16")
    assert rate_hz == 16000
    assert np.array_equal(audio, np.concatenate((pcm[:20_000], np.zeros(40_000, dtype=np.int16), pcm[20_000:])))
    assert [path.name for path in recording.path.parent.iterdir()] == ["one.flac"]


def test_a_recording_that_cannot_be_made_is_a_link_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LinkError, match="cannot be made"):
        Recording(tmp_path / "file" / "one.flac", 8000.0)


def test_a_disk_that_takes_nothing_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "one.flac.part").symlink_to("/dev/full")
    recording = Recording(tmp_path / "one.flac", 8000.0)
    with pytest.raises(LinkError, match="cannot be written"):
        recording.write(noise(100_000))
    recording.close()
    assert not recording.is_whole and recording.n_samples == 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more_leaves_a_recording_of_what_it_took(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "one.flac", 8000.0)
    pcm = noise(200_000)
    with files_of_at_most(100_000), pytest.raises(LinkError, match="cannot be written"):
        for begin in range(0, len(pcm), 800):
            recording.write(pcm[begin : begin + 800])
    recording.close()
    assert recording.is_closed and not recording.is_whole
    audio, _ = soundfile.read(recording.path, dtype="int16")
    assert len(audio) == recording.n_samples > 40_000
    assert recording.seconds == len(audio) / 8000
    assert np.array_equal(audio, pcm[: len(audio)])
    assert [path.name for path in tmp_path.iterdir()] == ["one.flac"]


@pytest.mark.parametrize("lacking_bytes", [1, 1000])
def test_a_disk_that_is_full_when_the_file_is_closed_is_noticed(tmp_path: Path, lacking_bytes: int) -> None:
    pcm = noise(8192 + 900)
    whole = Recording(tmp_path / "whole.flac", 8000.0)
    whole.write(pcm)
    whole.close()
    recording = Recording(tmp_path / "one.flac", 8000.0)
    with files_of_at_most(whole.path.stat().st_size - lacking_bytes):
        recording.write(pcm)
        recording.close()
    assert whole.is_whole and whole.n_samples == len(pcm)
    assert not recording.is_whole
    audio, _ = soundfile.read(recording.path, dtype="int16")
    assert 4096 < len(audio) == recording.n_samples < len(pcm)
    assert np.array_equal(audio, pcm[: len(audio)])


def test_a_recording_without_audio_is_whole_and_leaves_no_file(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "one.flac", 8000.0)
    recording.close()
    assert recording.is_whole and recording.n_samples == 0
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_cannot_even_be_mended_is_kept_for_the_next_start(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "one.flac", 8000.0)
    recording.write(noise(50_000))
    # Nothing can take the place of a folder that holds something.
    (recording.path / "in the way").mkdir(parents=True)
    with pytest.raises(LinkError, match="cannot be completed"):
        recording.close()
    recording.close()
    assert not recording.is_whole and recording.n_samples == 0
    assert (tmp_path / "one.flac.part").exists()
