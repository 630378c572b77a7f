"""A campaign that may be stopped at any time and goes on where it was: a file with one line of JSON for each case.

The first line says which campaign it is. A last line that was cut short, by whatever ended the program, is made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Journal:
    """Keeps what each case of a campaign has given.

    Parameters
    ----------
    path
        The file, made where there is none; None keeps nothing.
    campaign
        What the cases depend on: they may only be mixed with cases of the very same campaign.

    Raises
    ------
    ValueError
        If the file holds another campaign.
    """

    def __init__(self, path: Path | None, campaign: dict[str, Any]) -> None:
        self._path = path
        self._lines = [json.dumps(campaign)]
        if path is not None and path.is_file():
            whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
            if whole and json.loads(whole[0]) != campaign:
                raise ValueError(f"{path} holds another campaign: {whole[0].strip()}; give another file")
            self._lines = [line.rstrip("\n") for line in whole] or self._lines
        self._file = None
        if path is not None:
            path.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")
            self._file = path.open("a", encoding="utf-8")

    def cases(self) -> Iterator[dict[str, Any]]:
        """Give what was kept before, in the order in which it was."""
        for line in self._lines[1:]:
            yield json.loads(line)

    def keep(self, case: dict[str, Any]) -> None:
        """Keep one more."""
        if self._file is not None:
            self._file.write(f"{json.dumps(case)}\n")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
