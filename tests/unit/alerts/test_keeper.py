import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.alerts.alert import Alert
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from app_core.alerts.store import AlertStore
from app_core.base.errors import LifecycleError, LinkError
from app_core.dsp.pcm16 import to_int16
from app_core.eas.events import BurstHeard
from tests.unit.alerts.air import NOW, Channel, header_text, issue_text, make_alert
from tests.unit.alerts.full_disk import files_of_at_most

ROOT = Path(__file__).parents[3]

STATION = """
import sys
from datetime import UTC
from pathlib import Path
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from tests.unit.alerts.air import Channel

said = []
settings = KeeperSettings(pcm_queue_s=1000.0)
with AlertKeeper(Path(sys.argv[1]), lambda alert: said.append(alert.state), settings=settings, zone=UTC) as keeper:
    channel = Channel()
    channel.audio(20.0, lambda block: keeper.on_pcm("kc1", block))
    keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
    channel.audio(30.0, lambda block: keeper.on_pcm("kc1", block))
    keeper.drain(10.0)
    print(*said, flush=True)
    sys.stdin.read()
"""

FULL_DISK = """
import json
import sys
from contextlib import suppress
from datetime import UTC
from pathlib import Path
import soundfile
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from tests.unit.alerts.air import Channel

directory, seconds_before = Path(sys.argv[1]), float(sys.argv[2])

def fill():
    with suppress(OSError), open(directory / "fill", "ab", buffering=0) as file:
        while True:
            file.write(bytes(512))

said = []
settings = KeeperSettings(pcm_queue_s=1000.0, recordings_keep_free_bytes=0)
with AlertKeeper(directory, said.append, settings=settings, zone=UTC) as keeper:
    channel = Channel()
    channel.audio(20.0, lambda block: keeper.on_pcm("kc1", block))
    assert keeper.drain(10.0)
    if not seconds_before:
        fill()
    keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
    if seconds_before:
        channel.audio(seconds_before, lambda block: keeper.on_pcm("kc1", block))
        assert keeper.drain(10.0)
        fill()
    channel.audio(30.0, lambda block: keeper.on_pcm("kc1", block))
    keeper.on_events("kc1", "rx1", [channel.end()], channel.to_utc)
    # The database has no room either, so that this never comes to an end.
    keeper.drain(1.0)
ended = said[-1]
n_samples = None if ended.recording is None else len(soundfile.read(directory / ended.recording)[0])
left = [path.name for path in (directory / "recordings").iterdir()]
print(json.dumps({"alert": json.loads(ended.to_json()), "n_samples": n_samples, "left": left}))
"""

FAST = KeeperSettings(pcm_queue_s=1000.0, retry_first_s=0.01, retry_longest_s=0.02)


class Listener:
    """Takes publications, refuses the first few, and keeps what it took."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.alerts: list[Alert] = []
        self.refused = threading.Event()

    def __call__(self, alert: Alert) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            if self.refusals == 0:
                self.refused.set()
            raise LinkError("nobody listens")
        self.alerts.append(alert)

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(alert.event_code, alert.state) for alert in self.alerts]


class Clock:
    """The time of a test, in both clocks."""

    def __init__(self, utc: datetime = NOW) -> None:
        self.utc_s = utc.timestamp()
        self.monotonic_s = 1000.0

    def utc(self) -> float:
        return self.utc_s

    def monotonic(self) -> float:
        return self.monotonic_s


@pytest.fixture
def clock() -> Iterator[Clock]:
    yield Clock()


def make_keeper(
    directory: Path, listener: Listener, clock: Clock, settings: KeeperSettings = FAST, store: AlertStore | None = None
) -> AlertKeeper:
    return AlertKeeper(
        directory,
        listener,
        store=store,
        settings=settings,
        zone=UTC,
        utc=clock.utc,
        monotonic=clock.monotonic,
    )


def send(keeper: AlertKeeper, channel: Channel, seconds: float, channel_id: str = "kc1") -> np.ndarray:
    return channel.audio(seconds, lambda block: keeper.on_pcm(channel_id, block))


def test_a_message_is_recorded_from_ten_seconds_before_its_header_to_its_end(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        sent = [send(keeper, channel, 20.0)]
        keeper.on_events("kc1", "rx1", [channel.header(seconds=6.0)], channel.to_utc)
        sent.append(send(keeper, channel, 30.0))
        keeper.on_events("kc1", "rx1", [channel.end()], channel.to_utc)
        send(keeper, channel, 1.0)
        assert keeper.drain(10.0)
        assert keeper.status()["open_recordings"] == 0
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]
    begun, ended = listener.alerts
    assert begun.alert_id == ended.alert_id and begun.recording == ended.recording
    assert begun.recording_complete and ended.recording_complete
    assert ended.end_reason == "end_of_message"
    assert ended.ended_at == channel.now - timedelta(seconds=1.0)
    assert [(mark.name, mark.position_s) for mark in ended.marks] == [
        ("header_start", 10.0),
        ("header_end", 16.0),
        ("end_of_message", 46.0),
    ]
    assert ended.recording is not None
    audio, rate_hz = soundfile.read(tmp_path / ended.recording, dtype="int16")
    assert rate_hz == 8000
    everything = to_int16(np.concatenate(sent))
    assert np.array_equal(audio, everything[4 * 8000 :])
    with AlertStore(tmp_path / "alerts.db") as store:
        assert store.latest() == [ended]


def test_one_alert_on_three_channels_with_three_callsigns_is_one_alert(tmp_path: Path, clock: Clock) -> None:
    listener = Listener()
    issued = issue_text(NOW)
    with make_keeper(tmp_path, listener, clock) as keeper:
        for number, callsign in enumerate(("KEAX/NWS", "KCMO/FM ", "WDAF/TV ")):
            channel = Channel()
            channel.lose(10.0 + number)
            text = header_text(issued=issued, callsign=callsign)
            keeper.on_events(f"kc{number}", "rx1", [channel.header(text)], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["alerts"] == 1
        stored = keeper.store.latest()
    assert listener.states[0] == ("TOR", "begun") and listener.states[-1] == ("TOR", "ended")
    assert len(stored) == 1
    assert stored[0].channels == ("kc0", "kc1", "kc2")
    assert stored[0].callsigns == ("KEAX/NWS", "KCMO/FM", "WDAF/TV")


def test_a_channel_that_hears_an_alert_later_is_told_of_while_it_lasts(tmp_path: Path, clock: Clock) -> None:
    listener, first, second = Listener(), Channel(), Channel()
    first.lose(10.0)
    second.lose(12.0)
    text = header_text(issued=issue_text(NOW))
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc1", "rx1", [first.header(text)], first.to_utc)
        assert keeper.drain(10.0)
        keeper.on_events("kc2", "rx1", [second.header(text)], second.to_utc)
        assert keeper.drain(10.0)
        # The same again is no news.
        keeper.on_events("kc2", "rx1", [second.header(text)], second.to_utc)
        assert keeper.drain(10.0)
        assert [(alert.state, alert.channels) for alert in listener.alerts] == [
            ("begun", ("kc1",)),
            ("begun", ("kc1", "kc2")),
        ]
        assert listener.alerts[0].revision < listener.alerts[1].revision
        keeper.on_events("kc1", "rx1", [first.end()], first.to_utc)
        assert keeper.drain(10.0)
        third = Channel()
        third.lose(20.0)
        keeper.on_events("kc3", "rx1", [third.header(text)], third.to_utc)
        assert keeper.drain(10.0)
    assert [alert.state for alert in listener.alerts] == ["begun", "begun", "ended"]


def test_a_message_without_an_end_is_closed_after_two_minutes(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        send(keeper, channel, 130.0)
        assert keeper.drain(20.0)
    ended = listener.alerts[-1]
    assert ended.end_reason == "timeout"
    assert soundfile.info(tmp_path / str(ended.recording)).frames == (10 + 6 + 120) * 8000


def test_lost_audio_is_silence_in_the_recording(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        before = send(keeper, channel, 5.0)
        channel.lose(40.0)
        after = send(keeper, channel, 5.0)
        keeper.on_events("kc1", "rx1", [channel.end()], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["lost_samples"] == {"kc1": 40 * 8000}
    audio, _ = soundfile.read(tmp_path / str(listener.alerts[-1].recording), dtype="int16")
    assert len(audio) == (16 + 5 + 40 + 5) * 8000
    assert np.array_equal(audio[16 * 8000 : 21 * 8000], to_int16(before))
    assert not audio[21 * 8000 : 61 * 8000].any()
    assert np.array_equal(audio[61 * 8000 :], to_int16(after))


def test_a_message_whose_audio_stops_is_lost(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["open_recordings"] == 1
        clock.monotonic_s += FAST.lost_after_s + 1.0
        assert wait_for_end(keeper)
        assert keeper.drain(10.0)
    assert listener.alerts[-1].end_reason == "lost"
    assert soundfile.info(tmp_path / str(listener.alerts[-1].recording)).frames == 16 * 8000


def test_a_message_without_any_audio_is_an_alert_like_any_other(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(60.0)
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
        clock.monotonic_s += FAST.longest_message_s + 1.0
        assert wait_for_end(keeper)
        assert keeper.drain(10.0)
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]
    assert listener.alerts[-1].end_reason == "timeout"
    assert listener.alerts[-1].recording is None
    assert listener.alerts[-1].recording_complete


def test_another_header_ends_the_message_before_it(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        send(keeper, channel, 20.0)
        second = channel.header(header_text(event="SVR", issued=issue_text(channel.now)))
        keeper.on_events("kc1", "rx1", [second], channel.to_utc)
        send(keeper, channel, 5.0)
        keeper.on_events("kc1", "rx1", [channel.end()], channel.to_utc)
        assert keeper.drain(10.0)
        reasons = {alert.event_code: alert.end_reason for alert in keeper.store.latest()}
    assert reasons == {"TOR": "interrupted", "SVR": "end_of_message"}


def test_an_end_of_message_without_a_message_and_link_events_are_nothing(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 1.0)
        burst = BurstHeard("header", 0, 100, 20.0, 0.0)
        keeper.on_events("kc1", "rx1", [channel.end(), burst], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["failed_items"] == 0
    assert listener.alerts == []


def test_an_unknown_event_and_area_is_an_alert_like_any_other(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    text = header_text(event="XYZ", locations="999999", originator="QQQ", issued=issue_text(NOW))
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header(text)], channel.to_utc)
        assert keeper.drain(10.0)
    assert listener.alerts[0].event_name == "Unknown event (XYZ)"
    assert "Unknown area (999999)" in listener.alerts[0].text


def test_what_cannot_be_published_for_a_while_is_published_once_in_the_end(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(refusals=3), Channel()
    channel.lose(10.0)
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header(), channel.end()], channel.to_utc)
        assert listener.refused.wait(10.0)
        assert keeper.drain(10.0)
    assert keeper.status()["publish_failures"] == 3
    assert keeper.status()["last_error"] == ""
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]


def test_what_was_not_published_before_a_restart_is_published_after_it(tmp_path: Path, clock: Clock) -> None:
    deaf, channel = Listener(refusals=10**9), Channel()
    channel.lose(10.0)
    with make_keeper(tmp_path, deaf, clock) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header(), channel.end()], channel.to_utc)
    listener = Listener()
    for _ in range(2):
        with make_keeper(tmp_path, listener, clock) as keeper:
            assert keeper.drain(10.0)
    assert deaf.alerts == []
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]


def test_an_error_of_one_alert_does_not_hold_up_the_others(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    heard = threading.Event()

    def publish(alert: Alert) -> None:
        if alert.event_code == "TOR":
            raise ValueError("not this one")
        listener(alert)
        if alert.state == "ended":
            heard.set()

    keeper = AlertKeeper(tmp_path, publish, settings=FAST, zone=UTC, utc=clock.utc, monotonic=clock.monotonic)
    with keeper:
        other = channel.header(header_text(event="SVR", issued=issue_text(NOW)))
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        keeper.on_events("kc2", "rx1", [other, channel.end()], channel.to_utc)
        assert heard.wait(10.0)
    assert keeper.status()["spool_backlog"] == 1
    assert keeper.status()["last_error"] == "not this one"
    assert listener.states == [("SVR", "begun"), ("SVR", "ended")]


def test_a_database_that_comes_back_has_every_alert_once(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    database = tmp_path / "database.db"
    # A directory of that name stands for a file that cannot be written: this works for root, too.
    database.mkdir()
    with make_keeper(tmp_path / "alerts", listener, clock, store=AlertStore(database)) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header(), channel.end()], channel.to_utc)
        assert not keeper.drain(0.3)
        assert keeper.status()["store_failures"] > 0
        assert "database" in keeper.status()["last_error"]
        # The publication does not wait for it.
        assert listener.states == [("TOR", "begun"), ("TOR", "ended")]
        database.rmdir()
        assert keeper.drain(10.0)
        stored = keeper.store.latest()
    assert stored == [listener.alerts[-1]]
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]


def test_a_restart_in_the_middle_of_a_message_doubles_nothing(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    first = make_keeper(tmp_path, listener, clock)
    first.start()
    send(first, channel, 20.0)
    header = channel.header()
    first.on_events("kc1", "rx1", [header], channel.to_utc)
    send(first, channel, 10.0)
    first.stop()
    with make_keeper(tmp_path, listener, clock) as second:
        # The channel's history is decoded again after the restart.
        second.on_events("kc1", "rx1", [header], channel.to_utc)
        send(second, channel, 5.0)
        assert second.drain(10.0)
        assert len(second.store.latest()) == 1
        assert second.status()["open_recordings"] == 0
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]
    ended = listener.alerts[-1]
    assert ended.end_reason == "interrupted"
    assert soundfile.info(tmp_path / str(ended.recording)).frames == 26 * 8000


def test_a_process_that_is_killed_in_the_middle_of_a_message_doubles_nothing(tmp_path: Path, clock: Clock) -> None:
    command = [sys.executable, "-c", STATION, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert [path.suffix for path in (tmp_path / "recordings").iterdir()] == [".part"]
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        channel.lose(20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
        assert len(keeper.store.latest()) == 1
    assert listener.states == [("TOR", "ended")]
    ended = listener.alerts[-1]
    assert ended.end_reason == "interrupted"
    assert not ended.recording_complete
    n_samples = soundfile.info(tmp_path / str(ended.recording)).frames
    assert 46 * 8000 - 2 * 4096 <= n_samples <= 46 * 8000


def test_a_disk_that_fills_during_a_message_cuts_its_recording_and_the_alert_says_so(
    tmp_path: Path, clock: Clock
) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        sent = [send(keeper, channel, 20.0)]
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        sent.append(send(keeper, channel, 5.0))
        assert keeper.drain(10.0)
        (part,) = (tmp_path / "recordings").iterdir()
        with files_of_at_most(part.stat().st_size + 50_000):
            sent.append(send(keeper, channel, 20.0))
            assert keeper.drain(10.0)
        # The disk has room again: what is cut stays cut.
        send(keeper, channel, 10.0)
        keeper.on_events("kc1", "rx1", [channel.end()], channel.to_utc)
        assert keeper.drain(10.0)
        status = keeper.status()
        assert status["open_messages"] == 0 and status["recording_write_errors"] == 1
        assert "is cut short after" in status["last_error"]
        (stored,) = keeper.store.latest()
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]
    ended = listener.alerts[-1]
    assert stored == ended and ended.end_reason == "end_of_message" and not ended.recording_complete
    assert [mark.name for mark in ended.marks] == ["header_start", "header_end"]
    assert [path.name for path in (tmp_path / "recordings").iterdir()] == [Path(str(ended.recording)).name]
    audio, _ = soundfile.read(tmp_path / str(ended.recording), dtype="int16")
    assert (16 + 5) * 8000 < len(audio) < (16 + 5 + 20) * 8000
    assert np.array_equal(audio, to_int16(np.concatenate(sent))[4 * 8000 :][: len(audio)])


def test_a_message_whose_recording_is_cut_still_ends_after_two_minutes(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
        (part,) = (tmp_path / "recordings").iterdir()
        with files_of_at_most(part.stat().st_size + 20_000):
            send(keeper, channel, 5.0)
            assert keeper.drain(10.0)
        assert keeper.status()["open_messages"] == 1 and keeper.status()["open_recordings"] == 0
        clock.monotonic_s += FAST.longest_message_s + 1.0
        assert wait_for_end(keeper)
        assert keeper.drain(10.0)
    assert listener.alerts[-1].end_reason == "timeout" and not listener.alerts[-1].recording_complete


def test_marks_beyond_what_the_disk_took_are_left_out(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        assert keeper.drain(10.0)
        with files_of_at_most(190_000):
            keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
            assert keeper.drain(10.0)
    ended = listener.alerts[-1]
    n_samples = soundfile.info(tmp_path / str(ended.recording)).frames
    assert 10 * 8000 < n_samples < 16 * 8000
    assert [mark.name for mark in ended.marks] == ["header_start"]


def test_a_disk_that_takes_nothing_of_a_recording_leaves_an_alert_without_one(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        assert keeper.drain(10.0)
        (tmp_path / "recordings").mkdir(exist_ok=True)
        (tmp_path / "recordings" / f"{make_alert().alert_id}.flac.part").symlink_to("/dev/full")
        keeper.on_events("kc1", "rx1", [channel.header(header_text())], channel.to_utc)
        send(keeper, channel, 5.0)
        keeper.on_events("kc1", "rx1", [channel.end()], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["recording_write_errors"] == 1
    ended = listener.alerts[-1]
    assert ended.end_reason == "end_of_message"
    assert ended.recording is None and ended.marks == () and not ended.recording_complete
    assert list((tmp_path / "recordings").iterdir()) == []


def test_a_recording_that_cannot_even_begin_leaves_an_alert_without_one(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    (tmp_path / "recordings").write_text("not a folder")
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        keeper.on_events("kc1", "rx1", [channel.end()], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["recording_write_errors"] == 1
    ended = listener.alerts[-1]
    assert ended.recording is None and ended.marks == () and not ended.recording_complete


@pytest.mark.parametrize("seconds_before", [1.0, 0.0])
def test_a_real_disk_that_fills_leaves_a_whole_recording_or_none(tmp_path: Path, seconds_before: float) -> None:
    mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec"]
    mount += ['mount -t tmpfs -o size=1500k none "$0"; [ -z "$1" ] || exec "$@"', str(tmp_path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine lets nobody mount a tmpfs: {error}")
    command = [*mount, sys.executable, "-c", FULL_DISK, str(tmp_path), str(seconds_before)]
    child = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    said = json.loads(child.stdout)
    alert = said["alert"]
    assert alert["state"] == "ended" and alert["recording_complete"] is False
    if seconds_before:
        assert said["left"] == [Path(alert["recording"]).name]
        assert 16 * 8000 - 2 * 4096 < said["n_samples"] < (16 + 1 + 30) * 8000
        assert [mark["name"] for mark in alert["marks"]][:1] == ["header_start"]
    else:
        assert said["left"] == [] and alert["recording"] is None and alert["marks"] == []


def test_recordings_that_a_killed_process_left_are_mended_though_nobody_knows_their_alerts(
    tmp_path: Path, clock: Clock
) -> None:
    command = [sys.executable, "-c", STATION, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.kill()
    (part,) = (tmp_path / "recordings").iterdir()
    part.with_name("empty.flac.part").write_bytes(b"")
    part.with_name("left.flac.part.mending").write_bytes(b"x")
    for path in (tmp_path / "spool").glob("*.json"):
        path.unlink()
    listener = Listener()
    with make_keeper(tmp_path, listener, clock) as keeper:
        assert keeper.drain(10.0)
    assert listener.alerts == []
    (mended,) = (tmp_path / "recordings").iterdir()
    assert mended.name == part.name.removesuffix(".part")
    assert 46 * 8000 - 2 * 4096 <= soundfile.info(mended).frames <= 46 * 8000


def test_audio_beyond_the_queue_is_dropped_and_counted_and_events_are_not(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    keeper = make_keeper(tmp_path, listener, clock, FAST.model_copy(update={"pcm_queue_s": 2.0}))
    send(keeper, channel, 5.0)
    keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
    status = keeper.status()
    assert status["dropped_pcm_s"] == {"kc1": pytest.approx(3.0, abs=0.11)}
    assert status["queued_pcm_s"] <= 2.0
    with keeper:
        assert keeper.drain(10.0)
    assert listener.states[0] == ("TOR", "begun")


def test_a_second_process_is_told_that_the_directory_is_taken(tmp_path: Path, clock: Clock) -> None:
    with make_keeper(tmp_path, Listener(), clock), pytest.raises(LifecycleError, match="directory of its own"):
        make_keeper(tmp_path, Listener(), clock).start()
    with make_keeper(tmp_path, Listener(), clock):
        pass


def test_a_stream_that_starts_anew_goes_on_in_the_same_recording(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        send(keeper, channel, 5.0)
        anew = Channel(start=channel.now + timedelta(seconds=3.0), seed=2)
        send(keeper, anew, 5.0)
        keeper.on_events("kc1", "rx1", [anew.end()], anew.to_utc)
        assert keeper.drain(10.0)
    ended = listener.alerts[-1]
    assert ended.end_reason == "end_of_message"
    assert soundfile.info(tmp_path / str(ended.recording)).frames == (16 + 5 + 3 + 5) * 8000


def test_the_end_of_a_channel_ends_its_message_and_forgets_its_audio(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header(seconds=6.0)], channel.to_utc)
        send(keeper, channel, 10.0)
        keeper.end_channel("kc1")
        keeper.end_channel("never heard of")
        # The same name, but another station: its audio is in no recording of the first.
        send(keeper, channel, 5.0)
        assert keeper.drain(10.0)
        assert keeper.status()["open_messages"] == 0
    assert listener.states == [("TOR", "begun"), ("TOR", "ended")]
    ended = listener.alerts[-1]
    assert ended.end_reason == "interrupted"
    assert soundfile.info(tmp_path / str(ended.recording)).frames == (16 + 10) * 8000


def hear_on_two(keeper: AlertKeeper, second: Channel, seconds: float) -> tuple[Channel, list[np.ndarray]]:
    """Have two channels hear one alert, `seconds` before now, and give the first one and its audio."""
    first = Channel()
    sent = [send(keeper, first, 20.0)]
    header = first.header()
    keeper.on_events("kc1", "rx1", [header], first.to_utc)
    send(keeper, second, 20.0, "kc2")
    keeper.on_events("kc2", "rx1", [second.header(header.header.text)], second.to_utc)
    sent.append(send(keeper, first, seconds))
    return first, sent


def test_when_a_channel_ends_another_that_hears_the_same_goes_on(tmp_path: Path, clock: Clock) -> None:
    listener, second = Listener(), Channel(NOW - timedelta(seconds=5.0), seed=2)
    with make_keeper(tmp_path, listener, clock) as keeper:
        # It has been heard for longer, and so has another time line.
        send(keeper, second, 5.0, "kc2")
        _, sent = hear_on_two(keeper, second, 10.0)
        keeper.end_channel("kc1")
        other = send(keeper, second, 30.0, "kc2")
        keeper.on_events("kc2", "rx1", [second.end()], second.to_utc)
        send(keeper, second, 1.0, "kc2")
        assert keeper.drain(10.0)
        assert keeper.status()["open_messages"] == 0
    ended = listener.alerts[-1]
    assert (ended.state, ended.end_reason) == ("ended", "end_of_message")
    assert [alert.state for alert in listener.alerts].count("ended") == 1
    assert [(mark.name, mark.position_s) for mark in ended.marks][-1] == ("end_of_message", 46.0)
    audio, _ = soundfile.read(tmp_path / str(ended.recording), dtype="int16")
    from_first = to_int16(np.concatenate(sent))[4 * 8000 :]
    assert np.array_equal(audio, np.concatenate((from_first, to_int16(other[10 * 8000 :]))))


@pytest.mark.parametrize("why", ["its end was heard there", "it has another rate", "it has an alert of its own"])
def test_when_a_channel_ends_and_no_other_can_go_on_its_message_ends(tmp_path: Path, clock: Clock, why: str) -> None:
    listener = Listener()
    second = Channel(rate_hz=16_000.0) if why == "it has another rate" else Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        hear_on_two(keeper, second, 1.0)
        send(keeper, second, 1.0, "kc2")
        if why == "its end was heard there":
            keeper.on_events("kc2", "rx1", [second.end()], second.to_utc)
        elif why == "it has an alert of its own":
            keeper.on_events("kc2", "rx1", [second.header(header_text("SVR"))], second.to_utc)
        keeper.end_channel("kc1")
        assert keeper.drain(10.0)
        ended = next(alert for alert in listener.alerts if alert.state == "ended")
    assert (ended.event_code, ended.end_reason) == ("TOR", "interrupted")
    assert soundfile.info(tmp_path / str(ended.recording)).frames == (16 + 1) * 8000


def test_another_rate_ends_the_recording(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    with make_keeper(tmp_path, listener, clock) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        send(keeper, Channel(start=channel.now, rate_hz=16000.0), 1.0)
        assert keeper.drain(10.0)
    assert listener.alerts[-1].end_reason == "lost"
    assert soundfile.info(tmp_path / str(listener.alerts[-1].recording)).frames == 16 * 8000


def test_a_clock_at_1970_loses_no_alert_and_doubles_none(tmp_path: Path) -> None:
    boot = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    listener, channel, clock = Listener(), Channel(start=boot), Clock(boot)
    channel.lose(20.0)
    text = header_text(issued="1402300")
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header(text)], channel.to_utc)
        assert keeper.drain(10.0)
        # The clock is set, and a relay says the same.
        later = Channel(start=NOW)
        later.lose(20.0)
        clock.monotonic_s += 60.0
        keeper.on_events("kc2", "rx1", [later.header(text)], later.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["alerts"] == 1
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc3", "rx1", [later.header(text)], later.to_utc)
        assert keeper.drain(10.0)
    assert listener.states == [("TOR", "begun"), ("TOR", "begun"), ("TOR", "ended")]
    assert len({alert.alert_id for alert in listener.alerts}) == 1
    assert "clock is not set" in listener.alerts[0].clock_doubt
    assert "for 45 minutes from issue" in listener.alerts[0].text


def test_a_spool_that_cannot_be_written_delays_no_alert(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    with make_keeper(tmp_path, listener, clock) as keeper:
        assert keeper.drain(10.0)
        spool = tmp_path / "spool"
        spool.rename(tmp_path / "elsewhere")
        spool.write_text("not a directory")
        keeper.on_events("kc1", "rx1", [channel.header(), channel.end()], channel.to_utc)
        assert keeper.drain(10.0)
        status = keeper.status()
        assert status["spool_unsaved"] == 1 and status["spool_write_errors"] > 0 and status["last_error"]
        assert listener.states == [("TOR", "begun"), ("TOR", "ended")]
        spool.unlink()
        (tmp_path / "elsewhere").rename(spool)
        clock.monotonic_s += 10.0
        send(keeper, channel, 0.1)
    assert [path.stem for path in spool.glob("*.json")] == [listener.alerts[0].alert_id]


def make_old_recordings(directory: Path) -> None:
    (directory / "recordings").mkdir(parents=True)
    for number in range(3):
        path = directory / "recordings" / f"{number}.flac"
        with path.open("wb") as file:
            file.truncate(30_000_000)
        os.utime(path, (NOW.timestamp(), NOW.timestamp() - 1000.0 + number))


def test_a_full_disk_gives_up_its_oldest_recordings_for_an_alert(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    make_old_recordings(tmp_path)
    (tmp_path / "spool").mkdir()
    with make_keeper(tmp_path, listener, clock) as keeper:
        assert keeper.drain(10.0)
        (tmp_path / "spool" / f"{make_alert().alert_id}.tmp").symlink_to("/dev/full")
        keeper.on_events("kc1", "rx1", [channel.header(header_text())], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["spool_write_errors"] == 1
        assert keeper.status()["spool_unsaved"] == 0
    assert [path.name for path in (tmp_path / "recordings").iterdir()] == ["2.flac"]


def test_a_disk_that_is_nearly_full_makes_room_before_a_recording_begins(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    make_old_recordings(tmp_path)
    settings = FAST.model_copy(update={"recordings_keep_free_bytes": 10**18})
    with make_keeper(tmp_path, listener, clock, settings) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
    names = {path.name for path in (tmp_path / "recordings").iterdir()}
    assert names == {"2.flac", Path(str(listener.alerts[-1].recording)).name}


def test_recordings_beyond_the_limit_go_when_a_message_ends(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    make_old_recordings(tmp_path)
    settings = FAST.model_copy(update={"recordings_max_bytes": 40_000_000})
    with make_keeper(tmp_path, listener, clock, settings) as keeper:
        send(keeper, channel, 20.0)
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
    names = {path.name for path in (tmp_path / "recordings").iterdir()}
    assert names == {"2.flac", Path(str(listener.alerts[-1].recording)).name}


def test_a_malformed_spool_file_stops_nothing(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "bad.json").write_text("{")
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
        assert keeper.status()["spool_malformed_files"] == 1
    assert (tmp_path / "spool" / "dead" / "bad.json").exists()
    assert listener.states[0] == ("TOR", "begun")


def test_thirty_one_areas_and_a_senseless_issue_time_are_an_alert(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    areas = "-".join(f"{number:06d}" for number in range(372088, 372088 + 31))
    text = header_text(event="DMO", locations=areas, purge="0000", issued="0001122", callsign="NOCALL00")
    with make_keeper(tmp_path, listener, clock) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header(text)], channel.to_utc)
        assert keeper.drain(10.0)
        (stored,) = keeper.store.latest()
    assert len(stored.locations) == 31 and stored.issue_time is None and stored.clock_doubt
    assert stored.header == text


def test_the_demo_marks_its_alerts(tmp_path: Path, clock: Clock) -> None:
    listener, channel = Listener(), Channel()
    channel.lose(10.0)
    with AlertKeeper(tmp_path, listener, settings=FAST, demo=True, zone=UTC, utc=clock.utc) as keeper:
        keeper.on_events("kc1", "rx1", [channel.header()], channel.to_utc)
        assert keeper.drain(10.0)
    assert listener.alerts[0].demo
    assert listener.alerts[0].text.startswith("DEMO: ")


def wait_for_end(keeper: AlertKeeper, timeout_s: float = 10.0) -> bool:
    """Wait until no message is open."""
    over = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if keeper.status()["open_messages"] == 0:
            return True
        over.wait(0.01)
    return False
