"""One channel's watch: what its decoder is told of gaps and restarts, and what the keeper is told of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.audio.alert_monitor import LONGEST_GAP_S, AlertMonitor
from app_core.base.blocks import PcmBlock
from app_core.eas.events import EndOfMessage, HeaderDecoded, SameEvent
from tests.unit.eas.same_audio import HEADER, group, message, silence

RATE_HZ = 24_000
BEGAN_AT = 1_750_000_000.0


class _Keeper:
    """Notes what it is given, and the UTC time of every event's first sample."""

    def __init__(self) -> None:
        self.audio: list[PcmBlock] = []
        self.events: list[SameEvent] = []
        self.times: list[float] = []
        self.ended: list[str] = []

    def end_channel(self, channel_id: str) -> None:
        self.ended.append(channel_id)

    def on_pcm(self, channel_id: str, block: PcmBlock) -> None:
        assert channel_id == "wx1"
        self.audio.append(block)

    def on_events(
        self, channel_id: str, receiver_id: str, events: list[SameEvent], to_utc: Callable[[int], float]
    ) -> None:
        assert (channel_id, receiver_id) == ("wx1", "rx")
        self.events += events
        self.times += [to_utc(event.start_sample) for event in events]

    def headers(self) -> list[tuple[str, float]]:
        pairs = zip(self.events, self.times, strict=True)
        return [(event.header.text, at) for event, at in pairs if isinstance(event, HeaderDecoded)]


def _block(pcm: NDArray[np.float32], first_sample: int, *, epoch: int = 1, late_s: float = 0.0) -> PcmBlock:
    return PcmBlock(pcm, float(RATE_HZ), first_sample, BEGAN_AT + first_sample / RATE_HZ + late_s, epoch)


def _push(
    monitor: AlertMonitor, pcm: NDArray[np.float32], first_sample: int = 0, *, epoch: int = 1, late_s: float = 0.0
) -> int:
    """Push it in blocks of a tenth of a second; give the index of the sample behind it."""
    for start in range(0, len(pcm), 2_400):
        monitor.push(_block(pcm[start : start + 2_400], first_sample + start, epoch=epoch, late_s=late_s))
    return first_sample + len(pcm)


def test_a_message_is_told_with_its_times_and_counted() -> None:
    keeper = _Keeper()
    monitor = AlertMonitor("wx1", "rx", keeper)
    pcm = np.concatenate([silence(2.0, RATE_HZ), message(HEADER, RATE_HZ), silence(3.0, RATE_HZ)])
    _push(monitor, pcm)
    ((text, at),) = keeper.headers()
    assert text == monitor.last_header == HEADER
    # Two seconds of silence, half a second of lead.
    assert at == pytest.approx(BEGAN_AT + 2.5, abs=0.01)
    assert sum(isinstance(event, EndOfMessage) for event in keeper.events) == 1
    assert (monitor.headers_decoded, monitor.headers_unverified, monitor.lost_samples) == (1, 0, 0)
    assert monitor.bursts_heard >= 4
    assert monitor.audited_s == pytest.approx(len(pcm) / RATE_HZ)
    assert monitor.last_pcm_s is not None
    assert np.array_equal(np.concatenate([block.pcm for block in keeper.audio]), pcm)


def test_a_loss_in_the_pause_between_two_bursts_leaves_one_alert_at_its_true_time() -> None:
    keeper = _Keeper()
    monitor = AlertMonitor("wx1", "rx", keeper)
    first = np.concatenate([silence(1.0, RATE_HZ), group(HEADER, RATE_HZ, n=1)])
    end = _push(monitor, first[: -RATE_HZ // 2])
    end = _push(monitor, np.concatenate([group(HEADER, RATE_HZ, n=2), silence(20.0, RATE_HZ)]), end + RATE_HZ // 2)
    monitor.finish()
    ((text, at),) = keeper.headers()
    assert text == HEADER
    assert at == pytest.approx(BEGAN_AT + 1.0, abs=0.01)
    assert monitor.lost_samples == RATE_HZ // 2


def test_after_a_restart_of_the_receiver_the_capture_times_say_what_is_missing() -> None:
    keeper = _Keeper()
    monitor = AlertMonitor("wx1", "rx", keeper)
    end = _push(monitor, np.concatenate([silence(1.0, RATE_HZ), group(HEADER, RATE_HZ, n=2)]))
    # The counter begins at 0 again; the third burst comes 0.4 s later than it would have.
    rest = np.concatenate([group(HEADER, RATE_HZ, n=1), silence(20.0, RATE_HZ)])
    _push(monitor, rest, 0, epoch=2, late_s=end / RATE_HZ + 0.4)
    monitor.finish()
    assert [text for text, _ in keeper.headers()] == [HEADER]
    assert monitor.lost_samples == pytest.approx(0.4 * RATE_HZ, abs=2)


def test_a_gap_too_long_to_skip_begins_anew_and_what_was_pending_is_decided() -> None:
    keeper = _Keeper()
    monitor = AlertMonitor("wx1", "rx", keeper)
    end = _push(monitor, np.concatenate([silence(1.0, RATE_HZ), group(HEADER, RATE_HZ, n=2, pause_s=0.2)]))
    before = len(keeper.headers())
    missing = round((LONGEST_GAP_S + 1.0) * RATE_HZ)
    _push(monitor, silence(1.0, RATE_HZ), end + missing)
    assert len(keeper.headers()) == 1 >= before
    assert keeper.headers()[0][1] == pytest.approx(BEGAN_AT + 1.0, abs=0.01)
    again = np.concatenate([message(HEADER.replace("TOR", "SVR"), RATE_HZ), silence(3.0, RATE_HZ)])
    start = end + missing + RATE_HZ
    _push(monitor, again, start)
    assert keeper.headers()[1][0] == HEADER.replace("TOR", "SVR")
    assert keeper.headers()[1][1] == pytest.approx(BEGAN_AT + start / RATE_HZ + 0.5, abs=0.01)


def test_the_end_of_a_channel_decides_what_is_pending_first() -> None:
    keeper = _Keeper()
    monitor = AlertMonitor("wx1", "rx", keeper)
    _push(monitor, np.concatenate([silence(1.0, RATE_HZ), group(HEADER, RATE_HZ, n=2, pause_s=0.2)]))
    monitor.end()
    assert [text for text, _ in keeper.headers()] == [HEADER]
    assert keeper.ended == ["wx1"]


def test_audio_of_another_rate_gets_a_decoder_of_its_own() -> None:
    keeper = _Keeper()
    monitor = AlertMonitor("wx1", "rx", keeper)
    _push(monitor, silence(1.0, RATE_HZ))
    pcm = np.concatenate([message(HEADER, 16_000), silence(3.0, 16_000)])
    monitor.push(PcmBlock(pcm, 16_000.0, 0, BEGAN_AT + 100.0, 2))
    ((text, at),) = keeper.headers()
    assert text == HEADER
    assert at == pytest.approx(BEGAN_AT + 100.5, abs=0.01)


def test_whoever_asks_for_captures_is_told_after_the_keeper() -> None:
    order: list[str] = []

    class Keeper(_Keeper):
        def on_events(self, *arguments: object) -> None:
            order.append("keeper")

    class Listener:
        def on_events(self, *arguments: object) -> None:
            order.append("captures")

    monitor = AlertMonitor("wx1", "rx", Keeper(), Listener())
    _push(monitor, np.concatenate([message(HEADER, RATE_HZ), silence(3.0, RATE_HZ)]))
    assert order[:2] == ["keeper", "captures"]
    assert order.count("keeper") == order.count("captures")
