"""What Icecast is asked beside the streams: how many listen, and to show another title.

Each question is a connection of its own with a timeout; none is asked by a thread that carries audio.
"""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import orjson

from app_core.base.errors import LinkError, WireError
from app_core.network.icecast_server import USER_AGENT, IcecastRefusedError, IcecastServer, one_line
from app_core.network.icecast_url import STATS_REQUEST, STATUS_REQUEST, title_request

_NOBODYS_MOUNT = "/herald-tries-its-password"

_LONGEST_ANSWER = 4 * 1024 * 1024


def update_title(server: IcecastServer, mount: str, title: str, timeout_s: float = 5.0) -> None:
    """Have a mount's listeners shown a title.

    Where the admin's password is refused the source's own is tried, which Icecast takes for the mount of that source.

    Raises
    ------
    IcecastRefusedError
        If the server refuses; its text says why.
    LinkError
        If the server cannot be reached.
    """
    request = title_request(mount, one_line(title))
    status, answer = _get(server, request, timeout_s, server.admin_authorization)
    was_refused = status == 401
    if was_refused and server.admin_authorization != server.source_authorization:
        status, answer = _get(server, request, timeout_s, server.source_authorization)
    if status == 200 and b"<return>0</return>" not in answer:
        return
    if was_refused:
        text = (
            f"Icecast at {server.where} refuses the title (401): compare admin_password_file of [icecast] "
            f"with admin-password in icecast.xml"
        )
    else:
        text = f"Icecast at {server.where} does not take a title for {mount} ({status})"
    raise IcecastRefusedError(text, 401 if was_refused else status, needs_person=was_refused)


def is_source_accepted(server: IcecastServer, timeout_s: float = 5.0) -> bool:
    """Try whether the server takes a source's name and password, without making a mount.

    A title is offered for a mount that nobody has: the password is checked first, and then nothing is found to change.

    Raises
    ------
    LinkError
        If the server cannot be reached.
    """
    return _get(server, title_request(_NOBODYS_MOUNT, ""), timeout_s, server.source_authorization)[0] != 401


def is_admin_accepted(server: IcecastServer, timeout_s: float = 5.0) -> bool:
    """Try whether the server takes the administrator's name and password.

    Raises
    ------
    LinkError
        If the server cannot be reached.
    """
    return _get(server, STATS_REQUEST, timeout_s, server.admin_authorization)[0] == 200


def read_listeners(server: IcecastServer, timeout_s: float = 5.0) -> dict[str, int]:
    """Give the number of listeners of every mount.

    The public status page is asked; where it is switched off, the admin's, which needs its password.

    Raises
    ------
    LinkError
        If the server cannot be reached, or has neither for us.
    WireError
        If its answer cannot be understood.
    """
    status, answer = _get(server, STATUS_REQUEST, timeout_s, "")
    if status == 200:
        return parse_status_json(answer)
    status, answer = _get(server, STATS_REQUEST, timeout_s, server.admin_authorization)
    if status != 200:
        raise LinkError(f"Icecast at {server.where} does not tell its listeners ({status})")
    return parse_stats_xml(answer)


def parse_status_json(answer: bytes) -> dict[str, int]:
    """Read the public status page; one mount stands as an object, several as a list.

    Raises
    ------
    WireError
        If it is not that page.
    """
    try:
        fields = orjson.loads(answer)
        sources: Any = fields["icestats"].get("source", [])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise WireError(f"not Icecast's status: {error}") from error
    listeners: dict[str, int] = {}
    for source in sources if isinstance(sources, list) else [sources]:
        if isinstance(source, dict) and isinstance(source.get("listeners"), int):
            listeners[urlsplit(str(source.get("listenurl", ""))).path] = source["listeners"]
    return listeners


def parse_stats_xml(answer: bytes) -> dict[str, int]:
    """Read the admin's statistics.

    Raises
    ------
    WireError
        If they are not XML, or declare entities: theirs need none, and a few lines of them can fill the memory.
    """
    if b"<!DOCTYPE" in answer or b"<!ENTITY" in answer:
        raise WireError("Icecast's statistics declare entities")
    try:
        root = ElementTree.fromstring(answer)  # noqa: S314 - without declarations there is nothing to expand
    except ElementTree.ParseError as error:
        raise WireError(f"Icecast's statistics are not XML: {error}") from error
    listeners: dict[str, int] = {}
    for source in root.iter("source"):
        count = source.findtext("listeners", "")
        if count.isdigit():
            listeners[source.get("mount", "")] = int(count)
    return listeners


def _get(server: IcecastServer, request: str, timeout_s: float, authorization: str) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection
    if server.tls:
        connection = http.client.HTTPSConnection(
            server.host, server.port, timeout=timeout_s, context=server.tls_context()
        )
    else:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=timeout_s)
    headers = {"User-Agent": USER_AGENT, "Connection": "close"}
    if authorization:
        headers["Authorization"] = authorization
    try:
        connection.request("GET", request, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(_LONGEST_ANSWER)
    except TimeoutError as error:
        raise LinkError(
            f"Icecast at {server.where} cannot be asked (no answer within {timeout_s:g} s): "
            f"it may be frozen, or the network too slow"
        ) from error
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise LinkError(f"Icecast at {server.where} cannot be asked ({error})") from error
    finally:
        connection.close()
