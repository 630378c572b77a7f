"""The publisher: ring to messages, every sample once, and rows of the spectrum at their pace."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from app_core.bridge.messages import SpectrumMessage
from app_core.bridge.sample_codec import decode_samples
from app_core.radio import publisher as publisher_module
from app_core.radio.publisher import Publisher
from app_core.radio.reader import Reader
from app_core.radio.receiver import Reading, Tuning
from tests.support.programs import eventually
from tests.support.signals import complex_noise, complex_tone
from tests.unit.radio.scripted import (
    FREQUENCY_HZ,
    RATE_HZ,
    Published,
    ScriptedReceiver,
    numbered,
    receiver_settings,
)


@contextmanager
def _publishing(
    receiver: ScriptedReceiver, published: Published, **changes: object
) -> Iterator[tuple[Reader, Publisher]]:
    settings = receiver_settings(**changes)
    reader = Reader(settings, receiver)
    with Publisher(settings, reader, published.put) as publisher, reader:
        yield reader, publisher


def test_every_sample_is_published_once_and_in_order() -> None:
    receiver, published = ScriptedReceiver(deque([700, 5000, 1, 12_000, 2779])), Published()
    with _publishing(receiver, published):
        eventually(lambda: len(published.samples()) == 20, "20 messages")
    messages = published.samples()
    assert [message.sequence for message in messages] == list(range(20))
    assert [message.first_sample for message in messages] == [1024 * number for number in range(20)]
    assert {message.sample_count for message in messages} == {1024}
    assert len({message.config_epoch for message in messages}) == 1
    assert {(message.sample_rate, message.center_frequency) for message in messages} == {(RATE_HZ, FREQUENCY_HZ)}
    iq = np.concatenate([decode_samples(message).iq for message in messages])
    assert np.array_equal(iq, numbered(0, 20 * 1024))
    assert all(ttl_s is None for channel, _, ttl_s in published.frames if "samples" in channel)


def test_timestamps_are_the_captures_and_not_the_publications() -> None:
    captured_s = 1_600_000_000.0
    receiver = ScriptedReceiver(deque([Reading(2048, captured_s), Reading(2048, captured_s + 2048 / RATE_HZ)]))
    published = Published()
    with _publishing(receiver, published):
        eventually(lambda: len(published.samples()) == 4, "4 messages")
    for message in published.samples():
        assert message.timestamp == pytest.approx(captured_s + message.first_sample / RATE_HZ, abs=1e-4)


def test_a_loss_ends_a_message_and_shows_as_a_jump() -> None:
    receiver = ScriptedReceiver(deque([1500, Reading(3000, time.time(), lost_samples=100)]))
    published = Published()
    with _publishing(receiver, published):
        eventually(lambda: len(published.samples()) == 4, "4 messages")
    messages = published.samples()
    assert [(m.first_sample, m.sample_count) for m in messages] == [(0, 1024), (1024, 476), (1600, 1024), (2624, 1024)]
    for message in messages:
        assert np.array_equal(decode_samples(message).iq, numbered(message.first_sample, message.sample_count))


def test_an_overflow_while_the_publisher_is_held_up_shows_as_a_jump() -> None:
    receiver, published = ScriptedReceiver(deque([12_500] * 30)), Published()
    settings = receiver_settings(samples_per_message=32_768)
    reader = Reader(settings, receiver)
    with reader:
        eventually(lambda: receiver.next_sample == 375_000 and reader.timeout_count > 0, "that the ring overflows")
        with Publisher(settings, reader, published.put):
            eventually(lambda: reader.ring is not None and reader.ring.readable == 0, "that it catches up")
            receiver.steps.append(40_000)
            eventually(lambda: len(published.samples()) == 9, "a message after the overflow")
    messages = published.samples()
    assert [message.first_sample for message in messages] == [*range(0, 262_144, 32_768), 375_000]
    assert reader.lost_samples == 375_000 - 262_144


def test_the_last_samples_of_a_recording_are_published_although_they_fill_no_message() -> None:
    receiver = ScriptedReceiver(deque([2500, Reading(0, time.time(), ended=True)]), waits=True)
    published = Published()
    with _publishing(receiver, published) as (reader, _):
        eventually(lambda: len(published.samples()) == 3, "3 messages")
        assert reader.ended
    assert [message.sample_count for message in published.samples()] == [1024, 1024, 452]


def _feed_tone(reader: Reader, offset_hz: float, n_samples: int, amplitude: float, noise_power: float) -> None:
    """Put samples into the ring as the reader would."""
    ring = reader.ring
    assert ring is not None
    iq = complex_tone(offset_hz, RATE_HZ, n_samples, amplitude) + complex_noise(n_samples, noise_power, 1)
    assert ring.write(iq.astype(np.complex64)) == n_samples


def test_rows_of_the_spectrum_come_at_their_pace_in_the_samples_time() -> None:
    published = Published()
    with _publishing(ScriptedReceiver(), published) as (reader, publisher):
        eventually(lambda: reader.ring is not None, "the ring")
        reader.clock.note(0, 1_700_000_000.0)
        _feed_tone(reader, 50_000.0, 250_000, 0.1, 1e-6)
        eventually(lambda: reader.ring is not None and reader.ring.readable < 1024, "one second of samples")
    rows = [SpectrumMessage.from_json(payload) for payload in published.payloads("sdr:spectrum:rx")]
    assert len(rows) == 12
    assert {ttl_s for channel, _, ttl_s in published.frames if "spectrum" in channel} == {5}
    row = rows[5]
    assert (row.identifier, row.status, row.fft_size) == ("rx", "available", 2048)
    assert (row.sample_rate, row.center_frequency) == (RATE_HZ, FREQUENCY_HZ)
    assert len(row.spectrum) == 2048
    spaces = np.diff([message.timestamp for message in rows])
    assert np.allclose(spaces, 1 / 12, atol=1e-4)
    assert rows[0].timestamp == pytest.approx(1_700_000_000.0 + 1 / 12, abs=1e-4)
    # Lowest frequency first, 0..1 an affine map of the dBFS beside it: the tone stands in its place.
    peak = int(np.argmax(row.spectrum))
    assert abs((peak - 1024) * RATE_HZ / 2048 - 50_000.0) < RATE_HZ / 2048
    level = row.dbfs_min + row.spectrum[peak] * (row.dbfs_max - row.dbfs_min)
    assert -21.0 < level < -19.9
    assert publisher.level_dbfs == pytest.approx(-20.0, abs=0.1)
    assert publisher.clipping == 0.0


def test_level_and_clipping_are_those_of_a_whole_row() -> None:
    published = Published()
    with _publishing(ScriptedReceiver(), published) as (reader, publisher):
        eventually(lambda: reader.ring is not None, "the ring")
        ring = reader.ring
        assert ring is not None
        row = np.zeros(20_833, dtype=np.complex64)
        row[:1000] = 1.0  # the rest, and so the last piece of the row that is looked at, is silent
        ring.write(row)
        eventually(lambda: len(published.payloads("sdr:spectrum:rx")) == 1, "the row")
        assert publisher.level_dbfs == pytest.approx(10 * np.log10(1000 / 20_833), abs=0.01)
        assert publisher.clipping == pytest.approx(1000 / 20_833, rel=1e-6)


def test_a_signal_locks_noise_does_not_and_a_new_tuning_begins_anew() -> None:
    published = Published()
    with _publishing(ScriptedReceiver(), published) as (reader, publisher):
        eventually(lambda: reader.ring is not None, "the ring")
        _feed_tone(reader, 50_000.0, 60_000, 0.0, 1e-4)
        eventually(lambda: len(published.payloads("sdr:spectrum:rx")) == 2, "rows of noise")
        assert not publisher.locked_since_s
        _feed_tone(reader, 50_000.0, 60_000, 0.1, 1e-4)
        eventually(lambda: len(published.payloads("sdr:spectrum:rx")) == 5, "rows of a signal")
        assert publisher.locked_since_s is not None
        assert publisher.snr_db > 10
        ring = reader.ring
        assert ring is not None
        ring.mark(first_sample=10**6, config_epoch=2**62, sample_rate_hz=RATE_HZ, center_frequency_hz=1e8)
        _feed_tone(reader, 50_000.0, 1024, 0.1, 1e-4)
        eventually(lambda: publisher.locked_since_s is None, "that the new tuning is not locked yet")


def test_an_underflow_is_a_second_without_a_sample_and_not_a_long_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "UNDERFLOW_AFTER_S", 0.1)
    receiver, published = ScriptedReceiver(), Published()
    with _publishing(receiver, published, samples_per_message=65_536) as (reader, _):
        eventually(lambda: reader.ring is not None, "the ring")
        ring = reader.ring
        assert ring is not None
        deadline_s = time.monotonic() + 0.4

        def trickle() -> bool:
            ring.write(numbered(0, 10))
            return time.monotonic() > deadline_s

        eventually(trickle, "0.4 s of trickling samples")
        assert ring.statistics().underflow_count == 0
        eventually(lambda: ring.statistics().underflow_count >= 2, "underflows of a silent device")


def test_a_publisher_follows_another_reader() -> None:
    published = Published()
    first, second = ScriptedReceiver(deque([1024])), ScriptedReceiver(deque([2048]))
    settings = receiver_settings()
    with _publishing(first, published) as (_, publisher), Reader(settings, second) as another:
        eventually(lambda: len(published.samples()) == 1, "the first reader's samples")
        publisher.follow(another)
        eventually(lambda: len(published.samples()) == 3, "the second reader's samples")
    assert [message.sequence for message in published.samples()] == [0, 1, 2]
    assert [message.first_sample for message in published.samples()] == [0, 0, 1024]


def test_a_slice_is_published_while_the_spectrum_is_of_the_whole_band() -> None:
    receiver, published = ScriptedReceiver(deque([25_000] * 20), waits=True), Published()
    receiver.steps.append(Reading(0, time.time(), ended=True))
    slice_hz, center_hz = 50_000.0, FREQUENCY_HZ + 60_000.0
    with _publishing(receiver, published, publish_sample_rate_hz=slice_hz, publish_center_frequency_hz=center_hz) as (
        _,
        publisher,
    ):
        eventually(lambda: sum(m.sample_count for m in published.samples()) == 100_000, "two seconds of the slice")
        assert publisher.encoding()["publish_sample_rate"] == slice_hz
    messages = published.samples()
    assert {(m.sample_rate, m.center_frequency) for m in messages} == {(slice_hz, center_hz)}
    assert [m.first_sample for m in messages] == list(range(0, 100_000, 1024))
    assert [m.sequence for m in messages] == list(range(len(messages)))
    row = SpectrumMessage.from_json(published.payloads("sdr:spectrum:rx")[0])
    assert (row.sample_rate, row.center_frequency) == (RATE_HZ, FREQUENCY_HZ)


def test_samples_are_stored_when_compressing_them_is_beyond_the_budget() -> None:
    receiver, published = ScriptedReceiver(deque([1024] * 400), waits=True), Published()
    with _publishing(receiver, published, encode_share_max=1e-6) as (_, publisher):
        eventually(lambda: len(published.samples()) == 400, "all messages")
        assert publisher.encoding()["encoding_level"] == 0
    messages = published.samples()
    assert len(messages[-1].samples) > 1024 * 8 * 4 / 3
    iq = np.concatenate([decode_samples(message).iq for message in messages])
    assert np.array_equal(iq, numbered(0, 400 * 1024))


class _Corrected(ScriptedReceiver):
    """One whose crystal is corrected."""

    def open(self) -> Tuning:
        return replace(super().open(), frequency_correction_ppm=3.5)


def test_samples_say_under_which_correction_they_came() -> None:
    published = Published()
    with _publishing(_Corrected(deque([1024] * 4), waits=True), published):
        eventually(lambda: len(published.samples()) == 4, "all messages")
    assert {message.frequency_correction_ppm for message in published.samples()} == {3.5}


def _feed_runs(reader: Reader, n_runs: int, n_samples: int) -> None:
    """Put runs of samples into the ring, each a few samples behind the last one, as the reader does after a loss."""
    ring = reader.ring
    assert ring is not None
    eventually(lambda: ring.anchor_at_read() is not None, "the first run")
    first = ring.anchor_at_read()
    assert first is not None
    for number in range(n_runs):
        _feed_tone(reader, 50_000.0, n_samples, 0.1, 1e-6)
        position = (number + 1) * (n_samples + 10)
        ring.mark(
            first_sample=position,
            config_epoch=first.config_epoch,
            sample_rate_hz=RATE_HZ,
            center_frequency_hz=FREQUENCY_HZ,
        )


def test_losses_many_times_a_second_do_not_end_the_spectrum() -> None:
    published = Published()
    with _publishing(ScriptedReceiver(), published) as (reader, publisher):
        eventually(lambda: reader.ring is not None, "the ring")
        _feed_runs(reader, 50, 5000)
        eventually(lambda: reader.ring is not None and reader.ring.readable == 0, "one second of samples")
        rows = len(published.payloads("sdr:spectrum:rx"))
        # Twelve by their samples; a row that waited too long may come with fewer.
        assert rows >= 11
        assert publisher.snr_db > 30.0
        assert publisher.level_dbfs == pytest.approx(-20.0, abs=0.2)


def test_a_row_with_a_loss_in_it_is_published_when_its_time_has_come() -> None:
    published = Published()
    with _publishing(ScriptedReceiver(), published) as (reader, _):
        eventually(lambda: reader.ring is not None, "the ring")
        _feed_runs(reader, 1, 5000)
        time.sleep(0.2)
        assert published.payloads("sdr:spectrum:rx") == [], "nothing came behind the loss yet"
        _feed_tone(reader, 50_000.0, 2048, 0.1, 1e-6)
        eventually(lambda: len(published.payloads("sdr:spectrum:rx")) == 1, "a row of a third of its samples")
