from __future__ import annotations

import importlib.util
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.programs import missing
from tests.unit.audio.recordings import IQ_CENTER_HZ, RATE_HZ, TEST, TORNADO, broadcast, spoken

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "UTC"}
COMMAND = [sys.executable, "-m", "services.cli", "decode"]
CORPUS = os.environ.get("HERALD_CORPUS")


def decode(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, path: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    environment = ENVIRONMENT if path is None else {**ENVIRONMENT, "PATH": path, "PYTHONPATH": f"{path}:{ROOT}"}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        # Ctrl-C is meant for the command alone.
        start_new_session=True,
    )


def s16(pcm: NDArray[np.float32]) -> bytes:
    return np.round(pcm * 32767).astype("<i2").tobytes()


@pytest.fixture(name="wav")
def make_wav(tmp_path: Path) -> Path:
    path = tmp_path / "test.wav"
    soundfile.write(path, spoken(), RATE_HZ)
    return path


def test_raw_prints_the_file_the_header_and_the_end(wav: Path) -> None:
    done = decode("--raw", wav)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"== {wav}\n{TEST}\nNNNN\n"


@pytest.mark.skipif(CORPUS is None, reason="HERALD_CORPUS does not name the recordings")
def test_the_corpus_is_decoded_exactly() -> None:
    folder = Path(CORPUS or "")
    manifest = json.loads((folder / "manifest.json").read_text())
    done = decode("--raw", *(folder / entry["file"] for entry in manifest))
    assert (done.returncode, done.stderr) == (0, b"")
    heard: dict[str, list[str]] = {}
    for line in done.stdout.decode().splitlines():
        if line.startswith("== "):
            heard[Path(line[3:]).name] = []
        else:
            heard[list(heard)[-1]].append(line)
    headers = {name: [line for line in lines if line != "NNNN"] for name, lines in heard.items()}
    assert headers == {entry["file"]: entry["expected"] for entry in manifest}
    assert heard["sameold_two_and_two.wav"][0] == "NNNN"
    assert heard["dsame_WXR-RWT.wav"][-1] == "NNNN"


def test_people_get_words_place_header_and_quality(wav: Path) -> None:
    os.utime(wav, (1_777_809_900, 1_777_809_900))  # 2026-05-03 12:05 UTC, five minutes after the issue
    done = decode(wav)
    lines = done.stdout.decode().splitlines()
    assert lines[0] == str(wav)
    assert lines[1].split(maxsplit=1) == [
        "0:00.5",
        "Required Weekly Test for Jackson, Missouri until 12:30 UTC. "
        "Issued by the National Weather Service (KEAX/NWS).",
    ]
    assert lines[2].strip() == TEST
    assert "burst" in lines[3]
    assert lines[3].endswith("dB")
    assert lines[4].endswith("end of message")
    assert len(lines) == 5


def test_every_burst_is_told_on_request(wav: Path) -> None:
    lines = decode("--bursts", wav).stdout.decode().splitlines()
    places = [line.strip().split(" ", maxsplit=1)[1].strip() for line in lines if "burst, " in line and "clock" in line]
    assert [place.split()[0] for place in places] == ["header"] * 3 + ["end"] * 3
    assert places[0].endswith("0.500 to 1.391 s")
    entries = [json.loads(line) for line in decode("--bursts", "--json", wav).stdout.splitlines()]
    assert [entry["event"] for entry in entries if entry["event"] != "burst"] == ["header", "end_of_message"]
    assert sum(entry["event"] == "burst" for entry in entries) == 6


def test_a_spanish_text_is_given_on_request(wav: Path) -> None:
    assert "Prueba Semanal Requerida para Jackson, Misuri " in decode("--language", "es", wav).stdout.decode()


def test_a_picture_is_drawn_beside_what_is_printed(wav: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        missing("matplotlib")
    done = decode("--plot", tmp_path / "why.png", wav)
    assert (done.returncode, done.stderr) == (0, b"")
    assert TEST in done.stdout.decode()
    assert (tmp_path / "why.png").read_bytes()[:4] == b"\x89PNG"


def test_missing_matplotlib_is_named_with_the_line_to_type_before_anything_is_decoded(
    wav: Path, tmp_path: Path
) -> None:
    # A finder in front of all others that knows no matplotlib.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'matplotlib' else found(name, *a)\n"
    )
    done = decode("--plot", tmp_path / "why.png", wav, path=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert b"pip install 'herald-sdr[plot]'" in done.stderr
    assert done.stdout == b""


def test_what_encode_writes_is_what_decode_reads() -> None:
    encoded = subprocess.run(
        [*COMMAND[:-1], "encode", TEST, "-o", "-", "--rate", str(RATE_HZ)],
        capture_output=True,
        env=ENVIRONMENT,
        timeout=60,
        check=True,
    )
    assert b"47 CFR 11.45" in encoded.stderr
    done = decode("-", "--rate", str(RATE_HZ), "--json", stdin=encoded.stdout)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["event"] for entry in entries] == ["header", "attention", "end_of_message"]
    assert entries[0]["header"] == TEST
    assert entries[1]["frequencies_hz"] == [pytest.approx(1050.0, abs=0.1)]


def test_silence_says_that_nothing_was_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000, np.float32), 8_000)
    done = decode(tmp_path / "a.wav")
    assert done.stdout.decode().splitlines()[1].strip() == "no SAME header in 0:02.0"


def test_json_is_one_object_a_line(wav: Path) -> None:
    done = decode("--json", wav)
    header, end = (json.loads(line) for line in done.stdout.splitlines())
    assert (header["event"], header["header"], header["file"]) == ("header", TEST, str(wav))
    assert (end["event"], end["channel"]) == ("end_of_message", "mono")
    assert header["start_s"] == pytest.approx(0.5, abs=0.01)


def test_a_header_that_is_uncertain_is_shown_to_people_and_never_raw(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    pcm = spoken()
    burst = slice(round(0.5 * RATE_HZ), round(1.3 * RATE_HZ))
    only = np.zeros_like(pcm)
    only[burst] = pcm[burst]
    # The end of the burst drowns in noise: it was heard, and nobody can say what it said.
    drowned = slice(round(1.0 * RATE_HZ), round(1.3 * RATE_HZ))
    only[drowned] = (0.4 * rng.standard_normal(drowned.stop - drowned.start)).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([only, np.zeros(10 * RATE_HZ, np.float32)]), RATE_HZ)
    assert b"heard, unverified" in decode(path).stdout
    assert json.loads(decode("--json", path).stdout)["event"] == "unverified"
    assert decode("--raw", path).stdout.decode() == f"== {path}\n"


def test_what_cannot_be_read_is_told_and_the_rest_goes_on(tmp_path: Path, wav: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no audio\n" * 50)
    done = decode("--raw", "empty.wav", "text.wav", ".", "missing.wav", "/dev/zero", wav, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.decode() == f"== {wav}\n{TEST}\nNNNN\n"
    reasons = done.stderr.decode().splitlines()
    assert [reason.split(": ")[1] for reason in reasons] == ["empty.wav", "text.wav", ".", "missing.wav", "/dev/zero"]
    assert reasons[3] == "herald decode: missing.wav: No such file or directory"


def test_missing_ffmpeg_is_named_with_the_line_to_type(tmp_path: Path) -> None:
    (tmp_path / "imageio_ffmpeg.py").write_text("raise ImportError\n")
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    done = decode("a.m4a", cwd=tmp_path, path=str(tmp_path))
    assert done.returncode == 2
    assert b"apt-get install ffmpeg" in done.stderr


def test_a_name_with_a_dash_and_one_that_is_no_text(tmp_path: Path, wav: Path) -> None:
    wav.rename(tmp_path / "-a.wav")
    odd = os.fsdecode(b"b\xff\n.wav")
    (tmp_path / odd).write_bytes((tmp_path / "-a.wav").read_bytes())
    done = decode("--raw", "--", "-a.wav", odd, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == ["== -a.wav", TEST, "NNNN", "== b\ufffd\ufffd.wav", TEST, "NNNN"]
    assert decode("--json", odd, cwd=tmp_path).returncode == 0


def test_a_live_pipe_prints_a_header_as_soon_as_it_is_decided() -> None:
    command = start("-", "--rate", str(RATE_HZ), "--raw")
    assert command.stdin is not None
    assert command.stdout is not None
    # Two whole bursts: enough for a strong header, before the third and the end of the message.
    audio = s16(np.concatenate([spoken()[: 7 * RATE_HZ // 2], np.zeros(RATE_HZ, np.float32)]))
    for at in range(0, len(audio), 999):
        command.stdin.write(audio[at : at + 999])
    command.stdin.flush()
    # Standard input is still open: these lines come without its end.
    assert command.stdout.readline() == b"== -\n"
    assert command.stdout.readline().decode() == TEST + "\n"
    rest, errors = command.communicate(timeout=30)
    assert (command.returncode, rest, errors) == (0, b"", b"")


def test_ctrl_c_ends_without_a_word() -> None:
    command = start("-", "--rate", str(RATE_HZ), "--raw")
    assert command.stdout is not None
    assert command.stdout.readline() == b"== -\n"
    command.send_signal(signal.SIGINT)
    assert command.stderr is not None
    assert command.stderr.read() == b""
    command.communicate(timeout=30)
    assert command.returncode == 130


def test_a_reader_that_goes_away_ends_it_without_a_word() -> None:
    command = start("-", "--rate", str(RATE_HZ), "--raw")
    assert command.stdout is not None
    assert command.stdout.readline() == b"== -\n"
    command.stdout.close()
    command.stdout = None
    _, errors = command.communicate(s16(spoken()), timeout=30)
    assert (command.returncode, errors) == (141, b"")


def test_iq_from_a_pipe_and_from_a_file_say_the_same(tmp_path: Path) -> None:
    iq = broadcast((TEST, 162_475_000.0), (TORNADO, 162_500_000.0))
    path = tmp_path / "iq.cf32"
    iq.tofile(path)
    options = ("--raw", "--iq-format", "cf32", "--sample-rate", "100k", "--center-frequency", f"{IQ_CENTER_HZ:.0f}")
    of_file, of_pipe = decode(*options, path), decode(*options, "-", stdin=iq.tobytes())
    assert of_file.stdout.decode().splitlines() == [f"== {path}", TEST, TORNADO, "NNNN", "NNNN"]
    assert of_pipe.stdout.splitlines()[1:] == of_file.stdout.splitlines()[1:]
    outside = decode(*options, "--channel", "100M", path)
    assert outside.returncode == 2
    assert b"outside the recorded band of 162.4375 to 162.5375 MHz" in outside.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-"], b"--rate"),
        (["-", "-", "--rate", "22050"], b"only once"),
        (["a.cu8", "--iq-format", "cu8"], b"--sample-rate"),
        (["a.wav", "--rate", "22050"], b"standard input"),
        (["a.wav", "--raw", "--json"], b"not allowed"),
        (["a.wav", "--raw", "--bursts"], b"--bursts goes with the plain form"),
        (["a.wav", "b.wav", "--plot", "a.png"], b"--plot draws one FILE"),
        (["-", "--rate", "22050", "--plot", "a.png"], b"--plot draws one FILE"),
        (["a.sigmf-meta", "--plot", "a.png"], b"herald demod FILE"),
        (["a.wav", "--language", "fr"], b"--language"),
        (["-", "--rate", "-5"], b"hertz"),
        ([], b"FILE"),
    ],
)
def test_a_command_line_without_sense_says_what_is_missing(arguments: list[str], reason: bytes) -> None:
    done = decode(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stdout == b""


def test_a_terminal_is_not_waited_for() -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*COMMAND, "-", "--rate", "22050"], stdin=theirs, capture_output=True, env=ENVIRONMENT, timeout=60, check=False
    )
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert b"is a terminal" in done.stderr


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks_kb = []
    for n_seconds in (20, 1200):
        path = tmp_path / f"{n_seconds}.wav"
        soundfile.write(path, np.zeros(n_seconds * 8_000, np.int16), 8_000)
        child = subprocess.Popen([*COMMAND, "--raw", str(path)], stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        peaks_kb.append(usage.ru_maxrss)
    # As float32 the longer file takes 38 MB.
    assert peaks_kb[1] < peaks_kb[0] + 15_000


def test_nothing_is_imported_that_a_short_file_does_not_need(wav: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], "--raw", str(wav)],
        capture_output=True,
        env=ENVIRONMENT,
        timeout=60,
        check=True,
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.decode().splitlines()}
    assert "app_core.eas.decoder" in imported
    assert imported.isdisjoint({"pydantic", "rich", "redis", "sqlalchemy", "scipy.signal", "scipy.fft", "sigmf"})


def test_a_full_output_is_not_the_recordings_fault(wav: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "--raw", str(wav)], stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "herald decode: standard output: No space left on device\n"


def test_a_channel_in_megahertz_is_asked_back(wav: Path) -> None:
    done = decode("--channel", "162.55", wav)
    assert done.returncode == 2
    assert "is 162.55M meant?" in done.stderr.decode()
