"""The checks of FFmpeg and Icecast, against real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app_core.audio import output_checks
from app_core.audio.icecast_settings import IcecastSettings
from app_core.audio.output_checks import check_ffmpeg, check_icecast, needed_codecs
from app_core.base.finding import Verdict
from app_core.bridge.local_redis import free_port
from tests.support.icecast_server import ADMIN_PASSWORD, SOURCE_PASSWORD, IcecastDaemon, running_icecast
from tests.support.programs import require_program


@pytest.fixture
def icecast(tmp_path: Path) -> Iterator[IcecastDaemon]:
    with running_icecast(tmp_path) as daemon:
        yield daemon


def table(folder: Path, port: int, **words: object) -> IcecastSettings:
    for name, password in (("source", SOURCE_PASSWORD), ("admin", ADMIN_PASSWORD), ("wrong", "another word")):
        (folder / name).write_text(password + "\n", encoding="utf-8")
    return IcecastSettings.model_validate({"port": port, "password_file": folder / "source", **words})


def test_the_codecs_of_all_outputs_are_needed(tmp_path: Path) -> None:
    mounts = [
        {"channel": "a", "codec": "flac"},
        {"channel": "b", "codec": "aac", "enabled": False},
        {"channel": "c"},
    ]
    settings = table(tmp_path, 8000, codec="vorbis", mounts=mounts)
    assert needed_codecs(settings, has_web_audio=False) == ["flac", "vorbis"]
    assert needed_codecs(settings, has_web_audio=True) == ["flac", "mp3", "opus", "vorbis"]
    assert needed_codecs(None, has_web_audio=False) == []


def test_the_ffmpeg_of_this_machine_has_every_codec() -> None:
    program = require_program("ffmpeg")
    finding = check_ffmpeg(["mp3", "vorbis", "opus", "aac", "flac"], is_read_from=True, program=program)
    assert finding.verdict is Verdict.OK
    assert finding.seen.endswith(f"({program}) has aac, flac, libmp3lame, libopus, libvorbis")


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    listing = " A....D aac    AAC\n V....D libopus_video   no\n A....D libmp3lame  libmp3lame MP3\n"
    program.write_text(
        f'#!/bin/sh\ncase "$2" in -version) echo "ffmpeg version 9.9 Copyright";; *) printf "{listing}";; esac\n',
        encoding="ascii",
    )
    program.chmod(0o755)
    finding = check_ffmpeg(["mp3", "opus"], is_read_from=False, program=str(program))
    assert (finding.verdict, finding.seen) == (Verdict.FAILURE, f"FFmpeg 9.9 ({program}) has no encoder libopus")
    assert check_ffmpeg(["mp3"], is_read_from=False, program=str(program)).verdict is Verdict.OK


def test_an_ffmpeg_that_does_not_run_is_a_failure() -> None:
    assert check_ffmpeg([], is_read_from=False, program="/bin/false").verdict is Verdict.FAILURE


def test_no_ffmpeg_is_a_failure_only_where_something_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_checks, "find_ffmpeg", lambda: None)
    assert check_ffmpeg([], is_read_from=False).verdict is Verdict.NOT_APPLICABLE
    assert check_ffmpeg(["mp3"], is_read_from=False).verdict is Verdict.FAILURE
    assert check_ffmpeg([], is_read_from=True).remedy == "sudo apt-get install ffmpeg"


def test_icecasts_passwords_are_tried_without_a_mount(icecast: IcecastDaemon, tmp_path: Path) -> None:
    finding = check_icecast(table(tmp_path, icecast.port))
    assert finding.verdict is Verdict.OK
    assert finding.seen == f"Icecast at 127.0.0.1:{icecast.port} takes the password of user 'source'"
    assert icecast.mounts() == {}


def test_a_source_password_that_icecast_refuses_is_a_failure(icecast: IcecastDaemon, tmp_path: Path) -> None:
    wrong = table(tmp_path, icecast.port, password_file=tmp_path / "wrong", admin_password_file=tmp_path / "admin")
    finding = check_icecast(wrong)
    assert finding.verdict is Verdict.FAILURE
    assert "grep source-password /etc/icecast2/icecast.xml" in finding.remedy


def test_an_administrators_password_that_icecast_refuses_is_a_warning(icecast: IcecastDaemon, tmp_path: Path) -> None:
    assert check_icecast(table(tmp_path, icecast.port, admin_password_file=tmp_path / "admin")).verdict is Verdict.OK
    wrong = table(tmp_path, icecast.port, admin_password_file=tmp_path / "wrong")
    finding = check_icecast(wrong)
    assert finding.verdict is Verdict.WARNING
    assert "grep admin-password" in finding.remedy


def test_an_icecast_that_is_away_is_a_failure(tmp_path: Path) -> None:
    assert check_icecast(None).verdict is Verdict.NOT_APPLICABLE
    finding = check_icecast(table(tmp_path, free_port()))
    assert finding.verdict is Verdict.FAILURE
    assert "systemctl enable --now icecast2" in finding.remedy
    elsewhere = check_icecast(table(tmp_path, free_port(), host="nowhere.invalid"))
    assert elsewhere.remedy.startswith("curl -v http://nowhere.invalid:")


@pytest.mark.parametrize(("content", "words"), [("hackme", "openssl rand -hex 16 >"), (None, "ls -l ")])
def test_a_password_file_that_is_none_is_mended(content: str | None, words: str, tmp_path: Path) -> None:
    settings = table(tmp_path, 8000, password_file=tmp_path / "mine")
    if content is not None:
        (tmp_path / "mine").write_text(content, encoding="utf-8")
    finding = check_icecast(settings)
    assert finding.verdict is Verdict.FAILURE
    assert words in finding.remedy
