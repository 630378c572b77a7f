from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app_core.audio.decode_sound import open_sound_recording
from app_core.eas.attention import Attention
from app_core.eas.encoder import encode_transmission
from app_core.eas.events import AttentionHeard, EndOfMessage, HeaderDecoded, SameEvent
from services.encode_command import WARNING, main, minutes_of, parse_arguments, time_of

HEADER = "ZCZC-WXR-RWT-029095+0030-1231200-KEAX/NWS-"


def encode(*arguments: str | Path | float) -> int:
    return main([str(argument) for argument in arguments])


def heard(path: Path) -> list[SameEvent]:
    recording = open_sound_recording(path)
    wanted = (HeaderDecoded, AttentionHeard, EndOfMessage)
    events: list[SameEvent] = [one.event for step in recording.steps() for one in step.heard]
    recording.close()
    return [event for event in events if isinstance(event, wanted)]


def text_of(events: list[SameEvent]) -> str:
    return next(event.header.text for event in events if isinstance(event, HeaderDecoded))


def test_a_whole_header_is_written_to_the_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "test.wav"
    assert encode(HEADER, "-o", path, "--rate", 48_000, "--silence", 0.5) == 0
    pcm, rate_hz = soundfile.read(path, dtype="int16")
    assert rate_hz == 48_000
    peak = 10.0 ** (-8.0 / 20.0)
    expected = encode_transmission(HEADER, 48_000, burst_level=peak, attention_level=peak).pcm
    quiet = np.zeros(24_000, np.float32)
    np.testing.assert_array_equal(pcm, np.rint(np.concatenate([quiet, expected, quiet]) * 32767.0))
    assert capsys.readouterr().err.startswith(f"{HEADER}\n")


def test_every_run_warns_that_this_is_not_for_the_air(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encode(HEADER, "-o", tmp_path / "test.wav", "--attention", "none") == 0
    assert WARNING in capsys.readouterr().err
    assert "47 CFR 11.45" in WARNING
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    assert WARNING in capsys.readouterr().out


def test_a_header_is_made_of_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "test.flac"
    fields = ["--originator", "CIV", "--event", "CEM", "--location", "Jackson, Missouri", "--location", "120091"]
    times = ["--for", "1h10m", "--at", "2026-05-03T07:00-05:00", "--callsign", "KC-EOC"]
    assert encode(*fields, *times, "-o", path) == 0
    events = heard(path)
    assert text_of(events) == "ZCZC-CIV-CEM-029095-120091+0130-1231200-KC/EOC  -"
    assert [event.kind for event in events if isinstance(event, AttentionHeard)] == ["eas"]
    assert isinstance(events[-1], EndOfMessage)


def test_without_more_it_is_a_demonstration_of_half_an_hour_from_now(tmp_path: Path) -> None:
    path = tmp_path / "test.wav"
    before = datetime.now(UTC)
    assert encode("--location", "029095", "-o", path, "--attention", "none") == 0
    days = {f"{time:%j%H%M}" for time in (before, datetime.now(UTC))}
    assert text_of(heard(path)) in {f"ZCZC-EAS-DMO-029095+0030-{day}-HERALD  -" for day in days}


def test_the_weather_service_sends_its_own_tone(tmp_path: Path) -> None:
    path = tmp_path / "test.wav"
    assert encode(HEADER, "-o", path, "--attention-seconds", 9) == 0
    tone = next(event for event in heard(path) if isinstance(event, AttentionHeard))
    assert tone.kind == Attention.NWR
    assert (tone.end_sample - tone.start_sample) / 24_000 == pytest.approx(9.0, abs=0.02)


def test_a_voice_of_another_rate_and_two_channels_stands_between_tone_and_end(tmp_path: Path) -> None:
    time_s = np.arange(44_100) / 44_100
    tone = 0.5 * np.sin(2.0 * np.pi * 440.0 * time_s)
    soundfile.write(tmp_path / "voice.wav", np.stack([tone, np.zeros_like(tone)], axis=1), 44_100)
    path = tmp_path / "test.wav"
    assert encode(HEADER, "-o", path, "--voice", tmp_path / "voice.wav", "--silence", 0, "--level", -6) == 0
    pcm, _ = soundfile.read(path)
    with_voice = encode_transmission(HEADER, 24_000, voice_pcm=np.zeros(24_000, np.float32))
    voice = next(part for part in with_voice.parts if part.name == "voice")
    sound = pcm[voice.start_sample : voice.end_sample]
    expected = 0.25 * np.sin(2.0 * np.pi * 440.0 * np.arange(24_000) / 24_000)
    # In phase: resampling does not shift it.
    np.testing.assert_allclose(sound[500:-500], expected[500:-500], atol=0.003)
    assert len(pcm) == len(with_voice.pcm)
    assert np.abs(pcm[: with_voice.parts[0].end_sample]).max() == pytest.approx(0.501, abs=0.001)


def test_a_text_is_spoken(tmp_path: Path) -> None:
    assert encode(HEADER, "-o", tmp_path / "silent.wav") == 0
    assert encode(HEADER, "-o", tmp_path / "spoken.wav", "--say", "This is a test, and nothing else.") == 0
    lengths = [soundfile.info(tmp_path / name).duration for name in ("silent.wav", "spoken.wav")]
    assert lengths[1] > lengths[0] + 2.0


def test_the_end_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "test.wav"
    assert encode(HEADER, "-o", path, "--without-end", "--attention", "none") == 0
    events = heard(path)
    assert text_of(events) == HEADER
    assert len(events) == 1


def test_raw_pcm_goes_to_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(received, write_through=True))
    assert encode(HEADER, "-o", "-") == 0
    assert encode(HEADER, "-o", tmp_path / "test.wav") == 0
    pcm, _ = soundfile.read(tmp_path / "test.wav", dtype="int16")
    np.testing.assert_array_equal(np.frombuffer(received.getvalue(), "<i2"), pcm)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ZCZC-nonsense"], "not a SAME header"),
        (["--location", "Nowhere"], "no area is called 'Nowhere'"),
        (["--location", "029095", "--event", "tornado"], "not a SAME header"),
        (["--location", "029095", "--for", "0"], "valid for"),
        (["--location", "029095", "--callsign", "MUCH TOO LONG"], "not a SAME header"),
        ([HEADER, "--voice", "/nowhere/voice.wav"], "/nowhere/voice.wav: No such file"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_in_words(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(*arguments, "-o", tmp_path / "test.wav") == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "test.wav").exists()


def test_an_output_that_cannot_be_written_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere" / "test.wav"
    assert encode(HEADER, "-o", path) == 1
    assert f"{path}: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "at least one --location"),
        ([HEADER, "--event", "TOR"], "leave out --originator"),
        ([HEADER, "--for", "30m"], "leave out --originator"),
        ([HEADER, "--attention-seconds", "7.9"], "8 to 25 s"),
        ([HEADER, "--attention-seconds", "25.1"], "8 to 25 s"),
        ([HEADER, "--rate", "7999"], "--rate"),
        ([HEADER, "--level", "1"], "--level"),
        ([HEADER, "--silence", "-1"], "--silence"),
        (["--location", "029095", "--for", "soon"], "is no duration"),
        (["--location", "029095", "--at", "noon"], "is no time"),
        ([HEADER, "--voice", "a.wav", "--say", "b"], "not allowed with"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        parse_arguments([*arguments, "-o", "test.wav"])
    assert refusal.value.code == 2
    assert reason in capsys.readouterr().err


def test_an_output_of_another_format_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([HEADER, "-o", "test.mp3"])
    assert "-o must end in .wav" in capsys.readouterr().err


def test_durations_and_times_are_read() -> None:
    assert [minutes_of(text) for text in ("45", "45m", "2h", "1h30m", "1h30")] == [45, 45, 120, 90, 90]
    assert time_of("2026-05-03T12:00") == datetime(2026, 5, 3, 12, 0, tzinfo=UTC)
    assert time_of("2026-05-03T07:00-05:00") == datetime(2026, 5, 3, 12, 0, tzinfo=UTC)
