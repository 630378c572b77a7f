"""Child processes: the project's only door to `subprocess`.

Every child is started from an argument list, never through a shell. A `Child` has a session of its own, so that a
Ctrl-C in the terminal reaches the parent alone and the parent ends its children in the right order. On Linux the kernel
is asked to end a child when the thread that started it is gone (``PR_SET_PDEATHSIG``): a killed parent leaves nothing
behind, and a child is started from a thread that outlives it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from app_core.base.errors import LifecycleError

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def _ask_to_die_with_parent() -> Callable[[], None] | None:
    """Give a function for the forked child, with everything that needs a lock already looked up."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent_pid = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent_pid:
            os._exit(0)

    return in_child


class Child:
    """One child process.

    Parameters
    ----------
    name
        What logs and the status call it.
    argv
        Program and arguments; the program is looked up on the PATH.
    environment
        Variables that are added to, or replace, those of this process.
    stdin
        File that the child reads, opened anew at each start; None closes its standard input.
    stdout, stderr
        Open files that receive the child's output; None lets it share ours.
    user
        Name of the user as whom it runs, without any rights beside that one's; None for ours. Root alone may choose. A
        program that changes its user by itself would also lose the kernel's order to end with its parent.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: Path | None = None,
        stdout: IO[bytes] | int | None = None,
        stderr: IO[bytes] | int | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self._argv = list(argv)
        self._environment = {**os.environ, **(environment or {})}
        self._stdin = Path(os.devnull) if stdin is None else stdin
        self._stdout = stdout
        self._stderr = stderr
        self._cwd = cwd
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running or last run child; None before the first start."""
        return None if self._process is None else self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the child runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run, negative for a signal; None while it runs or before it ran."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the child.

        Raises
        ------
        LifecycleError
            If it runs already, the program cannot be started, or there is no such user.
        """
        if self.is_alive:
            raise LifecycleError(f"{self.name} runs already (pid {self.pid})")
        try:
            account = None if self._user is None else pwd.getpwnam(self._user)
        except KeyError:
            raise LifecycleError(f"cannot start {self.name}: this machine has no user {self._user}") from None
        try:
            with self._stdin.open("rb") as stdin:
                # The function sets one process attribute and takes no lock, so it is safe beside threads.
                self._process = subprocess.Popen(
                    self._argv,
                    stdin=stdin,
                    stdout=self._stdout,
                    stderr=self._stderr,
                    env=self._environment,
                    cwd=self._cwd,
                    start_new_session=True,
                    user=None if account is None else account.pw_uid,
                    group=None if account is None else account.pw_gid,
                    extra_groups=None if account is None else [],
                    # Called after the change of the user, which clears what it sets.
                    preexec_fn=_ask_to_die_with_parent(),
                )
        except OSError as error:
            raise LifecycleError(f"cannot start {self.name} ({self._argv[0]}): {error.strerror}") from error

    def stop(self, timeout_s: float = 5.0) -> int | None:
        """Ask the child to end, and kill it when it has not after `timeout_s`. Give its exit code."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                log.warning("%s (pid %s) did not end within %.1f s and is killed", self.name, process.pid, timeout_s)
                process.kill()
                process.wait()
        return process.returncode

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the child's end. Give its exit code, or None when it still runs after `timeout_s`."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None


def find_program(name: str) -> str | None:
    """Give the path of a program on the PATH, or None."""
    return shutil.which(name)


def run_quietly(argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None) -> bytes | None:
    """Run a program to its end and give its standard output.

    Returns
    -------
    output
        None if the program is missing, fails, or does not end within `timeout_s`; the reason is logged at DEBUG.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=b"" if stdin is None else stdin,
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("%s: %s", argv[0], error)
        return None
    return done.stdout


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.02) -> bool:
    """Wait for another process to reach a state. Give whether `condition` held within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval_s)
    return True


def open_pipe(
    argv: Sequence[str], *, stdin: IO[bytes] | int | None = None, stderr: IO[bytes] | int | None = None
) -> subprocess.Popen[bytes]:
    """Start a program whose standard output is read by the caller.

    Parameters
    ----------
    argv
        Program and arguments.
    stdin, stderr
        Open files for the child; None closes its standard input, or drops its errors.

    Raises
    ------
    LifecycleError
        If the program cannot be started, or an argument holds what none can.
    """
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if stderr is None else stderr,
            preexec_fn=_ask_to_die_with_parent(),
        )
    except OSError as error:
        raise LifecycleError(f"cannot start {argv[0]}: {error.strerror}") from error
    except ValueError as error:
        # A NUL in an argument, or half a surrogate pair.
        raise LifecycleError(f"cannot start {argv[0]}: {error}") from error
