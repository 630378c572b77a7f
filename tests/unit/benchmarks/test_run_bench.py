from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from benchmarks import __main__ as bench
from benchmarks.report import Figure


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A benchmark with an option of its own."""
    made = ModuleType("benchmarks.made_up")
    made.__doc__ = "Measures nothing."

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--twice", action="store_true")

    def run(options: argparse.Namespace) -> Iterator[Figure]:
        yield Figure("nothing", 2.0 if options.twice else 1.0, None, None, "-", True)

    for name, value in {"CAVEATS": ("none",), "add_options": add_options, "run": run}.items():
        setattr(made, name, value)
    monkeypatch.setattr(bench, "names", lambda: ["made-up"])
    monkeypatch.setattr(bench, "load", lambda name: made)
    return made


def run_bench(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    return bench.main()


def test_same_and_decode_speed_are_benchmarks_and_their_parts_are_not() -> None:
    assert {"same", "decode-speed"} <= set(bench.names())
    assert not {"decoding", "campaigns", "peers"} & set(bench.names())


@pytest.mark.parametrize(("options", "expected"), [((), 1.0), (("--twice",), 2.0)])
def test_a_benchmark_gets_its_own_options(
    module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    expected: float,
) -> None:
    assert run_bench(monkeypatch, "made-up", "--json", *options) == 0
    assert json.loads(capsys.readouterr().out)["ours"] == expected


def test_an_option_that_nobody_knows_is_an_error(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_bench(monkeypatch, "made-up", "--thrice")
    assert ended.value.code == 2
    assert "--thrice" in capsys.readouterr().err


def test_help_of_a_benchmark_shows_its_options(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_bench(monkeypatch, "made-up", "--help")
    assert ended.value.code == 0
    assert "--twice" in capsys.readouterr().out
    assert run_bench(monkeypatch, "--help") == 0


def test_without_a_name_benchmarks_are_listed(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_bench(monkeypatch) == 0
    assert "Measures nothing." in capsys.readouterr().out
