"""The last resort of the demo: fakeredis, served over TCP by a process of its own. ``python -m … PORT``."""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until killed."""
    from fakeredis import TcpFakeServer

    TcpFakeServer.allow_reuse_address = True
    TcpFakeServer(("127.0.0.1", int(sys.argv[1])), server_type="redis").serve_forever()


if __name__ == "__main__":
    main()
