"""Programs that are measured beside ours, each a process of its own that answers in JSON.

GNU Radio's Python binding comes from Debian, for Debian's Python: it is not on PyPI and not in a virtual environment.
So the scripts here run under that Python, and this package imports nothing but the standard library.

Convention: a script reads one JSON object from its standard input and writes JSON objects to its standard output, one
a line, each line beginning with ``{``; GNU Radio writes its log between them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PYTHON = "/usr/bin/python3"
"""The Python that Debian's packages are built for."""

INSTALL = "sudo apt-get install gnuradio"

_ROOT = Path(__file__).resolve().parents[2]


def has_gnuradio() -> bool:
    """Whether GNU Radio can be imported; where not, say on standard error what installs it."""
    try:
        child = subprocess.run([PYTHON, "-c", "import gnuradio.gr, numpy"], capture_output=True, check=False)
    except FileNotFoundError:
        found = False
    else:
        found = child.returncode == 0
    if not found:
        print(f"GNU Radio, the peer, is not installed; type: {INSTALL}", file=sys.stderr)
    return found


def ask(script: str, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run a script of this package and give its answers.

    Parameters
    ----------
    script
        Name of the module in this package.
    request
        What the script reads.

    Raises
    ------
    RuntimeError
        If the script fails; its last words are in the message.
    """
    child = subprocess.run(
        [PYTHON, "-m", f"{__name__}.{script}"],
        input=json.dumps(request),
        capture_output=True,
        check=False,
        cwd=_ROOT,
        text=True,
    )
    if child.returncode != 0:
        raise RuntimeError(f"{script} ended with exit code {child.returncode}: {child.stderr.strip()[-600:]}")
    return [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
