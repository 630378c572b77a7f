"""The first broken stage is named, judged by ages, with a command that can be typed."""

from __future__ import annotations

from typing import Any

import pytest

from app_core.bridge import keys
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.diagnosis import (
    StationHealth,
    Verdict,
    diagnose,
    diagnose_audio,
    diagnose_sdr,
    read_station_health,
    redis_cli,
    warnings_of,
)
from app_core.bridge.freshness import Aged, read_aged
from app_core.bridge.local_redis import free_port
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage, StreamsMessage
from tests.support.redis_server import RedisServer


def _receiver(**changes: object) -> dict[str, Any]:
    return {"last_sample_age_s": 0.1, "last_published_age_s": 0.1, "message_s": 0.1, "state": "running", **changes}


def _sdr(age_s: float = 0.5, **receivers: dict[str, Any]) -> Aged[SdrMetricsMessage]:
    return Aged(SdrMetricsMessage(timestamp=1.0, pid=1, receivers=receivers or {"noaa": _receiver()}), age_s)


def _audio(age_s: float = 0.5, **channel: object) -> Aged[AudioMetricsMessage]:
    entry = {"last_pcm_age_s": 0.1, **channel}
    return Aged(AudioMetricsMessage(timestamp=1.0, pid=1, receivers={}, channels={"wx7": entry}), age_s)


def _stages(verdicts: list[Verdict]) -> list[str]:
    return [verdict.stage for verdict in verdicts]


def test_a_station_that_is_well_has_no_verdict() -> None:
    assert diagnose(StationHealth(_sdr(), _audio())) == []


def test_redis_that_cannot_be_reached_comes_before_everything() -> None:
    health = read = read_station_health(RedisLink(RedisSettings(port=free_port())))
    assert _stages(diagnose(read)) == ["Redis"]
    assert "refused" in diagnose_sdr(health)[0].reason
    assert diagnose_audio(health) == diagnose_sdr(health)


def test_a_service_that_says_nothing_is_the_broken_stage() -> None:
    assert _stages(diagnose(StationHealth())) == ["SDR service", "decode job"]
    assert _stages(diagnose_sdr(StationHealth(_sdr(age_s=5.1)))) == ["SDR service"]
    assert _stages(diagnose_audio(StationHealth(_sdr(), _audio(age_s=5.1)))) == ["decode job"]


def test_the_age_of_the_message_counts_for_what_it_says() -> None:
    late = _receiver(last_sample_age_s=3.0)
    assert diagnose_sdr(StationHealth(_sdr(1.9, noaa=late))) == []
    assert _stages(diagnose_sdr(StationHealth(_sdr(2.1, noaa=late)))) == ["receiver"]
    assert _stages(diagnose_sdr(StationHealth(_sdr(0.6)), max_age_s=0.5)) == ["SDR service"]


@pytest.mark.parametrize(
    ("changes", "stage", "words"),
    [
        ({"last_sample_age_s": None}, "receiver", "noaa: no samples yet: the device is silent"),
        ({"last_sample_age_s": 9.0, "error": "unplugged"}, "receiver", "no samples for 9.5 s: unplugged"),
        ({"last_published_age_s": 9.0}, "publisher", "no published samples for 9.5 s"),
        (
            {"faults": [{"name": "sample_rate_off", "stage": "receiver", "severity": "error", "text": "too few"}]},
            "receiver",
            "noaa: too few",
        ),
        (
            {"faults": [{"name": "ring_overflow", "stage": "ring", "severity": "error", "text": "Ring buffer"}]},
            "ring",
            "Ring buffer",
        ),
    ],
)
def test_a_receiver_says_where_it_is_broken(changes: dict[str, object], stage: str, words: str) -> None:
    [verdict] = diagnose_sdr(StationHealth(_sdr(noaa=_receiver(**changes))))
    assert verdict.stage == stage
    assert words in verdict.reason


def test_warnings_and_faults_that_an_age_judges_break_nothing() -> None:
    faults = [
        {"name": "not_locked", "stage": "signal", "severity": "warning", "text": "no signal"},
        {"name": "no_samples", "stage": "receiver", "severity": "error", "text": "for 1.2 s"},
    ]
    assert diagnose_sdr(StationHealth(_sdr(noaa=_receiver(faults=faults, last_sample_age_s=1.2)))) == []


def test_a_slow_receiver_may_take_long_for_a_message() -> None:
    slow = _receiver(last_published_age_s=7.0, message_s=8.0)
    assert diagnose_sdr(StationHealth(_sdr(noaa=slow))) == []


def test_a_receiver_that_a_person_stopped_is_no_fault_unless_nothing_is_left() -> None:
    stopped = _receiver(state="stopped", last_sample_age_s=100.0)
    assert diagnose_sdr(StationHealth(_sdr(a=stopped, b=_receiver()))) == []
    [verdict] = diagnose_sdr(StationHealth(_sdr(a=stopped)))
    assert "stopped by a command" in verdict.reason


def test_audio_that_stops_for_want_of_samples_blames_the_receiver_first() -> None:
    broken = _sdr(noaa=_receiver(last_sample_age_s=9.0))
    assert _stages(diagnose_audio(StationHealth(broken, _audio(last_pcm_age_s=9.0)))) == ["receiver", "decoder"]
    assert _stages(diagnose_audio(StationHealth(_sdr(), _audio(last_pcm_age_s=9.0)))) == ["decoder"]
    assert diagnose_audio(StationHealth(broken, _audio())) == [], "audio still flows"
    assert _stages(diagnose(StationHealth(broken, _audio(last_pcm_age_s=9.0)))) == ["receiver", "decoder"]


UNHEARD: dict[str, Any] = {"out_of_band": True, "misfit": "118.3000 MHz lies outside", "last_pcm_age_s": None}


def test_a_channel_outside_the_band_is_a_fault_where_no_other_is_heard() -> None:
    [verdict] = diagnose_audio(StationHealth(_sdr(), _audio(**UNHEARD)))
    assert verdict.stage == "channel"
    assert verdict.reason == "wx7: 118.3000 MHz lies outside"


def test_a_channel_outside_the_band_is_a_warning_while_others_are_heard() -> None:
    audio = _audio()
    audio.message.channels["far"] = dict(UNHEARD)
    health = StationHealth(_sdr(), audio)
    assert diagnose(health) == []
    assert warnings_of(health) == ["channel far is not heard: 118.3000 MHz lies outside"]
    assert warnings_of(StationHealth(_sdr(), _audio())) == []
    assert warnings_of(StationHealth()) == []
    # When the other one falls silent, both are told.
    audio.message.channels["wx7"]["last_pcm_age_s"] = 9.0
    assert _stages(diagnose_audio(health)) == ["decoder", "channel"]


@pytest.mark.parametrize(
    ("settings", "call"),
    [
        (RedisSettings(), "redis-cli"),
        (RedisSettings(host="redis", port=6380, db=2), "redis-cli -h redis -p 6380 -n 2"),
        (RedisSettings(url="rediss://me:secret@bus:6390/1"), "redis-cli --tls -h bus -p 6390 -n 1 --user me"),
        (RedisSettings(url="unix:///run/redis.sock"), "redis-cli -s /run/redis.sock"),
    ],
)
def test_commands_reach_the_redis_that_is_meant_and_show_no_password(settings: RedisSettings, call: str) -> None:
    assert redis_cli(settings) == call
    assert Verdict("a", "b", "redis-cli PING").command_for(settings) == f"{call} PING"
    assert Verdict("a", "b", "herald sdr").command_for(settings) == "herald sdr"


def test_the_age_of_a_message_comes_from_its_time_to_live_and_not_from_clocks(redis_server: RedisServer) -> None:
    message = SdrMetricsMessage(timestamp=1.0, pid=1, receivers={})
    link = redis_server.link()
    link.client.set(keys.METRICS, message.to_json(), px=28_000)
    aged = read_aged(link, keys.METRICS, keys.METRICS_TTL_S, SdrMetricsMessage)
    assert aged is not None
    assert aged.message == message
    assert aged.age_s == pytest.approx(2.0, abs=0.5)
    link.client.set(keys.METRICS, message.to_json())
    aged = read_aged(link, keys.METRICS, keys.METRICS_TTL_S, SdrMetricsMessage)
    assert aged is not None
    assert aged.age_s > 1e9, "without a time to live its own word holds"
    link.client.delete(keys.METRICS)
    assert read_aged(link, keys.METRICS, keys.METRICS_TTL_S, SdrMetricsMessage) is None
    link.close()


@pytest.mark.parametrize("nonsense", ["SET sdr:metrics {", "LPUSH sdr:metrics 1"])
def test_nonsense_in_the_key_is_a_verdict_and_no_crash(redis_server: RedisServer, nonsense: str) -> None:
    redis_server.cli(*nonsense.split())
    link = redis_server.link()
    [verdict] = diagnose_sdr(read_station_health(link))
    assert verdict.stage == "SDR service"
    assert verdict.reason
    link.close()


def test_a_station_that_listens_to_streams_alone_misses_no_radio() -> None:
    assert diagnose(StationHealth(None, _audio(source_type="stream"))) == []
    assert _stages(diagnose(StationHealth(None, _audio(source_type="sdr")))) == ["SDR service"]
    assert _stages(diagnose(StationHealth(None, None))) == ["SDR service", "decode job"]


def test_a_stream_that_gives_nothing_is_the_broken_stage_and_says_why() -> None:
    health = StationHealth(_sdr(), _audio(source_type="stream", last_pcm_age_s=9.0, last_error="the server is full"))
    [verdict] = diagnose(health)
    assert (verdict.stage, verdict.reason) == ("source", "wx7: no audio for 9.5 s: the server is full")
    assert diagnose(StationHealth(_sdr(), _audio(source_type="file", last_pcm_age_s=9.0, ended=True))) == []


STREAMS = StreamsMessage(
    timestamp=1.0,
    pid=1,
    mounts={
        "wx1": {"mount": "/wx1.mp3", "connected": True, "error": ""},
        "wx7": {"mount": "/wx7.mp3", "connected": False, "error": "the password is refused"},
        "wx8": {"mount": None, "connected": False, "error": "there are 1 mounts already"},
    },
    outputs={
        "web_audio": {"error": "cannot listen on port 8081"},
        "loudspeaker": {"open": False, "last_error": "no such device"},
        "dead_air": {"wx1": {"fault": "silence", "words": "nothing but silence for 40 s"}, "wx7": {"fault": None}},
    },
    workers={"web_audio": {"alive": False}, "loudspeaker": {"alive": True}, "dead_air": {"alive": True}},
)


def test_what_is_wrong_with_the_streams_is_a_warning_and_breaks_nothing() -> None:
    health = StationHealth(_sdr(), _audio(), streams=Aged(STREAMS, 0.5), streams_wanted=True)
    assert diagnose(health) == []
    assert warnings_of(health) == [
        "the mount /wx7.mp3 of wx7 is off the air: the password is refused",
        "wx8 has no mount: there are 1 mounts already",
        "web_audio is down: cannot listen on port 8081",
        "loudspeaker is silent: no such device",
        "wx1 is dead air: nothing but silence for 40 s",
    ]


def test_a_stream_job_that_says_nothing_is_told_where_there_is_something_to_stream() -> None:
    assert warnings_of(StationHealth(_sdr(), _audio())) == []
    [missing] = warnings_of(StationHealth(_sdr(), _audio(), streams_wanted=True))
    assert missing.startswith("stream job: no audio:streams for")
    [silent] = warnings_of(StationHealth(_sdr(), _audio(), streams=Aged(STREAMS, 6.0)))
    assert silent.startswith("stream job: silent for 6.0 s")


def test_what_cannot_be_read_of_the_streams_leaves_the_rest(redis_server: RedisServer) -> None:
    link = redis_server.link()
    link.client.set(keys.STREAMS, b"{")
    health = read_station_health(link)
    link.close()
    assert health.redis_reached
    assert health.error == ""
    [warning] = warnings_of(health)
    assert warning.startswith("stream job: ")
