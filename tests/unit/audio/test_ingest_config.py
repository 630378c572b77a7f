"""The ``[[sources]]`` tables: what they take and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app_core.audio.file_source import FileSource
from app_core.audio.ingest_config import AnyIngestSettings
from app_core.audio.ingest_monitor import make_source
from app_core.audio.ingest_source import IngestSource
from app_core.audio.sound_source import SoundCardSource
from app_core.audio.sources import AudioSource, Pacing
from app_core.audio.stream_source import HTTPIngestSource, IcecastIngestSource, StreamSourceAdapter
from tests.unit.audio.ingest import Sink

STREAM = {"id": "a", "type": "stream", "url": "https://radio.example/wx.mp3"}


def read(table: dict[str, Any]) -> AnyIngestSettings:
    adapter: TypeAdapter[AnyIngestSettings] = TypeAdapter(AnyIngestSettings)
    return adapter.validate_python(table)


@pytest.mark.parametrize(
    ("table", "kind", "pacing"),
    [
        (STREAM, IcecastIngestSource, Pacing.NATIVE_RATE),
        (STREAM | {"protocol": "http"}, HTTPIngestSource, Pacing.NATIVE_RATE),
        (STREAM | {"url": "https://radio.example/wx.m3u8?a=b"}, StreamSourceAdapter, Pacing.NATIVE_RATE),
        (STREAM | {"url": "https://radio.example/wx.m3u"}, IcecastIngestSource, Pacing.NATIVE_RATE),
        (STREAM | {"protocol": "hls"}, StreamSourceAdapter, Pacing.NATIVE_RATE),
        ({"id": "a", "type": "alsa", "device": "hw:1,0"}, SoundCardSource, Pacing.LIVE),
        ({"id": "a", "type": "pulse"}, SoundCardSource, Pacing.LIVE),
        ({"id": "a", "type": "file", "path": "a.wav"}, FileSource, Pacing.CLOCK),
    ],
)
def test_every_table_makes_its_source(table: dict[str, Any], kind: type[IngestSource], pacing: Pacing) -> None:
    source = make_source(read(table), Sink())
    assert type(source) is kind
    assert isinstance(source, AudioSource)
    assert source.source_name == kind.__name__
    assert source.config.pacing is pacing
    assert (source.config.id, source.sample_rate_hz) == ("a", 24_000)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (STREAM | {"url": "file:///etc/passwd"}, "not an address"),
        (STREAM | {"url": "rtsp://a/b"}, "not an address"),
        (STREAM | {"url": "https://me:word@a/b"}, "use username and password_file"),
        (STREAM | {"url": "https://a/b c"}, "write it as %20"),
        (STREAM | {"username": "me"}, "go together"),
        (STREAM | {"password_file": "a"}, "go together"),
        (STREAM | {"username": "m:e", "password_file": "a"}, "pattern"),
        (STREAM | {"protocol": "hls", "username": "me", "password_file": "a"}, "hls takes no password_file"),
        (STREAM | {"id": "a b"}, "not an id"),
        (STREAM | {"id": ""}, "not an id"),
        (STREAM | {"sample_rate_hz": 1000}, "sample_rate_hz"),
        (STREAM | {"name": "a\0b"}, "printable"),
        (STREAM | {"name": "x" * 121}, "120"),
        (STREAM | {"device": "hw:0"}, "device"),
        ({"id": "a", "type": "alsa", "device": "-i"}, "not the name of a device"),
        ({"id": "a", "type": "file"}, "path"),
        ({"id": "a", "type": "tape"}, "type"),
        ({"id": "a"}, "type"),
    ],
)
def test_what_cannot_be_is_refused_in_words(table: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        read(table)
