"""Links in the documentation lead somewhere, and what it names exists."""

from __future__ import annotations

import re
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
