"""The arguments of FFmpeg for every source: what must be there, in its place, and what must never be."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_core.audio.ingest_argv import alsa_argv, file_argv, hls_argv, pulse_argv, stream_argv

URL = "https://radio.example/live.m3u8"


def of_every_kind(*, re_flag: bool) -> dict[str, list[str]]:
    return {
        "stream": stream_argv("ffmpeg", 24_000, re_flag=re_flag),
        "hls": hls_argv("ffmpeg", 24_000, URL, re_flag=re_flag),
        "alsa": alsa_argv("ffmpeg", 24_000, "hw:1,0", 48_000, 2, re_flag=re_flag),
        "pulse": pulse_argv("ffmpeg", 24_000, "default", re_flag=re_flag),
        "file": file_argv("ffmpeg", 24_000, Path("-odd:name.mp3"), repeat=False, re_flag=re_flag),
    }


@pytest.mark.parametrize("kind", list(of_every_kind(re_flag=False)))
def test_the_output_is_mono_pcm_at_the_rate_that_is_wanted_without_delay(kind: str) -> None:
    argv = of_every_kind(re_flag=False)[kind]
    output = argv[argv.index("-i") + 2 :]
    assert " ".join(output) == "-map 0:a:0 -ac 1 -ar 24000 -c:a pcm_s16le -f s16le -flush_packets 1 pipe:1"
    assert "-nostdin" in argv


@pytest.mark.parametrize("kind", list(of_every_kind(re_flag=False)))
def test_the_native_rate_is_a_flag_of_the_input_and_there_only_when_asked_for(kind: str) -> None:
    assert "-re" not in of_every_kind(re_flag=False)[kind]
    argv = of_every_kind(re_flag=True)[kind]
    assert argv.index("-re") < argv.index("-i")


def test_every_input_is_what_it_shall_be() -> None:
    inputs = {kind: argv[argv.index("-i") + 1] for kind, argv in of_every_kind(re_flag=True).items()}
    assert inputs == {
        "stream": "pipe:0",
        "hls": URL,
        "alsa": "hw:1,0",
        "pulse": "default",
        "file": "file:-odd:name.mp3",
    }


def test_a_stream_opens_nothing_but_what_it_is_given() -> None:
    def allowed(argv: list[str]) -> str:
        return argv[argv.index("-protocol_whitelist") + 1]

    kinds = of_every_kind(re_flag=True)
    assert allowed(kinds["stream"]) == "pipe"
    assert allowed(kinds["hls"]) == "http,https,tcp,tls,crypto"
    assert allowed(kinds["file"]) == "file"
    formats = kinds["stream"][kinds["stream"].index("-format_whitelist") + 1].split(",")
    assert not {"hls", "concat", "dash", "sdp", "rtsp", "tee", "lavfi", "image2"} & set(formats)


def test_a_sound_card_is_asked_for_its_rate_and_channels() -> None:
    argv = alsa_argv("ffmpeg", 24_000, "hw:1,0", 44_100, 1, re_flag=False)
    assert " ".join(argv[argv.index("-f") : argv.index("-map")]) == "-f alsa -sample_rate 44100 -channels 1 -i hw:1,0"


def test_a_file_is_repeated_when_it_shall_be() -> None:
    argv = file_argv("ffmpeg", 24_000, Path("a.wav"), repeat=True, re_flag=False)
    at = argv.index("-stream_loop")
    assert argv[at + 1] == "-1"
    assert at < argv.index("-i")
