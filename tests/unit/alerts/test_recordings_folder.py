import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app_core.alerts.alert import PROGRAM_RELEASED
from app_core.alerts.recorder import Recording
from app_core.alerts.recordings_folder import DiskRoom, mend_recordings, prune_recordings
from tests.unit.alerts.full_disk import files_of_at_most

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


def noise(n: int, seed: int = 7) -> NDArray[np.int16]:
    return (np.random.default_rng(seed).standard_normal(n) * 3000).astype(np.int16)


def make_torn(directory: Path) -> Path:
    """Make what a killed process leaves of 40,000 samples."""
    recording = Recording(directory / "one.flac", 8000.0)
    recording.write(noise(40_000))
    part = directory / "one.flac.part"
    content = part.read_bytes()
    recording.close()
    recording.path.unlink()
    part.write_bytes(content)
    return part


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


def test_a_full_disk_has_room_for_mending(tmp_path: Path) -> None:
    part = make_torn(tmp_path)
    size = part.stat().st_size
    (tmp_path / "one.flac.part.mending").symlink_to("/dev/full")
    assert [path.name for path in mend_recordings(tmp_path)] == ["one.flac"]
    audio, _ = soundfile.read(tmp_path / "one.flac", dtype="int16")
    assert 20_000 < len(audio) < 40_000
    assert np.array_equal(audio, noise(40_000)[: len(audio)])
    assert (tmp_path / "one.flac").stat().st_size <= size
    assert [path.name for path in tmp_path.iterdir()] == ["one.flac"]


def test_a_recording_is_not_given_up_because_the_disk_takes_nothing_when_it_is_mended(tmp_path: Path) -> None:
    part = make_torn(tmp_path)
    with files_of_at_most(10_000):
        assert mend_recordings(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [part.name]
    assert [path.name for path in mend_recordings(tmp_path)] == ["one.flac"]
    audio, _ = soundfile.read(tmp_path / "one.flac", dtype="int16")
    assert 20_000 < len(audio) < 40_000
    assert np.array_equal(audio, noise(40_000)[: len(audio)])


def test_a_mended_copy_whose_last_block_the_disk_did_not_take_is_not_trusted(tmp_path: Path) -> None:
    make_torn(tmp_path)
    (mended,) = mend_recordings(tmp_path)
    size = mended.stat().st_size
    mended.unlink()
    part = make_torn(tmp_path)
    # libsndfile writes the last block as it closes the file, and keeps to itself that it could not.
    with files_of_at_most(size - 10):
        assert mend_recordings(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [part.name]
    assert mend_recordings(tmp_path) == [mended]
    audio, _ = soundfile.read(mended, dtype="int16")
    # What was written over it in vain may have cost the last block.
    assert len(audio) > 40_000 - 3 * 4096
    assert np.array_equal(audio, noise(40_000)[: len(audio)])


def test_what_a_killed_mending_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "one.flac.part.mending").write_bytes(b"x" * 999)
    assert mend_recordings(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


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


def test_the_oldest_recordings_make_room_and_it_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "recordings"
    room = DiskRoom(directory, keep_free_bytes=10**18)
    with caplog.at_level(logging.INFO):
        room.keep_free()
        directory.mkdir()
        make_files(directory, [1.0])
        room.keep_free()
        room.make()
        assert caplog.messages == []
        for _ in range(3):
            make_files(directory, [1.0, 5.0, 3.0])
            room.keep_free()
            assert remaining(directory) == ["0.flac"]
        assert caplog.messages == ["the disk is full: the oldest recordings are removed, 2 of them now"]
        room.keep_free_bytes = 0
        room.keep_free()
        room.keep_free()
        assert caplog.messages[1:] == ["the disk has room for recordings again"]
        room.keep_free_bytes = 10**18
        make_files(directory, [1.0, 5.0])
        room.keep_free()
    assert caplog.messages[2:] == ["the disk is full: the oldest recordings are removed, 1 of them now"]


def test_no_more_recordings_go_than_are_lacking(tmp_path: Path) -> None:
    make_files(tmp_path, [1.0, 2.0, 3.0, 4.0])
    DiskRoom(tmp_path, keep_free_bytes=0).make(1500)
    assert remaining(tmp_path) == ["0.flac", "1.flac"]
