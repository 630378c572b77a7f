"""Who reads with ``-re``: the rule, in its order, with its words."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from app_core.audio.redis_sdr_adapter import RedisSDRSourceAdapter
from app_core.audio.sources import AudioSource, AudioSourceConfig, AudioSourceType, Pacing, uses_re_flag
from app_core.bridge.connection import RedisSettings
from app_core.demod.channel_config import ChannelConfig


def source(name: str, source_type: AudioSourceType | None) -> object:
    if source_type is None:
        return SimpleNamespace(source_name=name)
    return SimpleNamespace(source_name=name, config=AudioSourceConfig(id="a", source_type=source_type))


@pytest.mark.parametrize(
    ("name", "source_type", "expected", "words"),
    [
        ("StreamSourceAdapter", None, True, "Using -re flag for StreamSourceAdapter (network stream)"),
        ("IcecastIngestSource", None, True, "Using -re flag for IcecastIngestSource (network stream)"),
        ("HTTPIngestSource", None, True, "Using -re flag for HTTPIngestSource (network stream)"),
        ("RedisSDRSourceAdapter", None, False, "NOT using -re flag for RedisSDRSourceAdapter (live hardware)"),
        # The name comes first, whatever the kind says.
        ("HTTPIngestSource", AudioSourceType.SDR, True, "Using -re flag for HTTPIngestSource (network stream)"),
        ("MySdrThing", AudioSourceType.STREAM, False, "NOT using -re flag for MySdrThing (live hardware)"),
        ("Other", AudioSourceType.STREAM, True, "Using -re flag for Other (network stream)"),
        ("Other", AudioSourceType.SDR, False, "NOT using -re flag for Other (live hardware)"),
        ("Other", AudioSourceType.FILE, False, "NOT using -re flag for Other (default)"),
        ("Other", AudioSourceType.ALSA, False, "NOT using -re flag for Other (default)"),
        ("Other", AudioSourceType.PULSE, False, "NOT using -re flag for Other (default)"),
        ("Other", AudioSourceType.RTP, False, "NOT using -re flag for Other (default)"),
        ("Other", None, False, "NOT using -re flag for Other (default)"),
    ],
)
def test_the_rule_is_kept_and_said(
    caplog: pytest.LogCaptureFixture, name: str, source_type: AudioSourceType | None, expected: bool, words: str
) -> None:
    caplog.set_level(logging.INFO)
    assert uses_re_flag(source(name, source_type)) is expected
    assert caplog.messages == [words]


def test_what_names_no_class_is_named_by_its_own() -> None:
    class HTTPIngestSource:
        pass

    assert uses_re_flag(HTTPIngestSource())
    assert not uses_re_flag(object())


def test_only_network_streams_are_paced_by_ffmpeg() -> None:
    paced = {kind: AudioSourceConfig(id="a", source_type=kind).pacing for kind in AudioSourceType}
    assert {kind for kind, pacing in paced.items() if pacing is Pacing.NATIVE_RATE} == {AudioSourceType.STREAM}
    assert {kind for kind, pacing in paced.items() if pacing is Pacing.CLOCK} == {AudioSourceType.FILE}


def test_a_radio_is_a_source_of_audio() -> None:
    channel = ChannelConfig(id="wx1", receiver_id="rx", frequency_hz=162_550_000)
    adapter = RedisSDRSourceAdapter(RedisSettings(), "rx", [channel])
    assert isinstance(adapter, AudioSource)
    assert (adapter.source_name, adapter.config.source_type) == ("RedisSDRSourceAdapter", AudioSourceType.SDR)
    assert not uses_re_flag(adapter)
    adapter.close()


def test_a_source_is_called_by_its_name_where_it_has_one() -> None:
    assert AudioSourceConfig(id="a", source_type=AudioSourceType.FILE, name="Drill").title == "Drill"
    assert AudioSourceConfig(id="a", source_type=AudioSourceType.FILE).title == "a"
