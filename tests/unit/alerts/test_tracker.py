from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app_core.alerts.tracker import KEEP_AT_LEAST_S, MAX_HEARINGS, AlertTracker, Sighting
from tests.unit.alerts.air import NOW, decoded, header_text, issue_text


def hear(
    tracker: AlertTracker,
    text: str | None = None,
    after_s: float = 0.0,
    channel_id: str = "kc1",
    error_probability: float = 1e-6,
    utc: datetime = NOW,
) -> Sighting:
    return tracker.hear(
        decoded(header_text() if text is None else text, error_probability=error_probability),
        channel_id=channel_id,
        receiver_id="rx1",
        heard_at=utc + timedelta(seconds=after_s),
        monotonic_s=5000.0 + after_s,
    )


def test_a_relay_with_another_callsign_and_order_is_the_same_alert() -> None:
    tracker = AlertTracker(zone=UTC)
    first = hear(tracker)
    assert first.is_new and first.is_changed
    relay = header_text(callsign="KCMO/FM ", locations="020091-029095")
    second = hear(tracker, relay, after_s=60.0, channel_id="kc2")
    assert not second.is_new and second.is_changed
    assert second.alert.alert_id == first.alert.alert_id
    assert second.alert.channels == ("kc1", "kc2")
    assert second.alert.callsigns == ("KEAX/NWS", "KCMO/FM")
    assert second.alert.revision == 2
    assert second.alert.header == first.alert.header


@pytest.mark.parametrize(
    "text",
    [
        header_text(event="SVR"),
        header_text(originator="EAS"),
        header_text(locations="029095"),
        header_text(locations="129095-020091"),
        header_text(issued=issue_text(NOW - timedelta(minutes=1))),
    ],
)
def test_another_event_originator_area_or_issue_time_is_another_alert(text: str) -> None:
    tracker = AlertTracker(zone=UTC)
    hear(tracker)
    assert hear(tracker, text).is_new


def test_a_key_is_kept_until_the_purge_time_and_no_longer() -> None:
    tracker = AlertTracker(zone=UTC)
    hear(tracker)
    # Issued at 23:00:00 for 45 minutes, heard at 23:00:30.
    assert not hear(tracker, after_s=44 * 60.0 + 29.0).is_new
    again = hear(tracker, after_s=44 * 60.0 + 31.0)
    assert again.is_new
    assert not hear(tracker, after_s=44 * 60.0 + 40.0).is_new


def test_a_short_or_senseless_purge_time_keeps_the_key_for_some_minutes() -> None:
    tracker = AlertTracker(zone=UTC)
    text = header_text(purge="0000")
    first = hear(tracker, text)
    assert not hear(tracker, text, after_s=KEEP_AT_LEAST_S - 1.0).is_new
    again = hear(tracker, text, after_s=KEEP_AT_LEAST_S + 1.0)
    assert again.is_new and again.alert.alert_id != first.alert.alert_id


def test_without_a_clock_the_key_is_kept_for_the_whole_duration() -> None:
    tracker = AlertTracker(zone=UTC)
    boot = datetime(1970, 1, 1, tzinfo=UTC)
    assert hear(tracker, utc=boot).alert.clock_doubt
    # The clock jumps to the true time in between; only the monotonic clock counts.
    assert not hear(tracker, after_s=44 * 60.0, utc=NOW).is_new
    assert hear(tracker, after_s=46 * 60.0, utc=boot).is_new


def test_the_same_channel_again_changes_nothing_unless_it_is_better() -> None:
    tracker = AlertTracker(zone=UTC)
    first = hear(tracker, error_probability=1e-6)
    worse = hear(tracker, after_s=10.0, error_probability=1e-4)
    assert not worse.is_changed and worse.alert is first.alert
    better = hear(tracker, after_s=20.0, error_probability=1e-9)
    assert better.is_changed and not better.is_new
    assert len(better.alert.hearings) == 1
    assert better.alert.best_hearing.error_probability == 1e-9
    assert better.alert.heard_at == first.alert.heard_at


def test_quality_that_is_not_a_number_is_the_worst() -> None:
    tracker = AlertTracker(zone=UTC)
    event = replace(decoded(header_text()), error_probability=float("nan"), snr_db=float("inf"))
    sighting = tracker.hear(event, channel_id="a", receiver_id="b", heard_at=NOW, monotonic_s=0.0)
    assert sighting.alert.best_hearing.error_probability == 1.0
    assert sighting.alert.to_json()


def test_memory_is_bounded_and_the_first_to_expire_goes_first() -> None:
    tracker = AlertTracker(zone=UTC, max_keys=3)
    hear(tracker, header_text(event="AAA", purge="0200"))
    hear(tracker, header_text(event="BBB", purge="0100"))
    hear(tracker, header_text(event="CCC", purge="0300"))
    hear(tracker, header_text(event="DDD", purge="0300"))
    assert len(tracker) == 3
    known = [not hear(tracker, header_text(event=e, purge=p)).is_new for e, p in (("AAA", "0200"), ("CCC", "0300"))]
    assert known == [True, True]
    assert hear(tracker, header_text(event="BBB", purge="0100")).is_new


def test_hearings_are_bounded() -> None:
    tracker = AlertTracker(zone=UTC)
    for number in range(MAX_HEARINGS + 5):
        sighting = hear(tracker, channel_id=f"c{number}")
    assert len(sighting.alert.hearings) == MAX_HEARINGS
    assert not sighting.is_changed


def test_a_restored_alert_is_known_until_it_expires() -> None:
    alert = hear(AlertTracker(zone=UTC)).alert
    tracker = AlertTracker(zone=UTC)
    tracker.restore(alert, expires_monotonic_s=5100.0, monotonic_s=5000.0)
    again = hear(tracker, after_s=50.0, channel_id="kc2")
    assert not again.is_new and again.alert.channels == ("kc1", "kc2")
    tracker = AlertTracker(zone=UTC)
    tracker.restore(alert, expires_monotonic_s=4999.0, monotonic_s=5000.0)
    assert hear(tracker).is_new


def test_a_later_revision_takes_part_in_the_next_merge() -> None:
    tracker = AlertTracker(zone=UTC)
    alert = hear(tracker).alert
    tracker.update(replace(alert, end_reason="end_of_message", revision=2))
    merged = hear(tracker, channel_id="kc2", after_s=5.0).alert
    assert merged.end_reason == "end_of_message" and merged.revision == 3
