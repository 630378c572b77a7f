"""The stream of alerts: nothing is missed between two looks."""

from __future__ import annotations

from app_core.bridge import keys
from app_core.bridge.alert_stream import AlertTail, publish_alert
from tests.support.redis_server import RedisServer


def test_an_alert_is_an_entry_of_the_stream(redis_server: RedisServer) -> None:
    link = redis_server.link()
    publish_alert(link, "alert-1", 2, b'{"event":"TOR"}')
    link.close()
    lines = redis_server.cli("XRANGE", keys.ALERTS, "-", "+").splitlines()
    assert lines[1:] == ["alert_id", "alert-1", "revision", "2", "alert", '{"event":"TOR"}']


def test_a_reader_from_the_start_sees_what_was_there_and_what_comes(redis_server: RedisServer) -> None:
    link = redis_server.link()
    publish_alert(link, "a", 1, b"1")
    tail = AlertTail(link)
    assert tail.read(0.001) == [b"1"]
    assert tail.read(0.001) == []
    publish_alert(link, "b", 1, b"2")
    publish_alert(link, "c", 1, b"3")
    assert tail.read(0.001) == [b"2", b"3"]
    link.close()


def test_a_reader_from_now_on_misses_nothing_between_two_looks(redis_server: RedisServer) -> None:
    link = redis_server.link()
    publish_alert(link, "a", 1, b"before")
    tail = AlertTail(link, from_start=False)
    assert tail.read(0.001) == []
    publish_alert(link, "b", 1, b"between")
    assert tail.read(0.001) == [b"between"]
    link.close()


def test_a_reader_from_now_on_of_a_stream_that_is_not_there_sees_its_first_entry(redis_server: RedisServer) -> None:
    link = redis_server.link()
    tail = AlertTail(link, from_start=False)
    assert tail.read(0.001) == []
    publish_alert(link, "a", 1, b"first")
    assert tail.read(0.001) == [b"first"]
    link.close()


def test_entries_of_others_are_passed_over(redis_server: RedisServer) -> None:
    redis_server.cli("XADD", keys.ALERTS, "*", "something", "else")
    link = redis_server.link()
    publish_alert(link, "a", 1, b"ours")
    assert AlertTail(link).read(0.001) == [b"ours"]
    link.close()


def test_what_came_lately_is_given_with_its_age_and_what_comes_then_follows(redis_server: RedisServer) -> None:
    link = redis_server.link()
    now_s = int(redis_server.cli("TIME").splitlines()[0])
    for before_s, name in ((900, "old"), (300, "lately")):
        redis_server.cli("XADD", keys.ALERTS, f"{(now_s - before_s) * 1000}-0", "alert", name)
    tail = AlertTail(link, from_start=False)
    ((age_s, payload),) = tail.recent(600.0)
    assert payload == b"lately" and 299.0 <= age_s < 600.0
    publish_alert(link, "b", 1, b"next")
    assert tail.read(0.001) == [b"next"]
    link.close()


def test_where_nothing_came_lately_the_first_that_comes_follows(redis_server: RedisServer) -> None:
    link = redis_server.link()
    tail = AlertTail(link, from_start=False)
    assert tail.recent(600.0) == []
    publish_alert(link, "b", 1, b"next")
    assert tail.read(0.001) == [b"next"]
    link.close()
