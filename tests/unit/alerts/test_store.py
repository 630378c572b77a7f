import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from app_core.alerts.alert import Alert, Mark
from app_core.alerts.store import AlertStore, merge_alerts
from app_core.base.errors import ConfigError, LinkError
from tests.unit.alerts.air import NOW, header_text, make_alert


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlertStore]:
    with AlertStore(tmp_path / "alerts.db") as store:
        yield store


def execute(path: Path, statement: str) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_an_alert_that_is_stored_again_is_one_row(store: AlertStore) -> None:
    alert = make_alert()
    store.put(alert)
    store.put(alert)
    assert store.latest() == [alert]
    ended = replace(alert, end_reason="timeout", ended_at=NOW, revision=2)
    store.put(ended)
    assert store.latest() == [ended]
    store.put(alert)
    assert store.latest() == [ended]


def test_the_latest_are_those_that_came_last_whatever_the_clock_said(store: AlertStore) -> None:
    alerts = [
        make_alert(header_text(event=event), heard_at=NOW - timedelta(days=10 * number))
        for number, event in enumerate(("TOR", "SVR", "FFW"))
    ]
    for alert in alerts:
        store.put(alert)
    store.put(replace(alerts[0], revision=2))
    assert [alert.event_code for alert in store.latest(2)] == ["FFW", "SVR"]
    assert [alert.event_code for alert in store.latest()] == ["FFW", "SVR", "TOR"]


def test_alerts_are_found_by_id(store: AlertStore) -> None:
    alert = make_alert()
    store.put(alert)
    assert store.get(alert.alert_id) == alert
    assert store.get("unknown") is None


def test_two_processes_make_one_alert_of_the_same_transmission(tmp_path: Path, store: AlertStore) -> None:
    here, there = make_alert(), make_alert(header_text(callsign="KCMO/FM "), channel_id="kc2")
    assert here.alert_id == there.alert_id
    with AlertStore(tmp_path / "alerts.db") as other:
        store.put(here)
        other.put(there)
        store.put(replace(here, end_reason="timeout", revision=2))
        other.put(there)
    (stored,) = store.latest()
    assert sorted(stored.channels) == ["kc1", "kc2"]
    assert stored.state == "ended"


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def write(number: int) -> None:
        try:
            with AlertStore(tmp_path / "alerts.db") as store:
                for event in ("TOR", "SVR", "FFW", "TOA", "SVA"):
                    store.put(make_alert(header_text(event=event), channel_id=f"c{number}"))
        except LinkError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with AlertStore(tmp_path / "alerts.db") as store:
        assert [len(alert.channels) for alert in store.latest()] == [4] * 5


def test_a_database_that_is_away_is_a_link_error_and_may_come_back(tmp_path: Path) -> None:
    path = tmp_path / "alerts.db"
    path.mkdir()
    with AlertStore(path) as store:
        with pytest.raises(LinkError, match="alert database"):
            store.put(make_alert())
        with pytest.raises(LinkError):
            store.latest()
        path.rmdir()
        store.put(make_alert())
        assert len(store.latest()) == 1
        # The file is replaced by a new one while we are connected.
        store.close()
        path.unlink()
        with pytest.raises(LinkError):
            store.latest()
        store.put(make_alert())
        assert len(store.latest()) == 1


def test_a_file_that_is_no_database_is_a_link_error(tmp_path: Path) -> None:
    (tmp_path / "alerts.db").write_bytes(b"nonsense" * 1000)
    with AlertStore(tmp_path / "alerts.db") as store, pytest.raises(LinkError):
        store.put(make_alert())


def test_a_database_of_a_later_version_is_refused(tmp_path: Path, store: AlertStore) -> None:
    store.put(make_alert())
    execute(tmp_path / "alerts.db", "UPDATE herald_schema SET version = 99")
    with AlertStore(tmp_path / "alerts.db") as later, pytest.raises(ConfigError, match="version 99"):
        later.put(make_alert())


def test_a_row_that_is_no_alert_hides_no_other(tmp_path: Path, store: AlertStore) -> None:
    good, bad = make_alert(), make_alert(header_text(event="SVR"))
    store.put(good)
    store.put(bad)
    execute(tmp_path / "alerts.db", "UPDATE herald_alerts SET document = '{}' WHERE event_code = 'SVR'")
    assert store.latest() == [good]
    assert store.get(bad.alert_id) is None
    store.put(bad)
    assert store.latest() == [bad, good]


@pytest.mark.parametrize("url", ["nonsense", "nosuchdatabase://host/name"])
def test_a_url_that_cannot_be_used_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError):
        AlertStore(url)


def test_a_url_of_sqlite_is_taken(tmp_path: Path) -> None:
    with AlertStore(f"sqlite:///{tmp_path}/alerts.db") as store:
        store.put(make_alert())
    assert (tmp_path / "alerts.db").is_file()


def test_the_further_account_of_an_alert_wins() -> None:
    begun = make_alert()
    ended: Alert = replace(begun, end_reason="timeout", revision=2, recording="recordings/a.flac")
    assert merge_alerts(begun, ended) == ended
    assert merge_alerts(ended, begun) == ended
    elsewhere = replace(begun, hearings=(replace(begun.hearings[0], channel_id="kc2"),), revision=9)
    merged = merge_alerts(elsewhere, ended)
    assert merged.channels == ("kc1", "kc2") and merged.recording == "recordings/a.flac"


def test_a_recording_comes_with_what_is_known_of_it() -> None:
    without = replace(make_alert(), end_reason="timeout", ended_at=NOW, recording_complete=False, revision=9)
    recorded = replace(make_alert(), recording="recordings/x.flac", marks=(Mark("header_start", 1.0),))
    merged = merge_alerts(recorded, without)
    assert merged.recording == recorded.recording and merged.marks == recorded.marks and merged.recording_complete
    cut = replace(without, recording="recordings/y.flac", recording_complete=False)
    assert merge_alerts(recorded, cut) == cut
