"""Pages of the documentation whose commands are tried: a block fenced ``sh runnable`` and the answer behind it.

A block fenced ``sh runnable`` is followed by one fenced ``json answer`` or ``text answer``. A JSON answer must have
every field of the example, of the same kind; each line of a text answer must be in the output, where ``…`` stands for
anything and ``|`` parts alternatives.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_core.base.child import Child
from tests.support.live_station import LiveStation
from tests.support.programs import eventually, require_program

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sh runnable\n(?P<commands>.*?)^```\n\n```(?P<kind>json|text) answer\n(?P<answer>.*?)^```$", re.M | re.S)  # fmt: skip  # noqa: E501


def examples_of(page: Path) -> list[dict[str, str]]:
    """Give the runnable blocks of a page: ``commands``, ``kind`` and ``answer`` of each."""
    return [match.groupdict() for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def put_programs_at_hand(station: LiveStation) -> None:
    """Make ``redis-cli``, ``python`` and ``herald`` mean this station's in the commands of a page."""
    programs = {
        "redis-cli": f"{require_program('redis-cli')} -p {station.redis.port}",
        "python": sys.executable,
        "herald": f"{sys.executable} -m services.cli",
    }
    for name, call in programs.items():
        script = station.folder / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
        script.chmod(0o755)


def run_block(station: LiveStation, commands: str, timeout_s: float = 30.0) -> str:
    """Run a block in a shell, as a person does who is on the station's machine, and give all that it prints."""
    path = station.folder / "answer.txt"
    environment = {
        **station.environment,
        "PATH": f"{station.folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    with path.open("wb") as output:
        shell = Child("shell", ["sh", "-c", commands], environment=environment, stdout=output, stderr=output)
        shell.start()
        assert shell.wait(timeout_s) is not None, f"{commands} does not end"
    return path.read_text(encoding="utf-8", errors="replace")


def differences(kind: str, example: str, output: str) -> list[str]:
    """Name what an output lacks of the example on the page."""
    if kind == "json":
        try:
            return _lacks(orjson.loads(example), orjson.loads(output))
        except orjson.JSONDecodeError:
            return [f"not JSON: {output[:200]}"]
    patterns = {
        line: "|".join(".*?".join(map(re.escape, choice.split("…"))) for choice in line.split("|"))
        for line in example.splitlines()
    }
    return [line for line, pattern in patterns.items() if not re.search(pattern, output)]


def expect_answer(station: LiveStation, example: Mapping[str, str]) -> None:
    """Run a block until it answers what the page says: a command before it may have stirred the station."""
    seen: list[object] = []

    def agrees() -> bool:
        output = run_block(station, example["commands"])
        seen[:] = [differences(example["kind"], example["answer"], output), output[-2000:]]
        return not seen[0]

    try:
        eventually(agrees, "that answer")
    except AssertionError:
        pytest.fail(f"{example['commands']} lacks {seen}")


def expect_symptoms(page: Path, symptoms: tuple[str, ...]) -> None:
    """Check that every symptom has a heading of its own with a command below it."""
    text = page.read_text(encoding="utf-8")
    assert len(examples_of(page)) == text.count("```sh runnable\n")
    for symptom in symptoms:
        headings = re.findall(rf"^### .*{symptom}.*$", text, re.M)
        assert len(headings) == 1, symptom
        section = text.partition(headings[0])[2].partition("\n##")[0]
        assert BLOCK.search(section), f"{symptom} has no command that is tried"


def _lacks(example: Any, answer: Any, where: str = "answer") -> list[str]:
    """Name every field of the example that the answer does not have, or has of another kind."""
    if isinstance(example, dict) and isinstance(answer, dict):
        return [
            lack
            for name, value in example.items()
            for lack in (_lacks(value, answer[name], f"{where}.{name}") if name in answer else [f"{where}.{name}"])
        ]
    if isinstance(example, bool) or isinstance(answer, bool):
        return [] if example is answer else [f"{where} is {answer}"]
    if isinstance(example, int | float) and isinstance(answer, int | float):
        return []
    return [] if type(example) is type(answer) else [f"{where} is {answer!r}"]
