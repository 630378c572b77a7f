from __future__ import annotations

import itertools

import pytest

from app_core.audio.codecs import CODECS, FLAC, MP3, OPUS, VORBIS, Codec, encoder_argv, vorbis_format
from app_core.base.child import run_quietly
from tests.support.programs import require_program

EVERY = pytest.mark.parametrize("codec", CODECS.values(), ids=lambda codec: codec.name)


def argv(codec: Codec, bitrate_kbps: int = 64, rate_hz: int = 24_000, n_channels: int = 1, **more: object) -> list[str]:
    re_flag = bool(more.get("re_flag", False))
    return encoder_argv(
        "ffmpeg", codec, bitrate_kbps, rate_hz, n_channels, re_flag=re_flag, title=str(more.get("title", ""))
    )


@EVERY
def test_the_native_rate_is_asked_for_before_the_input_and_only_when_wanted(codec: Codec) -> None:
    assert "-re" not in argv(codec, re_flag=False)
    line = argv(codec, re_flag=True)
    assert line.index("-re") < line.index("-i")


@EVERY
def test_ffmpeg_is_told_the_format_of_its_input_and_holds_nothing_back(codec: Codec) -> None:
    line = argv(codec, rate_hz=22_050, n_channels=2)
    before = line[: line.index("-i")]
    assert " ".join(["-f s16le", "-ar 22050", "-ac 2"]) in " ".join(before)
    assert "-analyzeduration 0" in " ".join(before)
    assert "-flush_packets 1" in " ".join(line)
    assert line[-1] == "pipe:1"
    assert line[line.index("-i") + 1] == "pipe:0"


def test_a_title_goes_into_ogg_headers_alone() -> None:
    assert "title=Tornado" in argv(OPUS, title="Tornado")
    assert "title=Tornado" not in argv(MP3, title="Tornado")


def test_a_codec_without_loss_has_no_bitrate() -> None:
    assert "-b:a" not in argv(FLAC)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ((24_000, 1, 64), (24_000, 64)),
        ((24_000, 1, 96), (32_000, 96)),
        ((8_000, 1, 96), (16_000, 96)),
        ((48_000, 2, 96), (48_000, 96)),
        ((48_000, 2, 32), (24_000, 32)),
        ((24_000, 1, 320), (32_000, 320)),
        ((24_000, 1, 8), (24_000, 16)),
    ],
)
def test_vorbis_moves_to_a_rate_that_takes_the_bitrate(asked: tuple[int, int, int], given: tuple[int, int]) -> None:
    rate_hz, bitrate_kbps = vorbis_format(*asked)
    expected = (44_100, 192) if asked == (24_000, 1, 320) else given
    assert (rate_hz, bitrate_kbps) == expected


@EVERY
def test_ffmpeg_takes_every_rate_and_bitrate(codec: Codec) -> None:
    program = require_program("ffmpeg")
    formats = itertools.product((8, 96, 320), ((8_000, 1), (22_050, 1), (24_000, 1), (48_000, 2)))
    for bitrate_kbps, (rate_hz, n_channels) in formats:
        line = encoder_argv(program, codec, bitrate_kbps, rate_hz, n_channels, re_flag=False)
        encoded = run_quietly(line, timeout_s=60.0, stdin=bytes(2 * n_channels * rate_hz // 2))
        assert encoded, f"{codec.name} at {bitrate_kbps} kbit/s of {rate_hz} Hz, {n_channels} channels"


def test_vorbis_is_what_the_name_says() -> None:
    assert CODECS["vorbis"] is VORBIS
    assert (VORBIS.default_bitrate_kbps, MP3.default_bitrate_kbps) == (96, 128)
