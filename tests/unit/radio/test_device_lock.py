"""One owner per device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app_core.base.errors import DeviceError
from app_core.radio.device_lock import DeviceLock, Holder, holder_of, lock_folder, lock_path

HOLD = """
import sys
from pathlib import Path
from app_core.radio.device_lock import DeviceLock
sys.argv[:] = ["/opt/bin/herald", "sdr", "--config", "secret"]
lock = DeviceLock("rtlsdr 0001", folder=Path(sys.stdin.readline().strip()))
print("held", flush=True)
sys.stdin.read()
"""


def test_second_owner_is_told_process_and_program_until_the_first_lets_go(tmp_path: Path) -> None:
    first = DeviceLock("rtlsdr 0001", folder=tmp_path)
    with pytest.raises(DeviceError, match=rf"rtlsdr 0001 is in use by process {os.getpid()} \(\S+"):
        DeviceLock("rtlsdr 0001", folder=tmp_path)
    other = DeviceLock("rtlsdr 0002", folder=tmp_path)
    first.release()
    first.release()
    again = DeviceLock("rtlsdr 0001", folder=tmp_path)
    again.release()
    other.release()


def test_killed_program_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(f"{tmp_path}\n")
        program.stdin.flush()
        assert program.stdout.readline() == "held\n"
        assert holder_of("rtlsdr 0001", folder=tmp_path) == Holder(program.pid, "herald sdr")
        with pytest.raises(DeviceError, match=rf"in use by process {program.pid} \(herald sdr\)"):
            DeviceLock("rtlsdr 0001", folder=tmp_path)
        program.send_signal(signal.SIGKILL)
        program.wait(10)
    assert holder_of("rtlsdr 0001", folder=tmp_path) is None
    DeviceLock("rtlsdr 0001", folder=tmp_path).release()


def test_nobody_holds_what_was_never_locked_or_was_let_go(tmp_path: Path) -> None:
    assert holder_of("airspy", folder=tmp_path) is None
    DeviceLock("airspy", folder=tmp_path).release()
    assert holder_of("airspy", folder=tmp_path) is None
    assert lock_path("airspy", tmp_path).read_bytes() == b""


def test_looking_takes_nothing_away(tmp_path: Path) -> None:
    lock = DeviceLock("airspy", folder=tmp_path)
    for _ in range(2):
        holder = holder_of("airspy", folder=tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()
    with pytest.raises(DeviceError):
        DeviceLock("airspy", folder=tmp_path)
    lock.release()


def test_name_of_a_device_never_leaves_the_folder(tmp_path: Path) -> None:
    path = lock_path("remote tcp://[::1]:55132/../../etc/passwd\n" + 300 * "x", tmp_path)
    assert path.parent == tmp_path
    assert len(path.name) < 130
    DeviceLock("remote ../../x", folder=tmp_path).release()
    assert [entry.name for entry in tmp_path.iterdir()] == ["herald-remote_.._.._x.lock"]


def test_link_in_the_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock_path("airspy", tmp_path).symlink_to(victim)
    with pytest.raises(DeviceError, match="cannot be opened"):
        DeviceLock("airspy", folder=tmp_path)
    assert victim.read_text() == "precious"


def test_file_that_says_nothing_is_another_programs(tmp_path: Path) -> None:
    lock = DeviceLock("airspy", folder=tmp_path)
    lock_path("airspy", tmp_path).write_bytes(b"\xff\xfe")
    with pytest.raises(DeviceError, match="in use by another program"):
        DeviceLock("airspy", folder=tmp_path)
    lock.release()


def test_lock_file_is_for_every_user_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        DeviceLock("airspy", folder=tmp_path).release()
    finally:
        os.umask(before)
    assert lock_path("airspy", tmp_path).stat().st_mode & 0o777 == 0o666


def test_folder_is_one_that_can_be_written() -> None:
    assert os.access(lock_folder(), os.W_OK)
