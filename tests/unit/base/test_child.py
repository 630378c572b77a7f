"""Child processes: started without a shell, ended in time, and gone with their parent."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app_core.base.child import Child, find_program, open_pipe, run_quietly, wait_until
from app_core.base.errors import LifecycleError
from tests.support.programs import PATIENCE_S, eventually

_SLEEPER = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]
_DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
]


def _started(child: Child, output: Path) -> Child:
    child.start()
    eventually(lambda: "ready" in output.read_text(), "the child's first line")
    return child


def test_a_child_runs_and_its_exit_code_is_known() -> None:
    child = Child("brief", [sys.executable, "-c", "raise SystemExit(3)"])
    assert (child.pid, child.exit_code, child.is_alive) == (None, None, False)
    child.start()
    assert child.wait(PATIENCE_S) == 3
    assert child.exit_code == 3
    assert not child.is_alive


def test_a_stopped_child_leaves_no_zombie(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with output.open("wb") as stdout:
        child = _started(Child("sleeper", _SLEEPER, stdout=stdout), output)
        pid = child.pid
        assert pid is not None and psutil.pid_exists(pid)
        assert child.stop() == -signal.SIGTERM
    assert not psutil.pid_exists(pid)


def test_a_child_that_ends_by_itself_is_reaped_when_it_is_looked_at() -> None:
    child = Child("brief", [sys.executable, "-c", ""])
    child.start()
    eventually(lambda: not child.is_alive, "its end")
    assert child.pid is not None
    assert not psutil.pid_exists(child.pid)


def test_a_child_that_ignores_its_stop_is_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "out"
    with output.open("wb") as stdout:
        child = _started(Child("deaf", _DEAF, stdout=stdout), output)
        assert child.stop(timeout_s=0.05) == -signal.SIGKILL
    assert "did not end within" in caplog.text
    assert child.pid is not None and not psutil.pid_exists(child.pid)


def test_a_child_goes_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from app_core.base.child import Child\n"
            f"child = Child('sleeper', {_SLEEPER!r}); child.start(); print(child.pid, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert parent.stdout is not None
    with parent.stdout:
        child_pid = int(parent.stdout.readline())
        child = psutil.Process(child_pid)
        assert child.is_running()
        parent.kill()
        parent.wait()
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may choose the user of a child")
def test_a_child_of_another_user_goes_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time; from app_core.base.child import Child\n"
            "child = Child('sleeper', ['sleep', '600'], user='nobody'); child.start()\n"
            "print(child.pid, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert parent.stdout is not None
    with parent.stdout:
        child = psutil.Process(int(parent.stdout.readline()))
        nobody = pwd.getpwnam("nobody")
        assert (child.uids().effective, child.gids().effective) == (nobody.pw_uid, nobody.pw_gid)
        assert Path(f"/proc/{child.pid}/status").read_text().count("Groups:\t \n") == 1
        parent.kill()
        parent.wait()
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")


def test_a_user_who_is_not_there_is_said() -> None:
    with pytest.raises(LifecycleError, match="no user nobody-of-that-name"):
        Child("sleeper", ["sleep", "600"], user="nobody-of-that-name").start()


def test_a_child_reads_what_it_is_given_at_each_start(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("words ")
    with (tmp_path / "out").open("wb") as output:
        child = Child("reader", ["cat"], stdin=tmp_path / "in", stdout=output)
        for _ in range(2):
            child.start()
            assert child.wait(PATIENCE_S) == 0
    assert (tmp_path / "out").read_text() == "words words "


def test_a_child_is_not_in_the_terminals_group(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with output.open("wb") as stdout:
        child = _started(Child("sleeper", _SLEEPER, stdout=stdout), output)
        assert child.pid is not None
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        child.stop()


def test_a_child_starts_again_but_not_twice_at_once(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with output.open("wb") as stdout:
        child = _started(Child("sleeper", _SLEEPER, stdout=stdout), output)
        first = child.pid
        with pytest.raises(LifecycleError, match="runs already"):
            child.start()
        child.stop()
        child.start()
        assert child.is_alive and child.pid != first
        child.stop()


def test_a_program_that_is_not_there_is_said_by_its_name() -> None:
    with pytest.raises(LifecycleError, match=r"cannot start nothing .*no-such-program.*No such file"):
        Child("nothing", ["no-such-program"]).start()
    with pytest.raises(LifecycleError, match="no-such-program"):
        open_pipe(["no-such-program"])
    assert find_program("no-such-program") is None


def test_an_argument_that_no_program_can_be_given_is_said() -> None:
    with pytest.raises(LifecycleError, match=r"cannot start .*embedded null byte"):
        open_pipe([sys.executable, "-c", "pass", "a\0b"])


def test_the_environment_is_added_to_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_TEST_KEPT", "kept")
    output = tmp_path / "out"
    with output.open("wb") as stdout:
        child = Child(
            "env",
            [sys.executable, "-c", "import os; print(os.environ['HERALD_TEST_KEPT'], os.environ['HERALD_TEST_ADDED'])"],
            environment={"HERALD_TEST_ADDED": "added; $(false)"},
            stdout=stdout,
        )
        child.start()
        assert child.wait(PATIENCE_S) == 0
    assert output.read_text().strip() == "kept added; $(false)"


def test_run_quietly_gives_output_or_nothing() -> None:
    upper = "import sys; print(sys.stdin.read().upper(), end='')"
    assert run_quietly([sys.executable, "-c", upper], timeout_s=PATIENCE_S, stdin=b"text") == b"TEXT"
    assert run_quietly([sys.executable, "-c", "raise SystemExit(1)"], timeout_s=PATIENCE_S) is None
    assert run_quietly(["no-such-program"], timeout_s=PATIENCE_S) is None
    assert run_quietly(_SLEEPER, timeout_s=0.2) is None


def test_wait_until_gives_up() -> None:
    assert wait_until(lambda: True, 0.0)
    assert not wait_until(lambda: False, 0.01, interval_s=0.001)
