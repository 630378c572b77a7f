"""Links in the documentation lead somewhere, and what it names exists."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_PATH = re.compile(r"`((?:app_core|services|tests|benchmarks|docs)/[\w./-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_path_of_a_page_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [
        page.parent / link.partition("#")[0] for link in LINK.findall(text) if "://" not in link and link[0] != "#"
    ]
    targets += [ROOT / path for path in CODE_PATH.findall(text)]
    assert [str(target) for target in targets if not target.exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file():
                waiting.append(target)
            elif target.is_dir():
                waiting.extend(target.glob("*.md"))
    assert sorted(str(page.relative_to(ROOT)) for page in set(PAGES) - reached) == []


def test_every_dependency_is_justified() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "explanation" / "dependencies.md").read_text(encoding="utf-8")
    needed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[<>=;\[ ]", requirement)[0] for requirement in needed}
    assert "numpy" in names
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", page)} == set()


def test_what_a_command_takes_from_the_environment_is_set_on_its_page() -> None:
    text = (ROOT / "docs" / "audio" / "AUDIO_MONITORING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh runnable\n(.*?)```", text, re.DOTALL)
    taken = {name for block in blocks for name in re.findall(r"\$\{?([A-Z_]+)", block)}
    assert "WEB_AUDIO" in taken
    assert taken - set(re.findall(r"^export ([A-Z_]+)=", text, re.MULTILINE)) == set()


def test_the_password_file_of_the_how_to_is_made_as_it_is_typed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "how-to" / "stream-to-icecast.md").read_text(encoding="utf-8")
    block = next(block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "install -" in block)
    lines = [line.strip().removeprefix("sudo ") for line in block.splitlines() if "apt-get" not in line]
    script = "\n".join(lines).replace("/etc/", f"{tmp_path}/")
    script = script.replace('"$USER"', str(os.geteuid())).replace("openssl rand -hex 16", "echo word")
    subprocess.run(["/bin/sh", "-ec", script], check=True)
    password_file = tmp_path / "herald" / "icecast-password"
    assert password_file.read_text(encoding="utf-8") == "word\n"
    assert password_file.stat().st_mode & 0o777 == 0o600
    assert text.index("herald config check") < text.index("Restart the audio service")
