"""``herald doctor``: the whole of it, on machines that a test makes, beside a real Redis."""

from __future__ import annotations

import io
import re
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from app_core.base import machine_checks
from app_core.base.clock_check import ClockState, check_clock
from app_core.base.finding import Finding, Verdict, failure, not_applicable, ok, warning
from app_core.bridge import redis_checks
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.radio import soapy
from app_core.radio.receiver_checks import receiver_findings
from services import doctor_command
from services.doctor_command import as_dict, as_text, examine, main, run, summary
from services.doctor_station import DoctorStation, read_doctor_station
from services.settings import settings_variables
from tests.support.redis_server import RedisServer
from tests.support.usb_tree import UsbTree

PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/find-what-is-wrong.md"
RECEIVER = '[[receivers]]\nid = "r"\ndriver = "soapy"\nargs = "driver=rtlsdr"\n'
REPLAY = '[[receivers]]\nid = "r"\ndriver = "replay"\npath = "{path}"\n'
CHANNEL = '[[channels]]\nid = "c"\nreceiver_id = "r"\nfrequency_hz = 162550000\n'


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in settings_variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HERALD_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor_command, "check_clock", lambda: check_clock(lambda: ClockState(True, 0.02)))
    monkeypatch.setattr(doctor_command, "receiver_findings", lambda receivers: [])


def station_file(folder: Path, text: str) -> Path:
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return path


def make_machine(folder: Path) -> UsbTree:
    machine = UsbTree(folder / "machine")
    machine.write("proc/meminfo", "MemTotal: 3884360 kB\nMemAvailable: 3101452 kB\n")
    machine.write("sys/class/thermal/thermal_zone0/temp", "51234\n")
    machine.write("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n")
    machine.write("sys/module/usbcore/parameters/usbfs_memory_mb", "16\n")
    return machine


def test_nothing_configured_is_no_fault_even_without_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Redis of this machine's own may be running.
    monkeypatch.setattr(doctor_command, "redis_findings", lambda *_: [failure("redis", "away", "install it")])
    findings = {each.check: each for each in examine(read_doctor_station(None), make_machine(tmp_path).root)}
    assert findings["config"].seen.startswith("nothing configured: no station.toml")
    assert findings["redis"] == warning("redis", "away", "install it")
    assert not [each for each in findings.values() if each.verdict is Verdict.FAILURE]


def test_a_redis_that_is_away_is_a_failure_only_where_it_was_asked_for(tmp_path: Path) -> None:
    machine = make_machine(tmp_path)
    away = RedisSettings(port=free_port())
    asked = DoctorStation(ok("config", "one receiver"), redis=away)
    assert any(each.verdict is Verdict.FAILURE and each.check == "redis" for each in examine(asked, machine.root))
    unknown = DoctorStation(failure("config", "wrong", "mend"))
    assert next(each for each in examine(unknown, machine.root) if each.check == "redis").verdict is (
        Verdict.NOT_APPLICABLE
    )


@pytest.mark.parametrize(
    ("text", "verdict", "words"),
    [
        (RECEIVER + CHANNEL, Verdict.OK, "1 receiver, 1 channel, 0 sources"),
        (RECEIVER, Verdict.WARNING, "nobody listens"),
        (CHANNEL, Verdict.WARNING, "nothing is received"),
        ("", Verdict.NOT_APPLICABLE, "nothing configured: "),
        (RECEIVER + CHANNEL + "[colours]\n", Verdict.FAILURE, "unknown table [colours]"),
        (RECEIVER + CHANNEL + "[loudspeaker]\nloud = true\n", Verdict.FAILURE, "loudspeaker.loud"),
        (RECEIVER + CHANNEL + "[alerts]\nloud = true\n", Verdict.FAILURE, "alerts.loud"),
        (RECEIVER + "sample_rate_hz = 250000\n" + CHANNEL.replace("162550", "163550"), Verdict.FAILURE, "outside"),
        (RECEIVER.replace('"soapy"', '"soap"') + "[web_audio]\nport = 0.5\n", Verdict.FAILURE, "web_audio.port"),
    ],
)
def test_settings_are_judged(text: str, verdict: Verdict, words: str, tmp_path: Path) -> None:
    station = read_doctor_station(station_file(tmp_path, text))
    assert station.finding.verdict is verdict
    assert words in station.finding.seen
    if verdict is Verdict.FAILURE:
        assert station.finding.remedy.endswith(f"herald config check --config {tmp_path / 'station.toml'}")


def test_what_is_right_is_looked_at_beside_what_is_wrong(tmp_path: Path) -> None:
    text = RECEIVER + "sample_rate_hz = 1000000\n" + "[[channels]]\n[web_audio]\n"
    station = read_doctor_station(station_file(tmp_path, text))
    assert station.finding.verdict is Verdict.FAILURE
    assert [settings.id for settings in station.soapy] == ["r"]
    assert station.has_web_audio
    assert station.published_rate_hz == 1e6
    assert station.data_directory == tmp_path


def test_a_station_that_cannot_be_read_leaves_the_redis_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PORT", "7001")
    station = read_doctor_station(tmp_path / "nothing.toml")
    assert station.finding.verdict is Verdict.FAILURE
    assert station.redis == RedisSettings(port=7001)
    assert station.data_directory is None


@pytest.mark.parametrize("is_there", [True, False])
def test_the_exit_code_says_whether_anything_failed(
    redis_server: RedisServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_there: bool,
) -> None:
    machine = make_machine(tmp_path)
    path = station_file(tmp_path, REPLAY.format(path=tmp_path / "x.cu8") + CHANNEL)
    monkeypatch.setenv("REDIS_PORT", str(redis_server.port if is_there else free_port()))
    assert run(path, as_json=True, root=machine.root) == (0 if is_there else 1)
    report = orjson.loads(capsys.readouterr().out)
    assert report["healthy"] is is_there
    assert sum(report["counts"].values()) == len(report["checks"])
    (redis,) = [each for each in report["checks"] if each["check"] == "redis"]
    assert redis["verdict"] == ("ok" if is_there else "failure")
    assert (redis["remedy"] is None) is is_there


def test_the_command_takes_its_arguments(
    redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_PORT", str(redis_server.port))
    assert main(["--json", "--config", str(tmp_path / "nothing.toml")]) == 1
    assert "nothing.toml cannot be read" in orjson.loads(capsys.readouterr().out)["checks"][0]["seen"]
    # However narrow the screen, a command stays on one line.
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["--config", str(tmp_path / "nothing.toml")]) == 1
    *lines, empty, last = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[FAIL] config ")
    assert [line for line in lines if not line.startswith(("[", "       mend it: "))] == []
    assert (empty, last[:1]) == ("", "1")


def test_root_is_told_no_sudo(tmp_path: Path) -> None:
    machine = make_machine(tmp_path)
    machine.plug_in(kernel_driver="dvb_usb_rtl28xxu")
    station = DoctorStation(ok("config", "one receiver"))
    remedies = {
        is_root: [each.remedy for each in examine(station, machine.root, is_root=is_root)] for is_root in (False, True)
    }
    assert any("sudo modprobe -r" in remedy for remedy in remedies[False])
    assert not any("sudo" in remedy for remedy in remedies[True])
    assert any("modprobe -r" in remedy for remedy in remedies[True])


FINDINGS = [
    ok("config", "well"),
    warning("clock", "not set", "timedatectl set-ntp true"),
    failure("redis", "away", "x " * 120 + "end"),
    not_applicable("power", "no Pi"),
]


def test_marks_are_read_without_colour_and_commands_are_whole() -> None:
    written = io.StringIO()
    Console(file=written, width=80, highlight=False).print(as_text(FINDINGS), soft_wrap=True)
    lines = written.getvalue().splitlines()
    assert [line[:7] for line in lines if line.startswith("[")] == ["[ ok ] ", "[warn] ", "[FAIL] ", "[ -- ] "]
    assert lines[2] == "       mend it: timedatectl set-ntp true"
    assert lines[4].endswith("x end")
    assert "[" not in lines[2]
    assert lines[-1] == summary(FINDINGS) == "1 failure, 1 warning, 1 ok, 1 not applicable"


def test_machines_read_the_same() -> None:
    report = as_dict(FINDINGS)
    assert (report["healthy"], report["counts"]["failure"]) == (False, 1)
    assert report["checks"][0] == {"check": "config", "verdict": "ok", "seen": "well", "remedy": None}
    assert as_dict(FINDINGS[:2])["healthy"]


def comparable(text: str, folder: Path) -> str:
    """Give a text without what is different on every machine: numbers, the folder, FFmpeg, who may see processes."""
    text = text.replace(str(folder), "/var/lib/herald").replace(
        "; other users' processes are not seen without root", ""
    )
    for pattern, word in ((r"redis-cli -p \d+", "redis-cli"), (r"FFmpeg .*", "FFmpeg"), (r"\d+(\.\d+)*", "#")):
        text = re.sub(pattern, word, text)
    return text.rstrip()


def test_the_page_shows_what_is_printed(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> object:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(soapy.importlib, "import_module", refuse)  # type: ignore[attr-defined]
    monkeypatch.setattr(doctor_command, "receiver_findings", receiver_findings)
    # The machine that tests may be slow, and nearly full.
    monkeypatch.setattr(machine_checks, "_SLOW_FSYNC_S", float("inf"))
    monkeypatch.setattr(machine_checks, "_LOW_DISK_BYTES", 0)
    monkeypatch.setattr(redis_checks, "_SLOW_PING_S", float("inf"))
    monkeypatch.setenv("REDIS_PORT", str(redis_server.port))
    redis_server.cli("CONFIG", "SET", "save", "3600 1")
    machine = make_machine(tmp_path)
    machine.plug_in(kernel_driver="dvb_usb_rtl28xxu")
    station_file(tmp_path, f'[[receivers]]\nid = "r"\ndriver = "rtl_tcp"\nport = {free_port()}\n' + CHANNEL)
    printed = str(as_text(examine(read_doctor_station(None), machine.root)))
    (example,) = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert comparable(example, tmp_path).splitlines() == comparable(printed, tmp_path).splitlines()


def test_the_page_names_every_check(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    station = DoctorStation(Finding("config", Verdict.OK, ""), redis=RedisSettings(port=free_port()))
    for each in examine(station, make_machine(tmp_path).root):
        assert f"`{each.check}`" in page, each.check
