"""A real Redis with the project's own settings and file of users, and a person who may read what it refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app_core.base.child import Child, run_quietly
from app_core.base.errors import LinkError
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.local_redis import free_port
from tests.support.programs import eventually, require_program

ROOT = Path(__file__).resolve().parents[2]
REDIS_FILES = ROOT / "config" / "redis"
USERS = ("sdr", "audio", "operator")

ADMIN = "admin"
"""Who may do everything, for what a test must see or bring about."""


class AclRedis:
    """One server; made by `running_acl_redis`.

    Parameters
    ----------
    folder
        For its users, their passwords, and its log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        for user in (*USERS, ADMIN):
            self._password_file(user).write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        users = run_quietly([str(REDIS_FILES / "make-acl"), str(folder)], timeout_s=20.0)
        assert users is not None, "make-acl failed"
        admin = f"user {ADMIN} reset on >{self._password_file(ADMIN).read_text().strip()} +@all ~* &*\n"
        (folder / "users.acl").write_text(users.decode("ascii") + admin, encoding="ascii")
        self._log = (folder / "redis.log").open("wb")
        argv = [require_program("redis-server"), str(REDIS_FILES / "redis.conf"), "--port", str(self.port)]
        argv += ["--bind", "127.0.0.1", "--dir", str(folder), "--aclfile", str(folder / "users.acl")]
        self._child = Child("redis", argv, stdout=self._log, stderr=self._log)
        self._child.start()
        self._admin = self.link(ADMIN)
        eventually(self._answers, "a Redis that answers")

    def settings(self, user: str) -> RedisSettings:
        """Say how a user reaches it."""
        return RedisSettings(port=self.port, username=user, password_file=self._password_file(user), timeout_s=5.0)

    def environment(self, user: str) -> dict[str, str]:
        """Give the variables by which a program is that user."""
        return {
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self.port),
            "REDIS_USERNAME": user,
            "REDIS_PASSWORD_FILE": str(self._password_file(user)),
        }

    def link(self, user: str) -> RedisLink:
        """Make a connection; the caller closes it."""
        return RedisLink(self.settings(user))

    def refusals(self) -> set[str]:
        """Say what was refused since the start: user, reason, and command, key or channel."""
        log: Any = self._admin.client.acl_log()
        found = set()
        for entry in log:
            words = {_text(name): _text(value) for name, value in entry.items()}
            found.add(f"{words['username']}: {words['reason']} {words['object']}")
        return found

    def close(self) -> None:
        """Stop it."""
        self._admin.close()
        self._child.stop()
        self._log.close()

    def _password_file(self, user: str) -> Path:
        return self.folder / f"redis-{user}"

    def _answers(self) -> bool:
        assert self._child.is_alive, (self.folder / "redis.log").read_text(encoding="utf-8", errors="replace")
        try:
            return bool(self._admin.call(lambda client: client.ping()))
        except LinkError:
            return False


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@contextmanager
def running_acl_redis(folder: Path) -> Iterator[AclRedis]:
    """Start a server for the length of a block."""
    server = AclRedis(folder)
    try:
        yield server
    finally:
        server.close()
