"""The demo's receiver of streams where there is no Icecast: ``python -m services.tiny_icecast_service``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from app_core.base.errors import ConfigError
from app_core.base.telemetry import configure_logging
from app_core.synth.tiny_icecast import TinyIcecast
from services.runner import EXIT_OK, exit_code_of, stop_on_signals

log = logging.getLogger(__name__)


def run(port: int, password_file: Path) -> int:
    """Serve until a signal comes."""
    configure_logging("INFO")
    stopping = stop_on_signals()
    try:
        password = password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{password_file} cannot be read: {error.strerror}") from error
    TinyIcecast(password, port=port).serve(stopping, lambda chosen: log.info("http://127.0.0.1:%d/", chosen))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="A tiny receiver of streams, on loopback.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--password-file", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: run(arguments.port, arguments.password_file))


if __name__ == "__main__":
    sys.exit(main())
