"""``herald demod`` as a person uses it: files, pipes, what it measures, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.signals import audio_tone, complex_noise, fm_modulate, tone_amplitude, tone_frequency_hz

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
COMMAND = [sys.executable, "-m", "services.cli", "demod"]
RATE_HZ, CENTER_HZ, CHANNEL_HZ = 240_000, 162_475_000, 162_525_000
SECONDS = 4.0
RAW = ["--format", "cf32", "--rate", "240k", "--center", "162.475M"]


def demod(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, env=ENVIRONMENT, timeout=60, check=False
    )


def _iq(offset_hz: float = CHANNEL_HZ - CENTER_HZ, error_hz: float = 0.0) -> NDArray[np.complex64]:
    n_samples = round(SECONDS * RATE_HZ)
    tone = audio_tone(1000.0, RATE_HZ, n_samples, 0.5)
    return fm_modulate(tone, RATE_HZ, 5_000.0, offset_hz + error_hz, 0.3) + complex_noise(n_samples, 1e-4, seed=1)


def _check_tone(pcm: NDArray[np.floating], rate_hz: int) -> None:
    settled = pcm[rate_hz // 2 :]
    assert tone_frequency_hz(settled, rate_hz) == pytest.approx(1000.0, abs=0.1)
    assert tone_amplitude(settled, 1000.0, rate_hz) == pytest.approx(0.5, rel=0.03)


@pytest.fixture(name="raw", scope="module")
def make_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("iq") / "capture.cf32"
    _iq(error_hz=325.0).tofile(path)
    return path


@pytest.mark.parametrize(("suffix", "rate_hz"), [(".wav", 24_000), (".flac", 22_050), (".w64", 48_000)])
def test_a_recording_becomes_a_sound_file(raw: Path, tmp_path: Path, suffix: str, rate_hz: int) -> None:
    out = tmp_path / f"out{suffix}"
    done = demod(raw, *RAW, "--frequency", "162.525M", "--audio-rate", str(rate_hz), "-o", out)
    assert done.returncode == 0, done.stderr
    pcm, read_rate_hz = soundfile.read(out)
    assert (read_rate_hz, len(pcm)) == (rate_hz, round(SECONDS * rate_hz))
    _check_tone(pcm, rate_hz)
    measured = re.search(rb"carrier \+(\d+) Hz \(\+(\S+) ppm\), deviation (\S+) kHz", done.stderr)
    assert measured is not None, done.stderr
    assert [float(number) for number in measured.groups()] == pytest.approx([325.0, 2.0, 2.5], rel=0.01)
    assert done.stdout == b""


def test_a_sigmf_recording_tells_its_own_rate_and_centre(raw: Path, tmp_path: Path) -> None:
    data = tmp_path / "capture.sigmf-data"
    data.write_bytes(raw.read_bytes())
    metadata = {
        "global": {"core:datatype": "cf32_le", "core:sample_rate": RATE_HZ, "core:version": "1.0.0"},
        "captures": [{"core:sample_start": 0, "core:frequency": CENTER_HZ}],
        "annotations": [],
    }
    data.with_suffix(".sigmf-meta").write_bytes(orjson.dumps(metadata))
    out = tmp_path / "out.wav"
    done = demod(tmp_path / "capture", "--frequency", "162.525M", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    readings = orjson.loads(done.stdout)
    assert readings["frequency_error_hz"] == pytest.approx(325.0, abs=2.0)
    assert readings["frequency_error_ppm"] == pytest.approx(2.0, abs=0.02)
    assert readings["deviation_hz"] == pytest.approx(2500.0, rel=0.05)
    assert readings["snr_db"] > 15.0
    assert readings["level_dbfs"] == pytest.approx(20 * np.log10(0.3), abs=0.5)


def test_a_pipe_goes_in_and_raw_pcm_comes_out(raw: Path) -> None:
    done = demod("-", "--format", "cf32", "--rate", "240k", "--offset", "50k", "-o", "-", stdin=raw.read_bytes())
    assert done.returncode == 0, done.stderr
    pcm = np.frombuffer(done.stdout, dtype="<i2") / 32767.0
    assert len(pcm) == round(SECONDS * 24_000)
    _check_tone(pcm, 24_000)
    assert re.search(rb"carrier \+32\d Hz, deviation", done.stderr), "without a centre there are no parts per million"


def test_a_channel_below_the_centre_of_a_recording_without_one(tmp_path: Path) -> None:
    path = tmp_path / "base.cf32"
    _iq(offset_hz=-30_000.0).tofile(path)
    out = tmp_path / "out.wav"
    done = demod(path, "--format", "cf32", "--rate", "240k", "--offset=-30k", "-o", out)
    assert done.returncode == 0, done.stderr
    _check_tone(soundfile.read(out)[0], 24_000)


def test_audio_comes_while_the_pipe_is_still_open(raw: Path) -> None:
    arguments = [*COMMAND, "-", "--format", "cf32", "--rate", "240k", "--offset", "50k", "-o", "-"]
    live = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    assert live.stdin is not None
    assert live.stdout is not None
    assert live.stderr is not None
    # So little that all of its audio fits into the pipe behind, which nobody reads yet.
    live.stdin.write(raw.read_bytes()[: RATE_HZ * 8 * 5 // 4])
    live.stdin.flush()
    assert len(live.stdout.read(2 * 24_000)) == 2 * 24_000, "a second of what was sent"
    live.send_signal(signal.SIGINT)
    errors = live.stderr.read()
    assert live.wait(20) == 130
    assert b"deviation" in errors, "what was measured is told"
    for stream in (live.stdin, live.stdout, live.stderr):
        stream.close()


def test_a_reader_that_goes_away_ends_it_without_a_word(raw: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, str(raw), *RAW, "--frequency", "162.525M", "-o", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    ) as live:
        assert live.stdout is not None
        assert live.stderr is not None
        live.stdout.close()
        assert live.stderr.read() == b""
    assert live.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--frequency", "163M"], "a channel 16 kHz wide at 163 MHz does not lie within the recorded band of 162.355"),
        (["--mode", "usb", "--deviation", "5k"], "single sideband (mode usb) has no deviation_hz: leave it out"),
        (["--mode", "wfm", "--bandwidth", "16k"], "bandwidth_hz of broadcast FM (mode wfm) must be 100000 to 400000"),
        (["--preset", "nope"], "no preset 'nope' for a channel; there are: nwr"),
        (["--set", "colour=1"], "colour: no such setting"),
        (["--set", "squelch.mode=loud"], "squelch.mode: Input should be 'off', 'snr' or 'noise'"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_before_anything_is_written(
    raw: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    out = tmp_path / "out.wav"
    done = demod(raw, *RAW, *arguments, "-o", out)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith(f"herald demod: {raw}: {words}")
    assert not out.exists()


def test_what_cannot_be_read_or_written_is_named(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    assert demod(tmp_path / "no.cu8", *RAW, "-o", out).returncode == 2
    text = tmp_path / "text"
    text.write_text("no IQ")
    unknown = demod(text, "--frequency", "162.5M", "-o", out)
    assert (unknown.returncode, b"is not a SigMF recording: raw IQ needs --format" in unknown.stderr) == (2, True)
    blocked = demod(raw, *RAW, "-o", tmp_path / "nowhere" / "out.wav")
    assert blocked.returncode == 1
    assert blocked.stderr.decode() == f"herald demod: {tmp_path}/nowhere/out.wav: No such file or directory\n"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, str(raw), *RAW, "-o", "-"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"herald demod: standard output: No space left on device\n")


def test_an_empty_recording_is_told_as_such() -> None:
    done = demod("-", "--format", "cu8", "--rate", "250k", "-o", "-", stdin=b"\x80")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"nothing was measured: the recording is too short\n"
