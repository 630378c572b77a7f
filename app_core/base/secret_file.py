"""Files that hold a password: who may read them."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path


def exposure(path: Path) -> str:
    """Say that every user of this machine can read or change a file, with what mends it; empty when none can."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""  # whoever reads it says so
    if not mode & (stat.S_IROTH | stat.S_IWOTH):
        return ""
    return f"every user of this machine can open {path}, which holds a password: chmod 600 {path}"


def reader() -> str:
    """Give the name of the user that this program reads files as."""
    user_id = os.geteuid()
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
