import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.alerts.alert import PROGRAM_RELEASED
from app_core.alerts.recorder import PreRoll, Recording, mend_recordings, prune_recordings, to_int16
from app_core.base.errors import LinkError

ROOT = Path(__file__).parents[3]

RECORDER = """
import sys
from pathlib import Path
import numpy as np
from app_core.alerts.recorder import Recording

recording = Recording(Path(sys.argv[1]) / "one.flac", 16000)
pcm = (np.random.default_rng(7).standard_normal(16000 * 60) * 3000).astype(np.int16)
for begin in range(0, len(pcm), 800):
    recording.write(pcm[begin : begin + 800])
    print(begin + 800, flush=True)
print("done", flush=True)
sys.stdin.read()
"""


def ramp(n: int, start: int = 1) -> NDArray[np.int16]:
    return (np.arange(start, start + n) % 30_000).astype(np.int16)


def noise(n: int, seed: int = 7) -> NDArray[np.int16]:
    return (np.random.default_rng(seed).standard_normal(n) * 3000).astype(np.int16)


def test_audio_is_rounded_clipped_and_free_of_nonsense() -> None:
    pcm = np.array([0.0, 1.0, -1.0, 2.0, -9.0, np.nan, np.inf, -np.inf, 0.5, 1e-9], dtype=np.float32)
    kept = pcm.copy()
    assert to_int16(pcm).tolist() == [0, 32767, -32767, 32767, -32767, 0, 32767, -32767, 16384, 0]
    assert np.array_equal(pcm, kept, equal_nan=True)


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


def test_a_full_disk_is_a_link_error(tmp_path: Path) -> None:
    (tmp_path / "one.flac.part").symlink_to("/dev/full")
    with pytest.raises(LinkError):
        recording = Recording(tmp_path / "one.flac", 8000.0)
        recording.write(noise(100_000))


@pytest.mark.parametrize("n_blocks_before_the_kill", [3, 37, 211])
def test_a_killed_recorder_leaves_a_recording_that_can_be_mended(tmp_path: Path, n_blocks_before_the_kill: int) -> None:
    n_written = 0
    command = [sys.executable, "-c", RECORDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        for number, line in enumerate(child.stdout):
            n_written = int(line)
            if number == n_blocks_before_the_kill:
                child.send_signal(signal.SIGKILL)
                break
    assert child.returncode == -signal.SIGKILL
    mended = mend_recordings(tmp_path)
    kept = 0
    if mended:
        audio, rate_hz = soundfile.read(tmp_path / "one.flac", dtype="int16")
        assert rate_hz == 16000
        kept = len(audio)
        assert np.array_equal(audio, noise(16000 * 60)[:kept])
    assert kept >= n_written - 2 * 4096
    assert [path.name for path in tmp_path.iterdir()] == (["one.flac"] if mended else [])


def test_torn_recordings_are_mended_whatever_is_left_of_them(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "whole.flac", 8000.0)
    recording.write(noise(40_000))
    recording.close()
    whole = recording.path.read_bytes()
    for name, content in {
        "empty": b"",
        "head": whole[:60],
        "half": whole[: len(whole) // 2],
        "text": b"x" * 999,
    }.items():
        (tmp_path / f"{name}.flac.part").write_bytes(content)
    assert [path.name for path in mend_recordings(tmp_path)] == ["half.flac"]
    audio, _ = soundfile.read(tmp_path / "half.flac", dtype="int16")
    assert 10_000 < len(audio) < 40_000
    assert np.array_equal(audio, noise(40_000)[: len(audio)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.flac", "whole.flac"]


def test_a_recording_is_not_given_up_because_the_disk_is_full_when_it_is_mended(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "whole.flac", 8000.0)
    recording.write(noise(40_000))
    recording.close()
    part = recording.path.rename(tmp_path / "one.flac.part")
    (tmp_path / "one.flac.part.mending").symlink_to("/dev/full")
    assert mend_recordings(tmp_path) == []
    assert part.exists()
    assert [path.name for path in mend_recordings(tmp_path)] == ["one.flac"]


def test_a_recording_that_cannot_be_read_now_is_kept(tmp_path: Path) -> None:
    part = tmp_path / "one.flac.part"
    part.symlink_to(tmp_path / "away")
    assert mend_recordings(tmp_path) == []
    assert part.is_symlink()


NOW_S = PROGRAM_RELEASED.timestamp() + 1e8
DAY_S = 86_400.0


def make_files(directory: Path, ages_days: list[float]) -> None:
    for number, age in enumerate(ages_days):
        path = directory / f"{number}.flac"
        path.write_bytes(b"0" * 1000)
        os.utime(path, (NOW_S, NOW_S - age * DAY_S))


def remaining(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_oldest_recordings_go_first_when_there_are_too_many(tmp_path: Path) -> None:
    make_files(tmp_path, [1.0, 5.0, 3.0, 4.0])
    prune_recordings(tmp_path, 2500, 1e9, NOW_S)
    assert remaining(tmp_path) == ["0.flac", "2.flac"]


def test_old_recordings_go_but_never_the_newest(tmp_path: Path) -> None:
    make_files(tmp_path, [50.0, 60.0, 70.0])
    prune_recordings(tmp_path, 10**9, 55.0 * DAY_S, NOW_S)
    assert remaining(tmp_path) == ["0.flac"]
    prune_recordings(tmp_path, 0, 1.0, NOW_S)
    assert remaining(tmp_path) == ["0.flac"]


def test_an_age_that_a_wrong_clock_gave_removes_nothing(tmp_path: Path) -> None:
    make_files(tmp_path, [1.0, 2.0])
    os.utime(tmp_path / "1.flac", (NOW_S, 300.0))
    assert prune_recordings(tmp_path, 10**9, DAY_S * 10, NOW_S) == []
    assert prune_recordings(tmp_path, 10**9, DAY_S * 10, 300.0) == []
    assert prune_recordings(tmp_path / "missing", 0, 0.0) == []


def test_a_recording_that_is_being_written_is_not_removed(tmp_path: Path) -> None:
    make_files(tmp_path, [5.0, 6.0])
    (tmp_path / "9.flac.part").write_bytes(b"0" * 1000)
    os.utime(tmp_path / "9.flac.part", (NOW_S, NOW_S - 99 * DAY_S))
    prune_recordings(tmp_path, 0, 0.0, NOW_S)
    assert remaining(tmp_path) == ["0.flac", "9.flac.part"]
