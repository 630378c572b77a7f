from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from app_core.audio.decode_sound import SoundRecording, Twins, channel_names, open_sound_recording
from app_core.audio.heard import Heard, event_text
from app_core.base.errors import WireError
from app_core.eas.encoder import encode_transmission
from app_core.eas.events import AttentionHeard, BurstHeard, EndOfMessage, HeaderDecoded
from tests.unit.audio.recordings import RATE_HZ, TEST, TORNADO, spoken

NOW = datetime(2026, 5, 3, 12, 1, tzinfo=UTC)


class Memory:
    """Audio from an array, with a count of what was asked for."""

    def __init__(self, pcm: NDArray[np.float32], sample_rate_hz: float = RATE_HZ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.n_channels = pcm.shape[1]
        self.duration_s: float | None = len(pcm) / sample_rate_hz
        self._pcm = pcm
        self._position = 0

    def read(self, n_frames: int) -> NDArray[np.float32]:
        block = self._pcm[self._position : self._position + n_frames]
        self._position += len(block)
        return block

    def close(self) -> None:
        self._position = len(self._pcm)


def messages_of(recording: SoundRecording) -> list[Heard]:
    """All but the bursts."""
    heard = [one for step in recording.steps() for one in step.heard]
    return [one for one in heard if not isinstance(one.event, BurstHeard)]


def told(*channels: NDArray[np.float32]) -> list[tuple[str, str]]:
    """What the channels of a recording say: names of channels, and text."""
    longest = max(len(channel) for channel in channels)
    pcm = np.zeros((longest, len(channels)), np.float32)
    for place, channel in enumerate(channels):
        pcm[: len(channel), place] = channel
    recording = SoundRecording(Memory(pcm), NOW)
    heard = messages_of(recording)
    assert [one.start_s for one in heard] == sorted(one.start_s for one in heard)
    return [("+".join(one.channels), event_text(one.event)) for one in heard]


def with_noise(pcm: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return pcm + (0.02 * rng.standard_normal(len(pcm))).astype(np.float32)


def test_header_and_end_of_message_are_told_with_their_places() -> None:
    recording = SoundRecording(Memory(spoken()[:, None]), NOW)
    heard = messages_of(recording)
    assert [event_text(one.event) for one in heard] == [TEST, "NNNN"]
    assert heard[0].start_s == pytest.approx(0.5, abs=0.01)
    assert recording.duration_s is not None
    assert heard[1].end_s < recording.duration_s


def test_channels_that_are_the_same_are_told_once() -> None:
    assert told(spoken(), spoken()) == [("left+right", TEST), ("left+right", "NNNN")]


def test_channels_that_say_the_same_in_other_noise_are_told_once() -> None:
    assert told(with_noise(spoken(), 1), with_noise(spoken(), 2)) == [("left+right", TEST), ("left+right", "NNNN")]


def test_two_radios_on_left_and_right_are_two_stories() -> None:
    both = told(spoken(TEST), spoken(TORNADO, delay_s=1.0))
    # An end of message says nothing of whose it is: the two, a second apart, are one line.
    assert both == [("left", TEST), ("right", TORNADO), ("left+right", "NNNN")]


def test_a_radio_on_one_side_is_told_with_its_name() -> None:
    assert told(np.zeros(RATE_HZ, np.float32), spoken()) == [("right", TEST), ("right", "NNNN")]


def test_channels_that_part_in_the_middle_go_on_alone() -> None:
    silence = np.zeros(20 * RATE_HZ, np.float32)
    left = np.concatenate([spoken(TEST), silence, spoken(TORNADO)])
    right = np.concatenate([spoken(TEST), silence, np.zeros(len(spoken(TORNADO)), np.float32)])
    assert told(left, right) == [
        ("left+right", TEST),
        ("left+right", "NNNN"),
        ("left", TORNADO),
        ("left", "NNNN"),
    ]


def test_channels_that_part_within_a_burst_lose_nothing() -> None:
    left = spoken(TEST)
    right = left.copy()
    right[RATE_HZ:] += 1e-4
    assert told(left, right) == [("left+right", TEST), ("left+right", "NNNN")]


def test_the_end_of_a_file_decides_what_is_pending() -> None:
    whole = spoken(TEST, delay_s=0.0)
    first_burst = whole[: round(0.95 * RATE_HZ)]
    assert told(first_burst)[0] == ("mono", TEST)


def test_an_empty_recording_says_nothing() -> None:
    recording = SoundRecording(Memory(np.zeros((0, 1), np.float32)), NOW)
    assert [step.heard for step in recording.steps()] == [()]


def test_samples_that_are_no_numbers_do_no_harm() -> None:
    pcm = spoken()
    pcm[100:5000] = np.nan
    pcm[-2000:] = np.inf
    assert told(pcm) == [("mono", TEST), ("mono", "NNNN")]


def test_a_rate_that_cannot_carry_the_tones_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "slow.wav"
    soundfile.write(path, np.zeros(100, np.float32), 6_000)
    with pytest.raises(WireError, match="6000 samples per second"):
        open_sound_recording(path)


def test_the_clock_of_a_file_is_its_last_change(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100, np.float32), 8_000)
    recording = open_sound_recording(path)
    assert recording.clock.timestamp() == pytest.approx(path.stat().st_mtime, abs=1e-3)
    recording.close()


def test_names_of_channels() -> None:
    assert channel_names(1) == ("mono",)
    assert channel_names(2) == ("left", "right")
    assert channel_names(3) == ("1", "2", "3")


def test_one_channel_never_waits_and_twins_wait_for_fifteen_seconds() -> None:
    end = Heard(EndOfMessage(0, 8), ("left",), None, 1.0, 2.0)
    assert Twins(("left",)).add([end], 2.0) == (end,)
    twins = Twins(("left", "right"))
    assert twins.add([end], 2.0) == ()
    assert twins.add([], 16.9) == ()
    assert twins.add([], 17.1) == (end,)
    assert twins.flush() == ()


def test_what_one_channel_says_twice_stays_two_lines() -> None:
    first = Heard(EndOfMessage(0, 8), ("left",), None, 1.0, 2.0)
    second = Heard(EndOfMessage(80, 88), ("left",), None, 9.0, 10.0)
    twins = Twins(("left", "right"))
    twins.add([first, second], 10.0)
    assert twins.flush() == (first, second)


def test_each_burst_is_told_by_each_channel_that_hears_it() -> None:
    pcm = np.stack([with_noise(spoken(), 1), with_noise(spoken(), 2)], axis=1)
    heard = [one for step in SoundRecording(Memory(pcm), NOW).steps() for one in step.heard]
    bursts = [(one.channels, one.event.kind) for one in heard if isinstance(one.event, BurstHeard)]
    for channel in ("left", "right"):
        assert [kind for names, kind in bursts if names == (channel,)] == ["header"] * 3 + ["end"] * 3


def test_a_header_is_told_behind_the_bursts_it_was_made_of() -> None:
    heard = [one for step in SoundRecording(Memory(spoken()[:, None]), NOW).steps() for one in step.heard]
    kinds = [type(one.event) for one in heard]
    place = kinds.index(HeaderDecoded)
    assert kinds[:place] == [BurstHeard] * place
    header = heard[place].event
    assert isinstance(header, HeaderDecoded) and place >= header.bursts


def test_a_tone_that_two_channels_hear_is_told_once() -> None:
    pcm = np.concatenate([encode_transmission(TEST, RATE_HZ).pcm, np.zeros(2 * RATE_HZ, np.float32)])
    both = np.stack([with_noise(pcm, 1), with_noise(pcm, 2)], axis=1)
    heard = messages_of(SoundRecording(Memory(both), NOW))
    assert [type(one.event) for one in heard] == [HeaderDecoded, AttentionHeard, EndOfMessage]
    assert {one.channels for one in heard} == {("left", "right")}


def test_a_burst_waits_for_no_twin() -> None:
    burst = Heard(BurstHeard("header", 0, 8, 20.0, 0.0), ("left",), None, 1.0, 2.0)
    twins = Twins(("left", "right"))
    assert twins.add([burst], 2.0) == (burst,)
    assert twins.add([Heard(burst.event, ("right",), None, 1.0, 2.0)], 2.5) != ()
