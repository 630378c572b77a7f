"""Everything a channel says, and the life of its messages."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.eas.attention import Attention
from app_core.eas.encoder import encode_transmission
from app_core.eas.events import (
    AttentionHeard,
    BurstHeard,
    CarrierLost,
    EndOfMessage,
    HeaderDecoded,
    MessageTimedOut,
    SameEvent,
)
from app_core.eas.listener import CARRIER_LOST_S, SameListener
from tests.unit.eas.same_audio import HEADER, OTHER_HEADER, RATE_HZ, Pcm, group, silence

Event = TypeVar("Event", bound=SameEvent)

NATIONAL = HEADER.replace("WXR-TOR", "PEP-EAN")


def listen(pcm: Pcm, blocks: tuple[int, ...] = (4096,), longest_message_s: float = 120.0) -> list[SameEvent]:
    listener = SameListener(RATE_HZ, longest_message_s=longest_message_s)
    events: list[SameEvent] = []
    start = turn = 0
    while start < len(pcm):
        size = blocks[turn % len(blocks)]
        events += listener.push(pcm[start : start + size])
        start, turn = start + size, turn + 1
    return events + listener.finish()


def names(events: list[SameEvent]) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, BurstHeard)]


def message(attention: Attention = Attention.NWR, header: str = HEADER) -> Pcm:
    pcm = encode_transmission(header, RATE_HZ, attention=attention, attention_s=8.0).pcm
    return np.concatenate([silence(0.5), pcm, silence(3.0)])


def only(kind: type[Event], events: list[SameEvent]) -> Event:
    found = [event for event in events if isinstance(event, kind)]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("attention", [Attention.NWR, Attention.EAS])
def test_header_tone_and_end_are_said_in_their_order(attention: Attention) -> None:
    transmission = encode_transmission(HEADER, RATE_HZ, attention=attention, attention_s=8.0)
    events = listen(np.concatenate([transmission.pcm, silence(3.0)]))
    assert names(events) == ["HeaderDecoded", "AttentionHeard", "EndOfMessage"]
    tone = only(AttentionHeard, events)
    sent = next(part for part in transmission.parts if part.name == "attention")
    assert tone.kind == attention.value
    assert tone.start_sample == pytest.approx(sent.start_sample, abs=0.006 * RATE_HZ)
    assert tone.end_sample == pytest.approx(sent.end_sample, abs=0.006 * RATE_HZ)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(blocks=st.lists(st.integers(0, 50_000), min_size=1, max_size=8).filter(any))
def test_block_boundaries_change_nothing(blocks: list[int]) -> None:
    # The time-out, the tone and the late end of message are decided close to each other.
    pcm = np.concatenate([message(), group(OTHER_HEADER), silence(1.0), message()])
    assert listen(pcm, tuple(blocks), longest_message_s=5.0) == listen(pcm, longest_message_s=5.0)


@pytest.mark.parametrize("late_s", [0.1, 0.3, 0.5, 0.7])
def test_block_boundaries_do_not_decide_whether_the_end_came_in_time(late_s: float) -> None:
    pcm = message(Attention.NONE)
    events = listen(pcm)
    header, end = only(HeaderDecoded, events), only(EndOfMessage, events)
    # Given up after the end has begun, and before it is decided.
    longest_s = (end.start_sample - header.end_sample) / RATE_HZ + late_s
    assert listen(pcm, (500,), longest_s) == listen(pcm, (len(pcm),), longest_s)


def test_a_message_without_an_end_times_out_once() -> None:
    pcm = np.concatenate([group(HEADER), silence(30.0)])
    events = listen(pcm, longest_message_s=10.0)
    assert names(events) == ["HeaderDecoded", "MessageTimedOut"]
    header, timed_out = only(HeaderDecoded, events), only(MessageTimedOut, events)
    assert timed_out.start_sample == header.start_sample
    assert timed_out.end_sample == header.end_sample + 10 * RATE_HZ


def test_a_message_that_ends_does_not_time_out() -> None:
    events = listen(np.concatenate([message(), silence(30.0)]), longest_message_s=20.0)
    assert names(events) == ["HeaderDecoded", "AttentionHeard", "EndOfMessage"]


def test_an_end_after_the_time_out_is_still_said() -> None:
    pcm = np.concatenate([group(HEADER), silence(20.0), group(b"NNNN"), silence(3.0)])
    assert names(listen(pcm, longest_message_s=10.0)) == ["HeaderDecoded", "MessageTimedOut", "EndOfMessage"]


def test_the_next_message_takes_the_place_of_one_that_has_no_end() -> None:
    pcm = np.concatenate([group(HEADER), silence(4.0), group(OTHER_HEADER), silence(6.0)])
    listener = SameListener(RATE_HZ, longest_message_s=12.0)
    events = listener.push(pcm)
    assert names(events) == ["HeaderDecoded", "HeaderDecoded"]
    assert listener.message is not None and listener.message.header.text == OTHER_HEADER
    events = listener.push(silence(12.0))
    assert names(events) == ["MessageTimedOut"]
    assert listener.message is None


def test_a_national_emergency_message_may_last() -> None:
    pcm = np.concatenate([group(NATIONAL), silence(30.0), group(b"NNNN"), silence(3.0)])
    assert names(listen(pcm, longest_message_s=10.0)) == ["HeaderDecoded", "EndOfMessage"]


def test_a_message_that_times_out_while_samples_are_lost_is_told_behind_the_loss() -> None:
    listener = SameListener(RATE_HZ, longest_message_s=60.0)
    events = listener.push(np.concatenate([group(HEADER), silence(4.0)]))
    events += listener.skip(round(3600 * RATE_HZ)) + listener.push(silence(3.0))
    assert names(events) == ["HeaderDecoded", "CarrierLost", "MessageTimedOut"]


def test_an_end_that_comes_at_once_behind_a_loss_is_too_late() -> None:
    listener = SameListener(RATE_HZ, longest_message_s=12.0)
    # Two seconds of the loss reach the detector of tones; the listener's next look shall be a whole period later.
    period = round(1.28 * RATE_HZ)
    begin = np.concatenate([group(HEADER), silence(4.0)])
    begin = np.concatenate([begin, np.zeros(-(len(begin) + round(2.0 * RATE_HZ)) % period, np.float32)])
    assert names(listener.push(begin)) == ["HeaderDecoded"]
    events = listener.skip(round(60 * RATE_HZ)) + listener.push(np.concatenate([group(b"NNNN", n=1), silence(3.0)]))
    assert names(events) == ["CarrierLost", "MessageTimedOut", "EndOfMessage"]


class TestCarrier:
    def begun(self) -> tuple[SameListener, int]:
        listener = SameListener(RATE_HZ)
        pcm = np.concatenate([group(HEADER), silence(4.0)])
        assert names(listener.push(pcm, carrier=True)) == ["HeaderDecoded"]
        return listener, len(pcm)

    def test_a_carrier_that_goes_within_a_message_is_told_once(self) -> None:
        listener, position = self.begun()
        events: list[SameEvent] = []
        for _ in range(20):
            events += listener.push(silence(0.5), carrier=False)
        lost = only(CarrierLost, events)
        assert events == [lost]
        assert lost.start_sample == position
        assert lost.end_sample == position + CARRIER_LOST_S * RATE_HZ
        assert listener.message is not None

    def test_a_carrier_that_comes_back_may_be_lost_again_and_the_end_is_heard(self) -> None:
        listener, _ = self.begun()
        events = listener.push(silence(4.0), carrier=False) + listener.push(silence(1.0), carrier=True)
        events += listener.push(silence(4.0), carrier=False)
        events += listener.push(np.concatenate([group(b"NNNN"), silence(2.0)]), carrier=True)
        assert names(events) == ["CarrierLost", "CarrierLost", "EndOfMessage"]

    def test_a_fade_is_no_loss(self) -> None:
        listener, _ = self.begun()
        events: list[SameEvent] = []
        for _ in range(5):
            events += listener.push(silence(CARRIER_LOST_S - 0.1), carrier=False)
            events += listener.push(silence(0.1), carrier=True)
        assert events == []

    def test_a_loss_that_ends_between_two_looks_is_told_all_the_same(self) -> None:
        listener, _ = self.begun()
        events = listener.push(silence(CARRIER_LOST_S), carrier=False) + listener.push(silence(0.01), carrier=True)
        assert names(events) == ["CarrierLost"]

    def test_without_a_message_there_is_nothing_to_lose(self) -> None:
        listener = SameListener(RATE_HZ)
        assert listener.push(silence(30.0), carrier=False) == []

    def test_a_squelch_that_never_opened_says_nothing_of_the_carrier(self) -> None:
        listener = SameListener(RATE_HZ)
        pcm = np.concatenate([silence(0.1), group(HEADER), silence(20.0)])
        assert names(listener.push(pcm, carrier=False)) == ["HeaderDecoded"]

    def test_lost_samples_have_no_carrier(self) -> None:
        listener, position = self.begun()
        events = listener.skip(round(5.0 * RATE_HZ)) + listener.push(silence(0.1))
        assert only(CarrierLost, events).start_sample == position
        assert names(events) == ["CarrierLost"]

    def test_where_nobody_knows_nothing_is_said(self) -> None:
        listener, _ = self.begun()
        assert listener.push(silence(30.0)) == []


def test_finish_gives_what_was_pending_and_a_new_stream_follows() -> None:
    listener = SameListener(RATE_HZ)
    whole = group(HEADER)
    events = listener.push(whole) + listener.finish()
    assert names(events) == ["HeaderDecoded"]
    assert listener.message is None
    again = listener.push(whole) + listener.finish()
    first, second = only(HeaderDecoded, events), only(HeaderDecoded, again)
    assert second.start_sample - first.start_sample == pytest.approx(len(whole), abs=16)


@pytest.mark.parametrize(
    "times", [{"longest_message_s": 0.0}, {"carrier_lost_s": -1.0}, {"longest_message_s": float("nan")}]
)
def test_impossible_times_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        SameListener(RATE_HZ, **times)
