"""A file with a password is for its reader alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_core.base.secret_file import exposure


@pytest.mark.parametrize(("mode", "is_exposed"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_what_every_user_can_open_is_told_with_its_cure(mode: int, tmp_path: Path, *, is_exposed: bool) -> None:
    path = tmp_path / "password"
    path.touch()
    path.chmod(mode)
    assert exposure(path).endswith(f"chmod 600 {path}") == is_exposed
    assert bool(exposure(path)) == is_exposed


def test_a_file_that_is_not_there_exposes_nothing(tmp_path: Path) -> None:
    assert exposure(tmp_path / "none") == ""
