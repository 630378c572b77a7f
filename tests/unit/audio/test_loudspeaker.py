"""The loudspeaker, through ALSA into a file: what was played, how loud, and what happens to a device that is gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from app_core.alerts.alert import Alert
from app_core.audio import loudspeaker
from app_core.audio.loudspeaker import DEVICE_RATE_HZ, Loudspeaker, LoudspeakerSettings, player_argv
from app_core.base.child import run_quietly
from tests.support.pcm_source import PcmFeed, frequency_of, tone
from tests.support.programs import eventually, missing, require_program

ALSA_DEFAULTS = Path("/usr/share/alsa/alsa.conf")


@dataclass
class _Alert:
    """As much of an alert as the loudspeaker looks at."""

    channels: tuple[str, ...]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], NDArray[np.float32]]:
    """Make an ALSA device ``herald`` whose sound is a file, and give what gives its left channel."""
    if not ALSA_DEFAULTS.exists():
        missing(str(ALSA_DEFAULTS))
    formats = run_quietly([require_program("ffmpeg"), "-hide_banner", "-devices"], timeout_s=30.0) or b""
    if b"alsa" not in formats:
        missing("an FFmpeg with ALSA")
    path = tmp_path / "played.raw"
    config = tmp_path / "asound.conf"
    config.write_text(
        f'<{ALSA_DEFAULTS}>\npcm.herald {{ type plug slave.pcm "to_file" }}\n'
        f'pcm.to_file {{ type file slave.pcm "null" file "{path}" format "raw" }}\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))

    def read() -> NDArray[np.float32]:
        if not path.exists():
            return np.zeros(0, np.float32)
        raw = path.read_bytes()
        return np.frombuffer(raw[: len(raw) // 4 * 4], "<i2").reshape(-1, 2)[:, 0].astype(np.float32) / 32767.0

    return read


@contextmanager
def _speaker(feed: PcmFeed, alerts: list[Alert] | None = None, **settings: object) -> Iterator[Loudspeaker]:
    checked = LoudspeakerSettings.model_validate({"device": "herald", **settings})
    with Loudspeaker(feed, checked, lambda: alerts or []) as speaker:
        yield speaker


def _alert(*channels: str) -> Alert:
    return _Alert(channels)  # type: ignore[return-value]


def _level(pcm: NDArray[np.float32]) -> float:
    return float(np.abs(pcm).max(initial=0.0))


def test_a_channel_is_heard_as_it_is_at_its_volume(played: Callable[[], NDArray[np.float32]]) -> None:
    feed = PcmFeed()
    with tone(feed.queue("wx1"), amplitude=0.5), _speaker(feed, channel="wx1", volume_db=-6.0) as speaker:
        eventually(lambda: len(played()) > 3 * DEVICE_RATE_HZ, "three seconds")
        status = speaker.status()
    pcm = played()
    assert frequency_of(pcm[DEVICE_RATE_HZ // 2 :], DEVICE_RATE_HZ) == pytest.approx(1000.0, abs=0.1)
    assert _level(pcm[DEVICE_RATE_HZ // 2 :]) == pytest.approx(0.25, abs=0.02)
    assert (status["playing"], status["alert"], status["open"]) == ("wx1", False, True)
    assert status["dropped_s"] == 0.0


def test_alerts_alone_are_heard_with_their_own_volume_and_silence_before_and_after(
    played: Callable[[], NDArray[np.float32]],
) -> None:
    feed = PcmFeed()
    alerts: list[Alert] = []
    queue = feed.queue("wx2")
    with tone(queue, amplitude=0.1), _speaker(feed, alerts, alerts_only=True, alert_volume_db=12.0) as speaker:
        eventually(lambda: len(played()) > DEVICE_RATE_HZ, "a second of silence")
        assert _level(played()) == 0.0
        assert not queue.has_subscribers
        alerts.append(_alert("wx2"))
        eventually(lambda: _level(played()) > 0.3, "the alert")
        assert (speaker.status()["playing"], speaker.status()["alert"]) == ("wx2", True)
        alerts.clear()
        eventually(lambda: speaker.status()["playing"] == "", "its end")
        heard = len(played())
        # ALSA's file is written in pieces as long as FFmpeg's buffer of the device, 2.7 s.
        eventually(lambda: len(played()) > heard + 4 * DEVICE_RATE_HZ, "silence behind it")
    assert _level(played()) == pytest.approx(0.1 * 10 ** (12 / 20), abs=0.02)
    assert _level(played()[-DEVICE_RATE_HZ // 2 :]) == 0.0


def test_an_alert_takes_the_place_of_the_channel_and_gives_it_back() -> None:
    feed = PcmFeed()
    alerts: list[Alert] = []
    speaker = Loudspeaker(feed, LoudspeakerSettings(channel="wx1"), lambda: alerts)
    plays = []
    for now in ([], [_alert("wx3", "wx2")], [_alert("wx3", "wx2"), _alert("wx2")], [_alert("wx1", "wx2")], []):
        alerts[:] = now
        speaker._choose()
        plays.append((speaker.status()["playing"], speaker.status()["alert"]))
    assert plays == [("wx1", False), ("wx3", True), ("wx2", True), ("wx2", True), ("wx1", False)]
    assert feed.queue("wx2").status() == feed.queue("wx3").status() == {}


def test_another_rate_and_stereo_are_heard_at_the_right_pitch(played: Callable[[], NDArray[np.float32]]) -> None:
    feed = PcmFeed()
    with _speaker(feed, channel="wx1") as speaker:
        with tone(feed.queue("wx1")):
            eventually(lambda: _level(played()) > 0.4, "the first tone")
        with tone(feed.queue("wx1"), sample_rate_hz=44_100, n_channels=2):
            # A device opened anew begins its file anew.
            eventually(lambda: speaker._format == (44_100, 2), "the change")
            eventually(lambda: len(played()) > 2 * DEVICE_RATE_HZ and _level(played()) > 0.4, "two seconds of it")
        assert speaker.restarts == 0
    assert frequency_of(played()[: 2 * DEVICE_RATE_HZ], DEVICE_RATE_HZ) == pytest.approx(1000.0, abs=0.2)


def test_a_source_that_says_nothing_is_silence(played: Callable[[], NDArray[np.float32]]) -> None:
    with _speaker(PcmFeed(), channel="wx1") as speaker:
        eventually(lambda: len(played()) > DEVICE_RATE_HZ, "a second of silence")
        assert speaker.status()["silence_s"] > 0.5
    assert _level(played()) == 0.0


@pytest.mark.usefixtures("played")
def test_a_device_that_is_not_there_is_named_and_tried_again() -> None:
    with _speaker(PcmFeed(), channel="wx1", device="hw:77,7") as speaker:
        eventually(lambda: speaker.restarts >= 2, "two tries")
        assert speaker.is_alive
        status = speaker.status()
    assert "cannot open audio device hw:77,7 (" in status["last_error"]
    assert any("cannot open audio device" in line for line in status["stderr"])


def test_a_killed_ffmpeg_is_replaced(played: Callable[[], NDArray[np.float32]]) -> None:
    feed = PcmFeed()
    with tone(feed.queue("wx1")), _speaker(feed, channel="wx1") as speaker:
        eventually(lambda: _level(played()) > 0.4, "the tone")
        assert speaker._ffmpeg is not None
        pid = speaker._ffmpeg.pid
        os.kill(pid, 9)
        eventually(lambda: speaker.restarts == 1, "that it is missed")
        eventually(lambda: _level(played()) > 0.4 and speaker.status()["open"], "the tone again")
    assert not Path(f"/proc/{pid}").exists()


def test_a_device_that_takes_nothing_is_opened_anew(
    monkeypatch: pytest.MonkeyPatch, played: Callable[[], NDArray[np.float32]]
) -> None:
    monkeypatch.setattr(loudspeaker, "STUCK_AFTER_S", 0.5)
    feed = PcmFeed()
    with tone(feed.queue("wx1"), sample_rate_hz=48_000, n_channels=2), _speaker(feed, channel="wx1") as speaker:
        eventually(lambda: _level(played()) > 0.4, "the tone")
        assert speaker._ffmpeg is not None
        os.kill(speaker._ffmpeg.pid, 19)
        eventually(lambda: speaker.restarts == 1, "that it is missed")
    assert any("taken nothing" in line for line in speaker.status()["stderr"])


def test_the_command_lines() -> None:
    alsa = player_argv("ffmpeg", LoudspeakerSettings(channel="x", device="hw:1,0"), 24_000, 1)
    assert alsa[-3:] == ["-f", "alsa", "hw:1,0"]
    assert "-re" not in alsa
    assert alsa[alsa.index("-i") - 4 : alsa.index("-i")] == ["-ar", "24000", "-ac", "1"]
    pulse = LoudspeakerSettings(channel="x", type="pulse", device="kitchen")
    assert player_argv("ffmpeg", pulse, 24_000, 2)[-3:] == ["-device", "kitchen", "monitor"]
    assert "-device" not in player_argv("ffmpeg", LoudspeakerSettings(channel="x", type="pulse"), 24_000, 2)


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"channel": "a", "alerts_only": True},
        {"alerts_only": True, "alerts": False},
        {"channel": "a", "device": "-f"},
        {"channel": "a", "device": ""},
        {"channel": "a", "volume_db": 40},
        {"channel": "a", "typ": "alsa"},
    ],
)
def test_settings_that_make_no_sense_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LoudspeakerSettings.model_validate(table)
