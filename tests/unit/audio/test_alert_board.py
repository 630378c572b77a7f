from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from app_core.alerts.alert import Alert, Hearing
from app_core.audio import alert_board
from app_core.audio.alert_board import AlertBoard, AlertListener
from app_core.bridge.alert_stream import publish_alert
from app_core.eas.locations import Location
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
HEADER = "ZCZC-WXR-TOR-029095+0030-1211200-KEAX/NWS-"


def alert_of(channel_id: str, *, alert_id: str = "20260501T1200Z-TOR-1", ended: bool = False) -> Alert:
    return Alert(
        alert_id=alert_id,
        revision=2 if ended else 1,
        header=HEADER,
        originator="WXR",
        event_code="TOR",
        event_name="Tornado Warning",
        event_kind="warning",
        locations=(Location("029095", "Jackson", "Missouri", "US", "county", ""),),
        purge_minutes=30,
        issue_time=NOW,
        purge_time=NOW,
        hearings=(Hearing(channel_id, "noaa-1", "KEAX/NWS", NOW, 3, 0.0, 20.0),),
        recording=None,
        recording_complete=True,
        marks=(),
        end_reason="end_of_message" if ended else None,
        ended_at=NOW if ended else None,
        clock_doubt="",
        demo=False,
        text=f"Tornado Warning of {alert_id}",
    )


def test_an_alert_is_told_on_its_channels_until_its_end() -> None:
    board = AlertBoard()
    told: list[Alert] = []
    board.listen(told.append)
    board.take(alert_of("wx7"))
    assert board.text_for("wx7") == "Tornado Warning of 20260501T1200Z-TOR-1"
    assert board.text_for("wx1") == ""
    assert len(board.on_the_air()) == 1
    board.take(alert_of("wx7", ended=True))
    assert board.text_for("wx7") == ""
    assert [alert.end_reason for alert in told] == [None, "end_of_message"]


def test_of_two_alerts_the_newest_is_told_and_the_other_after_it() -> None:
    board = AlertBoard()
    board.take(alert_of("wx7", alert_id="first"))
    board.take(alert_of("wx7", alert_id="second"))
    assert board.text_for("wx7") == "Tornado Warning of second"
    board.take(alert_of("wx7", alert_id="second", ended=True))
    assert board.text_for("wx7") == "Tornado Warning of first"


def test_an_alert_whose_end_is_never_told_is_over_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    board = AlertBoard()
    board.take(alert_of("wx7"))
    monkeypatch.setattr(alert_board, "LONGEST_ALERT_S", -1.0)
    assert board.text_for("wx7") == ""


@pytest.fixture
def listening(redis_server: RedisServer) -> Iterator[tuple[RedisServer, AlertBoard, AlertListener]]:
    board = AlertBoard()
    with AlertListener(redis_server.settings, board) as listener:
        yield redis_server, board, listener


def test_alerts_come_through_redis_and_nonsense_is_counted(
    listening: tuple[RedisServer, AlertBoard, AlertListener],
) -> None:
    redis, board, listener = listening
    link = redis.link()
    begun = alert_of("wx7")
    publish_alert(link, begun.alert_id, begun.revision, begun.to_json())
    eventually(lambda: board.text_for("wx7") != "", "the alert")
    publish_alert(link, "x", 1, b"{}")
    eventually(lambda: listener.malformed_count == 1, "the nonsense")
    ended = alert_of("wx7", ended=True)
    publish_alert(link, ended.alert_id, ended.revision, ended.to_json())
    eventually(lambda: board.text_for("wx7") == "", "its end")
    link.close()


def test_one_that_begins_late_knows_the_alerts_that_last(redis_server: RedisServer) -> None:
    link = redis_server.link()
    publish_alert(link, "x", 1, b"{}")
    over = [alert_of("wx1", alert_id="20260501T1200Z-TOR-0", ended=ended) for ended in (False, True)]
    for alert in (*over, alert_of("wx7")):
        publish_alert(link, alert.alert_id, alert.revision, alert.to_json())
    board = AlertBoard()
    told: list[Alert] = []
    board.listen(told.append)
    with AlertListener(redis_server.settings, board) as listener:
        eventually(lambda: board.text_for("wx7") != "", "the alert that lasts")
        assert listener.malformed_count == 1
        ended = alert_of("wx7", ended=True)
        publish_alert(link, ended.alert_id, ended.revision, ended.to_json())
        eventually(lambda: board.text_for("wx7") == "", "its end")
    assert [(alert.channels, alert.end_reason) for alert in told] == [(("wx7",), None), (("wx7",), "end_of_message")]
    link.close()


def test_an_alert_that_began_long_ago_is_over_as_soon_as_by_one_who_heard_it_begin() -> None:
    board = AlertBoard()
    board.take(alert_of("wx7"), alert_board.LONGEST_ALERT_S - 60.0)
    assert board.text_for("wx7") != ""
    board.take(alert_of("wx7"), alert_board.LONGEST_ALERT_S + 1.0)
    assert board.text_for("wx7") == ""
