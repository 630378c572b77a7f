import threading
from pathlib import Path

from app_core.alerts.alert import Alert
from app_core.alerts.handover import Handover, deliver_to_publisher, deliver_to_store
from app_core.alerts.spool import Spool
from app_core.alerts.store import AlertStore
from app_core.base.errors import LinkError
from tests.unit.alerts.air import NOW, header_text, make_alert


def make_spool(directory: Path) -> Spool:
    spool = Spool(directory / "spool", "boot")
    spool.load(NOW, 0.0)
    return spool


def test_what_is_in_the_spool_at_the_start_and_what_comes_later_is_handed_over(tmp_path: Path) -> None:
    spool, taken, came = make_spool(tmp_path), [], threading.Semaphore(0)

    def publish(alert: Alert) -> None:
        taken.append(alert.event_code)
        came.release()

    spool.put(make_alert(), 1e9)
    with Handover("test", spool, deliver_to_publisher(spool, publish)) as handover:
        assert came.acquire(timeout=10.0)
        spool.put(make_alert(header_text(event="SVR")), 1e9)
        handover.wake()
        assert came.acquire(timeout=10.0)
    assert taken == ["TOR", "SVR"]
    assert spool.backlog == 2  # Nothing is stored yet.


def test_a_new_alert_does_not_wait_for_the_end_of_a_long_wait(tmp_path: Path) -> None:
    spool, came, refused = make_spool(tmp_path), threading.Event(), threading.Event()

    def publish(alert: Alert) -> None:
        if alert.event_code == "TOR":
            refused.set()
            raise ValueError("never")
        came.set()

    spool.put(make_alert(), 1e9)
    handover = Handover("test", spool, deliver_to_publisher(spool, publish), first_wait_s=1e6, longest_wait_s=1e6)
    with handover:
        assert refused.wait(10.0)
        spool.put(make_alert(header_text(event="SVR")), 1e9)
        handover.wake()
        assert came.wait(10.0)
    assert handover.failures >= 2 and handover.last_error == "never"


def test_a_taker_that_is_away_is_asked_once_a_round(tmp_path: Path) -> None:
    spool, asked = make_spool(tmp_path), []

    def publish(alert: Alert) -> None:
        asked.append(alert.event_code)
        raise LinkError("away")

    for event in ("TOR", "SVR", "FFW"):
        spool.put(make_alert(header_text(event=event)), 1e9)
    handover = Handover("test", spool, deliver_to_publisher(spool, publish), first_wait_s=1e6, longest_wait_s=1e6)
    handover.request_stop()
    with handover:
        pass
    assert asked == ["TOR"] * handover.failures


def test_a_taker_that_hangs_does_not_hold_up_the_other(tmp_path: Path) -> None:
    spool, release = make_spool(tmp_path), threading.Event()
    alert = make_alert()
    spool.put(alert, 1e9)

    def publish(_: Alert) -> None:
        assert release.wait(10.0)

    with AlertStore(tmp_path / "alerts.db") as store:
        publisher = Handover("publish", spool, deliver_to_publisher(spool, publish))
        publisher.start()
        with Handover("store", spool, deliver_to_store(spool, store)):
            pass
        assert store.latest() == [alert]
        release.set()
        publisher.stop()
    assert spool.backlog == 0


def test_a_mark_that_the_disk_does_not_take_repeats_nothing(tmp_path: Path) -> None:
    spool, taken = make_spool(tmp_path), []
    spool.put(make_alert(), 1e9)
    spool.directory.rename(tmp_path / "elsewhere")
    spool.directory.write_text("not a directory")
    for _ in range(2):
        with Handover("test", spool, deliver_to_publisher(spool, lambda alert: taken.append(alert.state))):
            pass
    assert taken == ["begun"]
    assert spool.unsaved == 1
