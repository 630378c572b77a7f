"""One process a directory: an advisory lock that the system lets go when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path
from typing import IO

from app_core.base.errors import LifecycleError

log = logging.getLogger(__name__)


def hold_directory(directory: Path) -> IO[bytes] | None:
    """Hold a directory, which is made if need be, until the file that is returned is closed or the process ends.

    Returns
    -------
    file
        None where the directory cannot be written; whoever writes there will tell and count that.

    Raises
    ------
    LifecycleError
        If another process holds it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / "keeper.lock").open("ab")
    except OSError as error:
        log.error("the alert directory %s cannot be written: %s", directory, error)
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise LifecycleError(
            f"another process keeps its alerts in {directory}: give each process a directory of its own"
        ) from None
    except OSError as error:
        # Some network file systems know no locks.
        log.warning("the alert directory %s cannot be locked: %s", directory, error)
    return file
