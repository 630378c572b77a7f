"""Every runnable command of the architecture document answers, on a real station, what the page says.

A block fenced ``sh runnable`` is followed by one fenced ``json answer`` or ``text answer``. A JSON answer must have
every field of the example, of the same kind; each line of a text answer must be in the output, where ``…`` stands for
anything and ``|`` parts alternatives.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_core.base.child import Child
from tests.support.live_station import LiveStation, live_station
from tests.support.programs import eventually, require_program
from tests.support.soapy_module import IqFileDevices

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture" / "SDR_SERVICE_ARCHITECTURE.md"
BLOCK = re.compile(r"^```sh runnable\n(?P<commands>.*?)^```\n\n```(?P<kind>json|text) answer\n(?P<answer>.*?)^```$", re.M | re.S)  # fmt: skip  # noqa: E501
EXAMPLES = [match.groupdict() for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]

SYMPTOMS_OF_THE_SEED = (
    "SDR service not starting",
    "Ring buffer overflow",
    "No spectrum data",
    "Heartbeat",
    "Ring buffer statistics",
)


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStation]:
    with live_station(tmp_path_factory.mktemp("station"), with_audio=True) as running:
        programs = {
            "redis-cli": f"{require_program('redis-cli')} -p {running.redis.port}",
            "python": sys.executable,
            "herald": f"{sys.executable} -m services.cli",
        }
        for name, call in programs.items():
            script = running.folder / "bin" / name
            script.parent.mkdir(exist_ok=True)
            script.write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
            script.chmod(0o755)
        # A dongle for SoapySDR to find, beside the station's own antenna.
        devices = IqFileDevices(running.folder)
        devices.plug_in("00000001", model="rtl")
        running.environment.update(devices.environment())
        yield running


def _run(station: LiveStation, commands: str) -> str:
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
        assert shell.wait(30.0) is not None, f"{commands} does not end"
    return path.read_text(encoding="utf-8", errors="replace")


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


def _differences(kind: str, example: str, output: str) -> list[str]:
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


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["commands"].splitlines()[0][:60])
def test_a_command_of_the_page_answers_what_the_page_says(station: LiveStation, example: dict[str, str]) -> None:
    seen: list[object] = []

    def agrees() -> bool:
        # A command before this one may have restarted the receiver: what the page shows is a station at rest.
        output = _run(station, example["commands"])
        seen[:] = [_differences(example["kind"], example["answer"], output), output[-2000:]]
        return not seen[0]

    try:
        eventually(agrees, "that answer")
    except AssertionError:
        pytest.fail(f"{example['commands']} lacks {seen}")


def test_the_page_shows_every_symptom_of_the_seed_with_a_command_that_is_tried() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(EXAMPLES) == text.count("```sh runnable\n") >= 12
    for symptom in SYMPTOMS_OF_THE_SEED:
        headings = re.findall(rf"^### .*{symptom}.*$", text, re.M)
        assert len(headings) == 1, symptom
        section = text.partition(headings[0])[2].partition("\n##")[0]
        assert BLOCK.search(section), f"{symptom} has no command that is tried"


@pytest.mark.parametrize(
    ("kind", "example", "output", "agrees"),
    [
        ("json", '{"a": {"b": 1.5}}', '{"a": {"b": 2}, "c": 3}', True),
        ("json", '{"a": {"b": 1.5}}', '{"a": {}}', False),
        ("json", '{"a": true}', '{"a": false}', False),
        ("json", '{"a": 1}', '{"a": "1"}', False),
        ("json", "{}", "(nil)", False),
        ("text", "10|9\n", "9\n", True),
        ("text", "PONG", "", False),
        ("text", "LOCKED …noaa", "  LOCKED     noaa-1", True),
        ("text", '"locked":true', '"locked":false', False),
    ],
)
def test_the_comparison_tells_right_from_wrong(kind: str, example: str, output: str, agrees: bool) -> None:
    assert (_differences(kind, example, output) == []) is agrees
