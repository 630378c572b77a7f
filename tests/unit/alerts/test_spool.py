import os
import random
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.alerts.alert import Alert
from app_core.alerts.spool import Spool, SpoolEntry, next_publication, wants_store, write_durably
from app_core.base.errors import LinkError, WireError
from tests.unit.alerts.air import NOW, header_text, make_alert

ROOT = Path(__file__).parents[3]

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from app_core.alerts.spool import Spool
from tests.unit.alerts.air import NOW, header_text, make_alert

spool = Spool(Path(sys.argv[1]), "boot")
spool.load(NOW, 0.0)
areas = "-".join(f"0{29 + n % 2}{n:03d}" for n in range(1, 63, 2))
for number in range(1_000_000):
    alert = make_alert(header_text(event=f"A{number % 100:02d}", locations=areas))
    spool.put(replace(alert, revision=number + 1), 1e9)
    spool.mark_published(alert.alert_id, "begun")
    print(alert.alert_id, number + 1, flush=True)
"""


def load(directory: Path, boot_id: str = "boot", now: datetime = NOW, monotonic_s: float = 0.0) -> Spool:
    spool = Spool(directory, boot_id)
    spool.load(now, monotonic_s)
    return spool


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    yield load(tmp_path / "spool")


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_leaves_every_acknowledged_alert_whole(tmp_path: Path, seed: int) -> None:
    n_before_the_kill = random.Random(seed).randrange(20, 250)
    acknowledged: dict[str, int] = {}
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout is not None
        for number, line in enumerate(child.stdout):
            alert_id, revision = line.split()
            acknowledged[alert_id] = int(revision)
            if number == n_before_the_kill:
                child.send_signal(signal.SIGKILL)
                break
        # Whatever was acknowledged before the kill arrived counts, too.
        for line in child.stdout:
            alert_id, revision = line.split()
            acknowledged[alert_id] = int(revision)
    assert child.returncode == -signal.SIGKILL
    spool = load(tmp_path)
    assert spool.malformed_files == 0
    found = {entry.alert.alert_id: entry for entry in spool.entries()}
    assert acknowledged.keys() <= found.keys()
    for alert_id, least_revision in acknowledged.items():
        assert found[alert_id].alert.revision >= least_revision
        assert found[alert_id].published == "begun"
    assert not list(tmp_path.glob("*.tmp"))


def test_entries_come_back_with_their_marks(spool: Spool) -> None:
    alert = make_alert()
    spool.put(alert, 100.0)
    spool.mark_stored(alert.alert_id, 1)
    spool.mark_published(alert.alert_id, "begun")
    assert load(spool.directory).entries() == [SpoolEntry(alert, "boot", 100.0, 1, "begun")]
    ended = replace(alert, end_reason="timeout", revision=2)
    spool.put(ended, 100.0)
    assert load(spool.directory).entries() == [SpoolEntry(ended, "boot", 100.0, 1, "begun")]


def test_an_alert_is_published_as_it_begins_and_as_it_ends() -> None:
    alert = make_alert()
    entry = SpoolEntry(alert, "boot", 0.0)
    assert next_publication(entry) == alert
    assert next_publication(replace(entry, published="begun")) is None
    ended = replace(alert, end_reason="timeout", ended_at=NOW, revision=2)
    entry = replace(entry, alert=ended)
    begun = next_publication(entry)
    assert begun is not None and begun.state == "begun" and begun.ended_at is None
    assert next_publication(replace(entry, published="begun")) == ended
    assert next_publication(replace(entry, published="ended")) is None


def test_an_alert_is_published_again_when_more_channels_hear_it() -> None:
    alert = make_alert()
    other = replace(alert.hearings[0], channel_id="kc2")
    wider = replace(alert, hearings=(*alert.hearings, other), revision=2)
    entry = SpoolEntry(wider, "boot", 0.0, 2, "begun", 1)
    assert next_publication(entry) == wider
    assert next_publication(replace(entry, published_channels=2)) is None
    assert next_publication(replace(entry, published="ended")) is None
    assert SpoolEntry.from_json(entry.to_json()) == entry


def test_an_entry_from_before_channels_were_counted_is_read() -> None:
    fields = orjson.loads(SpoolEntry(make_alert(), "boot", 0.0, 1, "begun").to_json())
    del fields["published_channels"]
    assert SpoolEntry.from_json(orjson.dumps(fields)).published_channels is None
    with pytest.raises(WireError, match="channels"):
        SpoolEntry.from_json(orjson.dumps({**fields, "published_channels": "2"}))


def test_every_revision_is_stored() -> None:
    entry = SpoolEntry(make_alert(), "boot", 0.0)
    assert wants_store(entry)
    assert not wants_store(replace(entry, stored_revision=1))
    assert wants_store(replace(entry, stored_revision=1, alert=replace(entry.alert, revision=2)))


def test_malformed_files_are_set_aside_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = load(tmp_path)
    spool.put(make_alert(), 100.0)
    good = (tmp_path / f"{make_alert().alert_id}.json").read_bytes()
    bad = {
        "empty": b"",
        "cut": good[:-20],
        "binary": os.urandom(100),
        "other": good,
        "list": b"[]",
        "huge": b"1" * 2_000_000,
    }
    for name, content in bad.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    (tmp_path / "leftover.tmp").write_bytes(good)
    again = load(tmp_path)
    assert [entry.alert.alert_id for entry in again.entries()] == [make_alert().alert_id]
    assert again.malformed_files == len(bad)
    assert sorted(path.stem for path in (tmp_path / "dead").iterdir()) == sorted(bad)
    assert all(f"{name}.json" in caplog.text for name in bad)
    assert not (tmp_path / "leftover.tmp").exists()
    assert load(tmp_path).malformed_files == 0


def test_what_the_disk_does_not_take_is_written_later(tmp_path: Path) -> None:
    spool = load(tmp_path / "spool")
    spool.directory.rename(tmp_path / "elsewhere")
    spool.directory.write_text("not a directory")
    alert = make_alert()
    with pytest.raises(LinkError, match=alert.alert_id):
        spool.put(alert, 100.0)
    assert (spool.unsaved, spool.write_errors) == (1, 1)
    assert spool.entries()[0].alert == alert
    assert spool.write_unsaved() == 1
    spool.directory.unlink()
    (tmp_path / "elsewhere").rename(spool.directory)
    assert spool.write_unsaved() == 0
    assert load(spool.directory).entries()[0].alert == alert


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    write_durably(path, b"old")
    (tmp_path / "one.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.json"
    write_durably(path, b"old")
    # A second name of the old file shows that it is replaced and not written over.
    (tmp_path / "kept").hardlink_to(path)
    synced: list[tuple[str, bytes]] = []
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append((kind, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(path, b"new")
    assert synced == [("file", b"old"), ("directory", b"new")]
    assert (tmp_path / "kept").read_bytes() == b"old"


def test_what_is_handed_over_and_expired_is_forgotten(spool: Spool) -> None:
    alert = replace(make_alert(), end_reason="timeout")
    other = make_alert(header_text(event="SVR"))
    spool.put(alert, 100.0)
    spool.put(other, 100.0)
    spool.mark_stored(alert.alert_id, 1)
    spool.mark_published(alert.alert_id, "ended")
    spool.forget_expired(99.0)
    assert len(spool.entries()) == 2
    spool.forget_expired(101.0, frozenset({alert.alert_id}))
    assert len(spool.entries()) == 2
    spool.forget_expired(101.0)
    assert [entry.alert.event_code for entry in spool.entries()] == ["SVR"]
    assert [path.stem for path in spool.directory.glob("*.json")] == [other.alert_id]


@pytest.mark.parametrize(
    ("alert", "now", "expires_after_s"),
    [
        # By the purge time, 23:45.
        (make_alert(), NOW + timedelta(minutes=10), 34 * 60 + 30),
        (make_alert(), NOW + timedelta(hours=2), 0.0),
        # Without a clock nothing is known to have expired.
        (make_alert(heard_at=datetime(1970, 1, 1, tzinfo=UTC)), datetime(1970, 1, 1, tzinfo=UTC), 45 * 60),
        (make_alert(heard_at=datetime(1970, 1, 1, tzinfo=UTC)), NOW + timedelta(days=99), 45 * 60),
        # The clock has been lost with the power.
        (make_alert(), datetime(1970, 1, 1, tzinfo=UTC), None),
    ],
)
def test_expiry_is_counted_anew_after_a_reboot(
    tmp_path: Path, alert: Alert, now: datetime, expires_after_s: float | None
) -> None:
    load(tmp_path).put(alert, 1e6)
    entry = load(tmp_path, boot_id="another boot", now=now, monotonic_s=50.0).entries()[0]
    if expires_after_s is None:
        assert entry.expires_monotonic_s > 50.0 + 45 * 60
    else:
        assert entry.expires_monotonic_s == 50.0 + expires_after_s
    assert load(tmp_path, now=now, monotonic_s=50.0).entries()[0].expires_monotonic_s == 1e6
    unknown_boot = load(tmp_path, boot_id="", now=now, monotonic_s=50.0).entries()[0]
    assert unknown_boot.expires_monotonic_s == entry.expires_monotonic_s


@settings(deadline=None)
@given(st.binary(max_size=200) | st.sampled_from([b"{}", b'{"version":1}', b"null", b"[1]"]))
def test_anything_else_than_an_entry_is_refused(content: bytes) -> None:
    with pytest.raises(WireError):
        SpoolEntry.from_json(content)


def test_the_backlog_counts_what_is_to_be_handed_over(spool: Spool) -> None:
    alert = make_alert()
    spool.put(alert, 1.0)
    assert spool.backlog == 1
    spool.mark_stored(alert.alert_id, 1)
    assert spool.backlog == 1
    spool.mark_published(alert.alert_id, "begun")
    assert spool.backlog == 0
    spool.mark_published("unknown", "begun")
    assert len(spool.entries()) == 1
