"""Checks of what carries audio out: FFmpeg with its encoders, and the Icecast server."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

from app_core.audio.codecs import CODECS, MP3, OPUS
from app_core.audio.ffmpeg_reader import find_ffmpeg
from app_core.audio.icecast_settings import IcecastSettings, server_of
from app_core.base.child import run_quietly
from app_core.base.errors import ConfigError, LinkError
from app_core.base.finding import Finding, failure, not_applicable, ok, warning
from app_core.network.icecast_admin import is_admin_accepted, is_source_accepted

_FFMPEG_TIMEOUT_S = 30.0
"""A Raspberry Pi that is busy takes seconds to load it."""

_INSTALL = "sudo apt-get install ffmpeg"


def needed_codecs(icecast: IcecastSettings | None, *, has_web_audio: bool) -> list[str]:
    """Give the names of the codecs that are configured."""
    names = {MP3.name, OPUS.name} if has_web_audio else set()
    if icecast is not None:
        names |= {icecast.codec} | {mount.codec for mount in icecast.mounts if mount.codec and mount.enabled}
    return sorted(names)


def check_ffmpeg(codecs: Collection[str], *, is_read_from: bool, program: str | None = None) -> Finding:
    """Look whether FFmpeg is there, and has the encoders of some codecs.

    Parameters
    ----------
    codecs
        Names, as in ``station.toml``.
    is_read_from
        Whether streams, files or sound cards are received, which FFmpeg reads.
    program
        Its path; None for the one that the services take.
    """
    program = program or find_ffmpeg()
    if program is None:
        if codecs or is_read_from:
            return failure("ffmpeg", "FFmpeg is not installed", _INSTALL)
        return not_applicable("ffmpeg", "FFmpeg is not installed, and nothing configured needs it")
    version = _first_line(run_quietly([program, "-hide_banner", "-version"], timeout_s=_FFMPEG_TIMEOUT_S))
    listed = run_quietly([program, "-hide_banner", "-encoders"], timeout_s=_FFMPEG_TIMEOUT_S)
    if listed is None:
        return failure("ffmpeg", f"{program} does not run", f"{shlex.quote(program)} -version; {_INSTALL}")
    # " A....D libmp3lame           libmp3lame MP3 (MPEG audio layer 3) (codec mp3)"
    encoders = set(re.findall(r"^ A\S{5} (\S+)", listed.decode("utf-8", "replace"), re.MULTILINE))
    lacking = [CODECS[name].encoder for name in sorted(codecs) if CODECS[name].encoder not in encoders]
    if lacking:
        return failure("ffmpeg", f"{version} ({program}) has no encoder {', '.join(lacking)}", _INSTALL)
    having = ", ".join(CODECS[name].encoder for name in sorted(codecs))
    return ok("ffmpeg", f"{version} ({program})" + (f" has {having}" if having else ""))


def check_icecast(settings: IcecastSettings | None) -> Finding:
    """Look whether the server answers, and takes our passwords; no mount is made."""
    if settings is None:
        return not_applicable("icecast", "no [icecast] table")
    try:
        server = server_of(settings)
    except ConfigError as error:
        seen, _, command = str(error).partition("; make one, and put it into icecast.xml too: ")
        path = shlex.quote(str(settings.password_file))
        return failure("icecast", seen, command or f"ls -l {path}    # or: (umask 077; openssl rand -hex 16 > {path})")
    try:
        takes_source = is_source_accepted(server)
        takes_admin = settings.admin_password_file is None or is_admin_accepted(server)
    except LinkError as error:
        start = "sudo apt-get install icecast2 && sudo systemctl enable --now icecast2"
        return failure("icecast", str(error), start if settings.is_local else f"curl -v http://{server.where}/")
    if not takes_source:
        return failure(
            "icecast",
            f"Icecast at {server.where} refuses the password of user {server.username!r}",
            f"sudo grep source-password /etc/icecast2/icecast.xml    # the same as in {settings.password_file}?",
        )
    if not takes_admin:
        return warning(
            "icecast",
            f"Icecast at {server.where} refuses the administrator's password: no titles, no listeners",
            f"sudo grep admin-password /etc/icecast2/icecast.xml    # the same as in {settings.admin_password_file}?",
        )
    return ok("icecast", f"Icecast at {server.where} takes the password of user {server.username!r}")


def output_findings(
    icecast: IcecastSettings | None, sources: Sequence[object], *, has_web_audio: bool
) -> list[Finding]:
    """Make all checks of this module."""
    codecs = needed_codecs(icecast, has_web_audio=has_web_audio)
    return [check_ffmpeg(codecs, is_read_from=bool(sources)), check_icecast(icecast)]


def _first_line(output: bytes | None) -> str:
    """Give ``FFmpeg 5.1.6-0+deb12u1`` of what it says of its version."""
    words = (output or b"").decode("utf-8", "replace").split()
    return f"FFmpeg {words[2]}" if words[:2] == ["ffmpeg", "version"] and len(words) > 2 else "FFmpeg"
