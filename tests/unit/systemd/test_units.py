"""The units are such as systemd takes, such as the programs understand, and give no right that is not needed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from app_core.base.child import Child
from services.audio_service import DECODE_STOP_TIMEOUT_S, STREAM_STOP_TIMEOUT_S
from services.cli import COMMANDS
from services.runner import EXIT_CONFIG
from services.settings import ProgramSettings
from tests.support.programs import require_program

ROOT = Path(__file__).resolve().parents[3]
SYSTEMD = ROOT / "systemd"
SERVICES = ("sdr", "audio")
DROP_INS = sorted((SYSTEMD / "drop-ins").glob("*.conf"))

MOST_EXPOSED = 20
"""Most that ``systemd-analyze security`` may give a unit, of 100."""


def _unit(service: str) -> Path:
    return SYSTEMD / f"herald-{service}.service"


def _values(path: Path, name: str) -> list[str]:
    """Give all values of a setting of a unit, in their order."""
    return re.findall(rf"^{name}=(.*)$", path.read_text(encoding="utf-8"), re.M)


def _value(service: str, name: str) -> str:
    (value,) = _values(_unit(service), name)
    return value


def _environment(service: str) -> dict[str, str]:
    return dict(setting.split("=", 1) for setting in _values(_unit(service), "Environment"))


def _run(folder: Path, *argv: str) -> tuple[int | None, str]:
    """Run a program, and give its exit code and all that it says."""
    path = folder / "said.txt"
    with path.open("wb") as said:
        child = Child(argv[0], list(argv), stdout=said, stderr=said)
        child.start()
        code = child.wait(60.0)
    return code, path.read_text(encoding="utf-8")


def _drop_ins_of(service: str) -> list[Path]:
    return [path for path in DROP_INS if path.name.startswith((f"herald-{service}-", "herald-other-"))]


def _put_together(folder: Path, service: str, drop_ins: list[Path]) -> Path:
    """Write a unit that can be checked where its program is not installed, with drop-ins."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", _unit(service).read_text(encoding="utf-8"), flags=re.M)
    unit = folder / _unit(service).name
    unit.write_text(text, encoding="utf-8")
    if drop_ins:
        (folder / f"{unit.name}.d").mkdir()
        for drop_in in drop_ins:
            (folder / f"{unit.name}.d" / drop_in.name).write_bytes(drop_in.read_bytes())
    return unit


@pytest.mark.parametrize("service", SERVICES)
def test_no_unit_is_exposed(service: str, tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze")
    gate = ("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager")
    code, said = _run(tmp_path, analyze, *gate, str(_unit(service)))
    assert code == 0, said


@pytest.mark.parametrize("with_drop_ins", [False, True])
@pytest.mark.parametrize("service", SERVICES)
def test_systemd_has_nothing_to_say_against_a_unit(service: str, with_drop_ins: bool, tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze")
    drop_ins = _drop_ins_of(service) if with_drop_ins else []
    assert drop_ins or not with_drop_ins
    unit = _put_together(tmp_path, service, drop_ins)
    # It ends with 0 for a name that it does not know, and only says so.
    assert _run(tmp_path, analyze, "verify", "--man=no", str(unit)) == (0, "")


def test_systemd_has_nothing_to_say_against_the_target(tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze")
    for service in SERVICES:
        _put_together(tmp_path, service, [])
    target = tmp_path / "herald.target"
    target.write_bytes((SYSTEMD / target.name).read_bytes())
    assert _run(tmp_path, analyze, "verify", "--man=no", str(target)) == (0, "")
    assert _values(target, "Wants") == [" ".join(_unit(service).name for service in SERVICES)]
    for service in SERVICES:
        assert _value(service, "PartOf") == _value(service, "WantedBy") == target.name


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_starts_a_command_that_the_program_has(service: str, tmp_path: Path) -> None:
    program, command, option, station = _value(service, "ExecStart").split()
    assert program == "/opt/herald/venv/bin/herald"
    assert station == "/etc/herald/station.toml"
    assert COMMANDS[command][0] == f"services.{service}_service"
    code, said = _run(tmp_path, sys.executable, "-m", COMMANDS[command][0], "--help")
    assert code == 0
    assert f"{option} STATION.TOML" in said


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_sets_only_what_the_programs_read(service: str) -> None:
    environment = _environment(service)
    known = {name.upper() for name in ProgramSettings.model_fields}
    assert set(environment) - known == {"NUMBA_CACHE_DIR"}
    assert environment["REDIS_USERNAME"] == service
    # What is named is what systemd makes, and nobody else's.
    assert environment["HERALD_DATA_DIR"] == f"%S/{_value(service, 'StateDirectory')}"
    assert environment["NUMBA_CACHE_DIR"] == f"%C/{_value(service, 'CacheDirectory')}"
    name, source = _value(service, "LoadCredential").split(":")
    assert environment["REDIS_PASSWORD_FILE"] == f"%d/{name}"
    assert source == f"/etc/herald/secrets/redis-{service}"
    own = {_value(service, name) for name in ("User", "Group", "StateDirectory", "CacheDirectory")}
    assert own == {f"herald-{service}"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_comes_back_for_ever_unless_a_person_must_mend_its_settings(service: str) -> None:
    assert _value(service, "Type") == "notify"
    assert _value(service, "Restart") == "always"
    assert _value(service, "StartLimitIntervalSec") == "0"
    assert _value(service, "RestartPreventExitStatus") == str(EXIT_CONFIG)
    assert float(_value(service, "WatchdogSec")) > 0


def test_the_audio_service_has_the_time_to_stop_its_jobs() -> None:
    assert float(_value("audio", "TimeoutStopSec")) > DECODE_STOP_TIMEOUT_S + STREAM_STOP_TIMEOUT_S
    assert _value("audio", "KillMode") == "mixed"


def test_usb_is_for_the_sdr_service_alone() -> None:
    assert _values(_unit("sdr"), "DeviceAllow") == ["char-usb_device rw"]
    assert _values(_unit("audio"), "DeviceAllow") == []
    assert _value("audio", "PrivateDevices") == "yes"


def test_every_drop_in_belongs_to_a_unit() -> None:
    assert {path for service in SERVICES for path in _drop_ins_of(service)} == set(DROP_INS)


def test_dongles_go_to_a_group_in_which_the_sdr_service_is() -> None:
    rules = (SYSTEMD / "host" / "60-herald-dongles.rules").read_text(encoding="utf-8")
    users = (SYSTEMD / "host" / "herald-sysusers.conf").read_text(encoding="utf-8")
    group = _value("sdr", "SupplementaryGroups")
    assert set(re.findall(r'GROUP="(\w+)"', rules)) == {group}
    assert re.search(rf"^m\s+herald-sdr\s+{group}$", users, re.M)
    for line in rules.splitlines():
        assert not line.startswith("ATTR") or re.fullmatch(
            r'ATTR\{idVendor\}=="[0-9a-f]{4}", ATTR\{idProduct\}=="[0-9a-f]{4}", MODE="0660", GROUP="\w+"', line
        )
    assert 'ATTR{idVendor}=="0bda", ATTR{idProduct}=="2838"' in rules
    blacklist = (SYSTEMD / "host" / "herald-blacklist.conf").read_text(encoding="utf-8")
    assert "blacklist dvb_usb_rtl28xxu\n" in blacklist
