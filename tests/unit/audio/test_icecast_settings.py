from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app_core.audio.icecast_settings import IcecastSettings, MountSettings, read_password, server_of
from app_core.base.errors import ConfigError


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("a word: with/everything @\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("weak", ["", "\n", "  ", "hackme", "Hackme\n", "password", "changeme"])
def test_a_password_that_is_none_is_refused_with_a_command_that_makes_one(tmp_path: Path, weak: str) -> None:
    path = tmp_path / "password"
    path.write_text(weak, encoding="utf-8")
    with pytest.raises(ConfigError, match="openssl rand -hex 16"):
        read_password(path, "password_file")


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"icecast.password_file: .*No such file"):
        read_password(tmp_path / "none", "password_file")


def test_a_password_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("one\r\ntwo", encoding="utf-8")
    with pytest.raises(ConfigError, match="more than one line"):
        read_password(path, "password_file")


def test_the_server_has_the_password_and_does_not_show_it(password_file: Path) -> None:
    settings = IcecastSettings(password_file=password_file, host="::1")
    server = server_of(settings)
    assert server.password == "a word: with/everything @"  # noqa: S105
    assert "everything" not in repr(server) + repr(settings)
    assert server.where == "[::1]:8000"
    assert server.admin_authorization == server.source_authorization


def test_the_admin_has_a_password_of_its_own(tmp_path: Path, password_file: Path) -> None:
    admin_file = tmp_path / "admin"
    admin_file.write_text("another", encoding="utf-8")
    server = server_of(IcecastSettings(password_file=password_file, admin_password_file=admin_file))
    assert server.admin_authorization == "Basic YWRtaW46YW5vdGhlcg=="


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": "http://127.0.0.1"},
        {"host": "me:word@127.0.0.1"},
        {"public_url": "https://me:word@x"},
        {"mount": "/ä"},
        {"codec": "wav"},
        {"bitrate_kbps": 4},
        {"passwort": "x"},
    ],
)
def test_what_makes_no_sense_is_refused(password_file: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        IcecastSettings(password_file=password_file, **wrong)  # type: ignore[arg-type]


def test_two_exceptions_for_one_channel_are_refused(password_file: Path) -> None:
    mounts = (MountSettings(channel="wx1"), MountSettings(channel="wx1", codec="opus"))
    with pytest.raises(ConfigError, match=r"two .*of channel 'wx1'"):
        server_of(IcecastSettings(password_file=password_file, mounts=mounts))


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("x.org", False),
    ],
)
def test_this_machine_is_known_from_another(password_file: Path, host: str, is_local: bool) -> None:
    assert IcecastSettings(password_file=password_file, host=host).is_local is is_local


def test_a_channel_without_exception_has_nothing_otherwise(password_file: Path) -> None:
    settings = IcecastSettings(password_file=password_file, mounts=(MountSettings(channel="wx1", codec="opus"),))
    assert settings.exception_for("wx1").codec == "opus"
    assert settings.exception_for("wx2") == MountSettings(channel="wx2")
