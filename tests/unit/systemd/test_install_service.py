"""``./run install-service``: what it writes, what it leaves alone, and where it refuses."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest
from dotenv import dotenv_values

from app_core.base.child import Child
from services.settings import ProgramSettings, read_station

ROOT = Path(__file__).resolve().parents[3]
RUN = ROOT / "run"


def _install(folder: Path, *arguments: str) -> tuple[int | None, str]:
    said = folder / "said.txt"
    with said.open("wb") as output:
        child = Child("run", [str(RUN), "install-service", *arguments], stdout=output, stderr=output)
        child.start()
        code = child.wait(60.0)
    return code, said.read_text(encoding="utf-8")


def _tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Give the mode and content of every file below a folder."""
    return {
        str(path.relative_to(root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    code, said = _install(tmp_path, "--root", str(root))
    assert code == 0, said
    return root


def test_it_puts_every_file_of_the_project_in_its_place(installed: Path) -> None:
    systemd = ROOT / "systemd"
    places = {
        **{f"etc/systemd/system/{name}": systemd / name for name in ("herald-sdr.service", "herald-audio.service")},
        "etc/systemd/system/herald.target": systemd / "herald.target",
        "etc/udev/rules.d/60-herald-dongles.rules": systemd / "host" / "60-herald-dongles.rules",
        "etc/modprobe.d/herald-blacklist.conf": systemd / "host" / "herald-blacklist.conf",
        "etc/sysusers.d/herald.conf": systemd / "host" / "herald-sysusers.conf",
    }
    for place, source in places.items():
        assert (installed / place).read_bytes() == source.read_bytes()
    drop_ins = {path.name for path in (installed / "usr/local/share/herald/drop-ins").iterdir()}
    assert drop_ins == {path.name for path in (systemd / "drop-ins").iterdir()}


def test_secrets_are_long_of_their_own_and_for_root_alone(installed: Path) -> None:
    secrets = installed / "etc/herald/secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    passwords = [path.read_text(encoding="ascii").strip() for path in sorted(secrets.iterdir())]
    assert [len(password) for password in passwords] == [64, 64, 64]
    assert len(set(passwords)) == 3
    assert {mode for path, (mode, _) in _tree(installed).items() if "/secrets/" in path} == {0o600}
    users = (installed / "etc/redis/herald.acl").read_text(encoding="ascii")
    assert "@" not in users.replace("+@", "").replace("-@", "")
    assert not any(password in users for password in passwords)


def test_its_settings_are_such_as_the_programs_read(installed: Path) -> None:
    station = read_station(installed / "etc/herald/station.toml")
    assert [receiver["preset"] for receiver in station["receivers"]] == ["nwr"]
    operator = dotenv_values(installed / "etc/herald/operator.env")
    assert {name.lower() for name in operator} <= set(ProgramSettings.model_fields)
    redis_conf = (installed / "etc/redis/redis-herald.conf").read_text(encoding="utf-8")
    socket = f"unixsocket {str(operator['REDIS_URL']).removeprefix('unix://')}\n"
    assert socket in redis_conf
    for service in ("sdr", "audio"):
        unit = (installed / f"etc/systemd/system/herald-{service}.service").read_text(encoding="utf-8")
        assert f"Environment=REDIS_URL={operator['REDIS_URL']}\n" in unit


def test_a_second_time_changes_nothing_that_a_person_wrote(installed: Path, tmp_path: Path) -> None:
    (installed / "etc/herald/station.toml").write_text('[station]\nname = "mine"\n', encoding="utf-8")
    before = _tree(installed)
    (installed / "etc/systemd/system/herald-sdr.service").write_text("old", encoding="utf-8")
    code, said = _install(tmp_path, "--root", str(installed))
    assert code == 0, said
    assert _tree(installed) == before
    assert tomllib.loads((installed / "etc/herald/station.toml").read_text())["station"]["name"] == "mine"


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    code, said = _install(tmp_path, "--dry-run", "--root", str(root))
    assert code == 0, said
    assert list(root.iterdir()) == []
    assert f"{root}/etc/systemd/system/herald-sdr.service" in said
    code, said = _install(tmp_path, "--dry-run")
    assert code == 0, said
    for words in ("systemd-sysusers", "systemctl enable", "udevadm control --reload", "/opt/herald/venv"):
        assert words in said


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="this machine was started by systemd")
def test_it_refuses_a_machine_without_systemd(tmp_path: Path) -> None:
    code, said = _install(tmp_path)
    assert code == 1
    assert "not started by systemd" in said
    assert "docs/how-to/run-a-station.md" in said


def test_it_refuses_an_option_that_it_does_not_know(tmp_path: Path) -> None:
    code, said = _install(tmp_path, "--dry-runs")
    assert code == 2
    assert "usage" in said
