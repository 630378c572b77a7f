"""The codecs that leave the station, and the FFmpeg command line of each.

FFmpeg reads 16-bit PCM on its standard input and writes a stream that can be joined anywhere on its standard output:
bare MP3 frames, ADTS, or Ogg pages of a fifth of a second. No address and no password is ever among its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to encode.

    Attributes
    ----------
    name
        As in ``station.toml``.
    title
        For people.
    extension
        Of a mount, with its dot.
    content_type
        What HTTP calls it.
    default_bitrate_kbps
        0 for a codec without loss, which has none.
    encoder
        FFmpeg's name of it.
    container
        FFmpeg's arguments for the stream format.
    is_ogg
        Whether a stream begins with header pages that a listener must have, and carries its title in them.
    """

    name: str
    title: str
    extension: str
    content_type: str
    default_bitrate_kbps: int
    encoder: str
    container: tuple[str, ...]
    is_ogg: bool


# Ogg pages last a second unless told otherwise, which would be the longest wait in the whole chain.
_OGG = ("-page_duration", "200000", "-f", "ogg")

MP3 = Codec(
    "mp3",
    "MP3",
    ".mp3",
    "audio/mpeg",
    128,
    "libmp3lame",
    ("-write_xing", "0", "-id3v2_version", "0", "-f", "mp3"),
    False,
)
VORBIS = Codec("vorbis", "Ogg Vorbis", ".ogg", "application/ogg", 96, "libvorbis", _OGG, True)
OPUS = Codec("opus", "Opus", ".opus", "audio/ogg", 64, "libopus", _OGG, True)
AAC = Codec("aac", "AAC", ".aac", "audio/aac", 96, "aac", ("-f", "adts"), False)
FLAC = Codec("flac", "FLAC", ".flac", "application/ogg", 0, "flac", _OGG, True)

CODECS = {codec.name: codec for codec in (MP3, VORBIS, OPUS, AAC, FLAC)}
"""All of them, by name."""

_VORBIS_KBPS: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {
    8000: ((16, 32), (16, 80)),
    11025: ((16, 48), (16, 96)),
    16000: ((16, 96), (24, 192)),
    22050: ((16, 86), (32, 160)),
    24000: ((16, 86), (32, 160)),
    32000: ((32, 160), (48, 320)),
    44100: ((32, 192), (48, 320)),
    48000: ((32, 192), (48, 320)),
}
"""Lowest and highest bitrate that libvorbis takes at each rate, mono and stereo, found by asking it: at any other it
refuses to begin. [kbit/s by samples per second]"""

_LOW_LATENCY_INPUT = ("-fflags", "+nobuffer", "-probesize", "32", "-analyzeduration", "0")
"""FFmpeg begins with the first samples, and guesses nothing that it was told."""


def vorbis_format(sample_rate_hz: int, n_channels: int, bitrate_kbps: int) -> tuple[int, int]:
    """Give the rate nearest to `sample_rate_hz` at which libvorbis takes a bitrate, and that bitrate within its limits.

    Returns
    -------
    rate_hz, bitrate_kbps
        What to encode with.
    """
    limits = {rate_hz: ranges[min(n_channels, 2) - 1] for rate_hz, ranges in _VORBIS_KBPS.items()}
    lowest, highest = min(low for low, _ in limits.values()), max(high for _, high in limits.values())
    bitrate_kbps = min(max(bitrate_kbps, lowest), highest)
    legal = [rate_hz for rate_hz, (low, high) in limits.items() if low <= bitrate_kbps <= high]
    # Upwards rather than down, for nothing of the audio is lost then.
    rate_hz = min(legal, key=lambda rate: (rate < sample_rate_hz, abs(rate - sample_rate_hz)))
    return rate_hz, bitrate_kbps


def encoder_argv(
    program: str,
    codec: Codec,
    bitrate_kbps: int,
    sample_rate_hz: int,
    n_channels: int,
    *,
    re_flag: bool,
    title: str = "",
) -> list[str]:
    """Give the command line of an FFmpeg that encodes.

    Parameters
    ----------
    program
        Path of FFmpeg.
    codec
        How to encode.
    bitrate_kbps
        Brought within what the encoder can do; no matter for a codec without loss. [kbit/s]
    sample_rate_hz, n_channels
        Of the PCM on its standard input: signed 16 bits, little-endian, channels in turn.
    re_flag
        Whether it reads at the native rate; see `app_core.audio.sources.uses_re_flag`.
    title
        Written into the headers of an Ogg stream; the others have no place for it.
    """
    argv = [program, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"]
    if re_flag:
        argv.append("-re")
    argv += [*_LOW_LATENCY_INPUT, "-f", "s16le", "-ar", str(sample_rate_hz), "-ac", str(n_channels), "-i", "pipe:0"]
    argv += ["-map_metadata", "-1", "-c:a", codec.encoder]
    argv += _rate_arguments(codec, bitrate_kbps, sample_rate_hz, n_channels)
    if title and codec.is_ogg:
        argv += ["-metadata", f"title={title}"]
    return [*argv, "-flush_packets", "1", *codec.container, "pipe:1"]


def _rate_arguments(codec: Codec, bitrate_kbps: int, sample_rate_hz: int, n_channels: int) -> Sequence[str]:
    if codec is VORBIS:
        rate_hz, bitrate_kbps = vorbis_format(sample_rate_hz, n_channels, bitrate_kbps)
        return ["-ar", str(rate_hz), "-b:a", f"{bitrate_kbps}k"]
    if codec is OPUS:
        return ["-b:a", f"{min(max(bitrate_kbps, 6), 256 * n_channels)}k"]
    if codec.default_bitrate_kbps == 0:
        return []
    return ["-b:a", f"{bitrate_kbps}k"]
