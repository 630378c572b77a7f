import numpy as np

from app_core.alerts.intake import Intake, QueuedEvent, QueuedPcm
from tests.unit.alerts.air import decoded, header_text


def pcm(channel_id: str, seconds: float) -> QueuedPcm:
    return QueuedPcm(channel_id, np.zeros(round(seconds * 1000), dtype=np.int16), 1000.0, 0, 0.0, 1, 0.0)


def event() -> QueuedEvent:
    return QueuedEvent("c", "r", decoded(header_text()), 0.0, 1.0, 0.0)


def test_audio_and_events_come_out_in_their_order() -> None:
    intake = Intake(10.0, 10)
    items = [pcm("a", 1.0), event(), pcm("b", 1.0)]
    intake.put_pcm(items[0])  # type: ignore[arg-type]
    assert not intake.arrived.is_set()
    intake.put_event(items[1])  # type: ignore[arg-type]
    assert intake.arrived.is_set()
    intake.put_pcm(items[2])  # type: ignore[arg-type]
    assert not intake.is_empty
    assert [intake.take() for _ in range(4)] == [*items, None]
    assert intake.is_empty


def test_each_channel_has_its_own_seconds() -> None:
    intake = Intake(2.0, 10)
    for channel_id in ("a", "a", "a", "b"):
        intake.put_pcm(pcm(channel_id, 0.9))
    assert intake.dropped_pcm_s == {"a": 0.9}
    assert intake.queued_pcm_s == 1.8
    intake.take()
    intake.put_pcm(pcm("a", 0.9))
    assert intake.dropped_pcm_s == {"a": 0.9}


def test_events_beyond_the_bound_are_counted() -> None:
    intake = Intake(1.0, 2)
    for _ in range(5):
        intake.put_event(event())
    assert (intake.queued_events, intake.dropped_events) == (2, 3)
