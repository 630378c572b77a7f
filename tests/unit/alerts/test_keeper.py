import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.alerts.alert import Alert
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from app_core.alerts.recorder import to_int16
from app_core.alerts.store import AlertStore
from app_core.base.blocks import PcmBlock
from app_core.base.errors import LifecycleError, LinkError
from app_core.eas.events import BurstHeard
from tests.unit.alerts.air import NOW, Channel, header_text, issue_text

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
