"""How FFmpeg is called to decode a source: mono signed 16-bit PCM at a given rate on standard output.

No argument holds a password, and none a name that FFmpeg could take for an option or for another protocol. What a
stream may be is a list: formats that carry audio by network, and the protocols of the place where it comes from.
"""

from __future__ import annotations

from pathlib import Path

FORMATS = "mp3,aac,ogg,flac,wav,w64,aiff,au,caf,mov,matroska,webm,asf,mpegts,mpeg,flv,ac3,eac3,loas,amr"
"""Demuxers that a network stream may need; a playlist or a script is none."""

_PROBE = ["-probesize", "131072", "-analyzeduration", "3000000"]
"""A stream of 16 kbit/s would take minutes to fill what FFmpeg looks at by itself."""


def stream_argv(program: str, sample_rate_hz: int, *, re_flag: bool) -> list[str]:
    """Decode what comes on standard input: a stream of any format."""
    argv = _begin(program, re_flag=re_flag)
    argv += ["-protocol_whitelist", "pipe", "-format_whitelist", FORMATS, *_PROBE, "-i", "pipe:0"]
    return argv + _end(sample_rate_hz)


def hls_argv(program: str, sample_rate_hz: int, url: str, *, re_flag: bool) -> list[str]:
    """Fetch and decode a stream in pieces; `url` is one of http or https."""
    argv = _begin(program, re_flag=re_flag)
    argv += ["-rw_timeout", "10000000", "-protocol_whitelist", "http,https,tcp,tls,crypto"]
    argv += ["-f", "hls", "-format_whitelist", f"hls,{FORMATS}", "-i", url]
    return argv + _end(sample_rate_hz)


def alsa_argv(
    program: str, sample_rate_hz: int, device: str, device_rate_hz: int, n_channels: int, *, re_flag: bool
) -> list[str]:
    """Listen to a sound card."""
    argv = [*_begin(program, re_flag=re_flag), "-f", "alsa", "-sample_rate", str(device_rate_hz)]
    return [*argv, "-channels", str(n_channels), "-i", device, *_end(sample_rate_hz)]


def pulse_argv(program: str, sample_rate_hz: int, device: str, *, re_flag: bool) -> list[str]:
    """Listen to a source of PulseAudio or PipeWire."""
    argv = [*_begin(program, re_flag=re_flag), "-f", "pulse", "-name", "Herald", "-i", device]
    return argv + _end(sample_rate_hz)


def file_argv(program: str, sample_rate_hz: int, path: Path, *, repeat: bool, re_flag: bool) -> list[str]:
    """Decode a file, once or for ever, as fast as somebody reads."""
    argv = [*_begin(program, re_flag=re_flag), *(["-stream_loop", "-1"] if repeat else [])]
    return [*argv, "-protocol_whitelist", "file", "-i", f"file:{path}", *_end(sample_rate_hz)]


def _begin(program: str, *, re_flag: bool) -> list[str]:
    # Level info, since the codec stands there.
    argv = [program, "-nostdin", "-hide_banner", "-nostats", "-v", "info"]
    return [*argv, "-re"] if re_flag else argv


def _end(sample_rate_hz: int) -> list[str]:
    # Every packet goes out at once: what FFmpeg gathers by itself is two thirds of a second.
    pcm = ["-c:a", "pcm_s16le", "-f", "s16le", "-flush_packets", "1", "pipe:1"]
    return ["-map", "0:a:0", "-ac", "1", "-ar", str(sample_rate_hz), *pcm]
