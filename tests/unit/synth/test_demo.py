"""The demo's station and its alerts."""

from __future__ import annotations

import itertools

import pytest

from app_core.base.errors import ConfigError
from app_core.eas.header import SameHeader, parse_header
from app_core.synth.demo import DemoSchedule, demo_plan
from app_core.synth.plan import NWR_FREQUENCIES_HZ, ScheduledAlert, Speech

SOME_TIME_S = 1_795_199_105.0
"""2026-11-20 18:25:05 UTC, day 324."""


def alerts(count: int, now_s: float = SOME_TIME_S) -> list[ScheduledAlert]:
    """Take this many alerts from a schedule whose clock runs with the stream."""
    schedule = DemoSchedule(clock=lambda: now_s + schedule.next_start_s)
    return [schedule.take() for _ in range(count)]


def fields(alert: ScheduledAlert) -> SameHeader:
    return parse_header(alert.header_text)


def test_the_first_alert_is_a_tornado_warning_for_kansas_city_after_8_s() -> None:
    (first,) = alerts(1)
    header = fields(first)
    assert (first.start_s, first.frequency_hz) == (8.0, 162_550e3)
    assert (header.originator, header.event_code, header.callsign) == ("WXR", "TOR", "KEAX/NWS")
    assert {"029095", "020091", "020209"} < set(header.locations)
    assert header.issue_time == "3241825"


def test_alerts_follow_every_minute_on_changing_channels_for_ever() -> None:
    followed = alerts(45)
    assert [alert.start_s for alert in followed] == [8.0 + 60.0 * k for k in range(45)]
    assert all(a.frequency_hz != b.frequency_hz for a, b in itertools.pairwise(followed))
    assert {alert.frequency_hz for alert in followed} == set(NWR_FREQUENCIES_HZ)
    assert {"TOR", "SVR", "FFW", "TOA", "RWT"} <= {fields(alert).event_code for alert in followed}
    assert len({alert.header_text for alert in followed}) == 45


def test_the_issue_time_is_the_minute_in_which_the_alert_is_made() -> None:
    assert fields(alerts(3)[-1]).issue_time == "3241827"


def test_starts_within_one_minute_do_not_repeat_a_header() -> None:
    minute_s = SOME_TIME_S - SOME_TIME_S % 60.0
    areas = []
    for second in range(60):
        header = fields(DemoSchedule(clock=lambda now_s=minute_s + second: now_s).take())  # type: ignore[misc]
        assert header.issue_time == "3241825"
        assert len(set(header.locations)) == 5
        areas.append(frozenset(header.locations))
    assert len(set(areas)) == 60


def test_everything_that_is_spoken_says_that_it_is_a_demonstration() -> None:
    texts = [alert.voice_text for alert in alerts(20)]
    programmes = [channel.programme for channel in demo_plan().channels]
    texts += [programme.text for programme in programmes if isinstance(programme, Speech)]
    assert len(texts) == 27
    assert all("demonstration" in text for text in texts)


def test_channels_differ_in_text_voice_and_strength() -> None:
    channels = demo_plan().channels
    assert [channel.frequency_hz for channel in channels] == list(NWR_FREQUENCIES_HZ)
    assert len({(channel.programme, channel.cn_db) for channel in channels}) == 7
    assert min(channel.cn_db for channel in channels) == 12.0
    assert max(channel.cn_db for channel in channels) == 40.0


def test_impossible_times_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot start at"):
        DemoSchedule(first_start_s=-1.0)
    with pytest.raises(ConfigError, match="cannot follow one another"):
        DemoSchedule(interval_s=0.0)
