"""``python -m benchmarks`` lists the benchmarks; ``python -m benchmarks NAME [--json] [...]`` runs one.

A benchmark is a module of this package, named as on the command line with underscores for dashes. It has a docstring
whose first line says what it measures, ``CAVEATS`` (a tuple of lines), and ``run()``, which yields `Figure`s. Where it
has ``add_options(parser)``, ``run(options)`` gets what was parsed.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType

import benchmarks
from benchmarks.report import Figure, as_json, as_text, machine

_NOT_BENCHMARKS = {"__main__", "campaigns", "decoding", "peers", "processes", "report"}


def names() -> list[str]:
    """Give the names of all benchmarks."""
    modules = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(name.replace("_", "-") for name in modules if name not in _NOT_BENCHMARKS)


def load(name: str) -> ModuleType:
    """Import one benchmark."""
    return importlib.import_module(f"benchmarks.{name.replace('-', '_')}")


def main() -> int:
    """Entry point: exit code 0 also when a target is not met, since a figure is a fact and not a test."""
    parser = argparse.ArgumentParser(
        prog="run bench", description="Benchmarks, each against a peer in the same run.", add_help=False
    )
    parser.add_argument(
        "-h", "--help", action="store_true", help="show this, or what the benchmark named knows besides"
    )
    parser.add_argument(
        "name", nargs="?", choices=names(), metavar="NAME", help="which one; without it they are listed"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments, rest = parser.parse_known_args()
    if arguments.name is None and arguments.help:
        parser.print_help()
        return 0
    if arguments.name is None:
        parser.parse_args()
        for name in names():
            print(f"{name:<16} {(load(name).__doc__ or '').splitlines()[0]}")
        return 0
    module = load(arguments.name)
    add_options = getattr(module, "add_options", None)
    own = argparse.ArgumentParser(prog=f"run bench {arguments.name}", description=module.__doc__)
    if add_options is not None:
        add_options(own)
    options = own.parse_args([*rest, *(["--help"] if arguments.help else [])])
    figures: Iterable[Figure] = module.run() if add_options is None else module.run(options)
    for figure in figures:
        print(as_json(figure) if arguments.json else as_text(figure), flush=True)
    if not arguments.json:
        print(f"machine: {machine()}")
        for caveat in module.CAVEATS:
            print(f"caveat:  {caveat}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
