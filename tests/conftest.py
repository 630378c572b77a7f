"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.redis_server import RedisServer, running_redis

# The same examples at every run, and no deadline: the machine may be busy.
settings.register_profile("herald", deadline=None, derandomize=True)
settings.load_profile("herald")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A real Redis, empty; skips where there is none, and fails there when CI=true."""
    with running_redis(tmp_path) as server:
        yield server
