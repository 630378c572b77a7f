"""One owner per device: an advisory lock that names its holder.

Drivers say "busy" and not who is busy; the lock file holds the process id and the program. The kernel lets the lock go
when the holder ends, however it ends, so a stale file locks nothing and is left in place: to unlink it would let two
programs each hold "the" lock.

The folder is that of the machine, since the device is the machine's and not the user's: ``/run/lock``, else
``XDG_RUNTIME_DIR``, else the temporary folder. Containers see each other only when they share it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app_core.base.errors import DeviceError

_MAX_HOLDER_BYTES = 512


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock; pid 0 when the file does not say."""

    pid: int
    program: str

    def __str__(self) -> str:
        """Give the words for a message."""
        return f"process {self.pid} ({self.program})" if self.pid else "another program"


def lock_folder() -> Path:
    """Give the folder of the lock files: the first of those named above that exists and can be written."""
    for candidate in ("/run/lock", os.environ.get("XDG_RUNTIME_DIR", "")):
        if candidate and os.access(candidate, os.W_OK | os.X_OK) and Path(candidate).is_dir():
            return Path(candidate)
    return Path(tempfile.gettempdir())


def lock_path(device: str, folder: Path | None = None) -> Path:
    """Give the lock file of a device, whose name may hold anything."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", device)[:100]
    return (lock_folder() if folder is None else folder) / f"herald-{name}.lock"


class DeviceLock:
    """A device that is ours until `release`.

    Parameters
    ----------
    device
        Its name: driver and serial number.
    folder
        Where the lock file is; None for `lock_folder`.

    Raises
    ------
    DeviceError
        If another receiver, in this program or another, holds it (the text names process and program), or the lock
        file cannot be opened.
    """

    def __init__(self, device: str, *, folder: Path | None = None) -> None:
        self.device = device
        path = lock_path(device, folder)
        try:
            self._descriptor: int | None = _open(path)
        except OSError as error:
            raise DeviceError(f"the lock file {path} of {device} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read_holder(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise DeviceError(f"{path} cannot be locked: {error.strerror}") from error
            raise DeviceError(f"{device} is in use by {holder}; a device has one owner: stop that one first") from error
        _write_holder(self._descriptor)

    def release(self) -> None:
        """Let the device go; harmless when it was let go before."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            # The name goes first: nobody shall be told of a holder that is no more.
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def holder_of(device: str, *, folder: Path | None = None) -> Holder | None:
    """Say who holds a device now; None when nobody does, or it cannot be found out."""
    try:
        descriptor = os.open(lock_path(device, folder), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_holder(descriptor)
    else:
        return None
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the lock file, which another user may have made, and make it when there is none."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        # Without O_CREAT first: in a sticky folder the kernel refuses it for another user's file.
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o666)  # the next owner may be another user, whatever our umask
        return descriptor


def _write_holder(descriptor: int) -> None:
    program = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip() or "python"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n{program}\n".encode("utf-8", "replace")[:_MAX_HOLDER_BYTES], 0)


def _read_holder(descriptor: int) -> Holder:
    lines = os.pread(descriptor, _MAX_HOLDER_BYTES, 0).decode("utf-8", "replace").splitlines()
    if len(lines) < 2 or not lines[0].isdecimal():
        return Holder(0, "")
    return Holder(int(lines[0]), lines[1])
