"""Every path and URL of Icecast is made here: mounts, what people are shown, and the requests to its admin pages.

A user's name or password is never part of any; they travel in a header. What people are shown is the public address,
which need not be the one that this station reaches the server by.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlencode, urlsplit

from app_core.base.errors import ConfigError

LONGEST_MOUNT = 200
"""Characters that a mount's path may have."""

_MOUNT_CHARACTERS = re.compile(r"/[A-Za-z0-9._~\-/]+")


def mount_path(pattern: str, channel_id: str, extension: str) -> str:
    """Give the path of a channel's mount.

    Parameters
    ----------
    pattern
        As in the settings: ``{id}`` stands for the channel; slashes too many and one too few are put right.
    channel_id
        Whose mount.
    extension
        ``.mp3`` and so on; added unless the pattern ends with it.

    Raises
    ------
    ConfigError
        If that is no path that every player and Icecast take: letters, digits, ``. _ ~ -`` and slashes.
    """
    path = re.sub(r"/+", "/", "/" + pattern.replace("{id}", channel_id)).rstrip("/")
    if not path.lower().endswith(extension):
        path += extension
    if not _MOUNT_CHARACTERS.fullmatch(path) or len(path) > LONGEST_MOUNT or path == f"/{extension}":
        raise ConfigError(
            f"{pattern!r} makes the mount {path!r}: a mount has letters, digits, '.', '_', '~', '-' and '/', "
            f"and at most {LONGEST_MOUNT} of them"
        )
    if path.startswith("/admin/") or ".." in path:
        raise ConfigError(f"the mount {path!r} is Icecast's own")
    return path


def host_in_url(host: str) -> str:
    """Give a host as it stands in a URL and in a ``Host`` header: an IPv6 address has brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def listen_url(public_url: str, host: str, port: int, mount: str, *, tls: bool = False) -> str:
    """Give the URL at which people hear a mount.

    Parameters
    ----------
    public_url
        Where the server is for them, without the mount; empty for the address that this station uses.
    host, port, tls
        That address.
    mount
        As `mount_path` gave it.
    """
    base = check_public_url(public_url) if public_url else _address(host, port, tls)
    return base + mount


def check_public_url(url: str) -> str:
    """Give a public URL without its last slash.

    Raises
    ------
    ConfigError
        If it is no ``http://`` or ``https://`` URL, or holds a user, a password, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        # Not shown: what is malformed may hold a password.
        raise ConfigError("public_url looks like https://radio.example.org or http://192.0.2.7:8000")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("public_url is shown to everybody: it must not hold a user or a password")
    return url.rstrip("/")


def title_request(mount: str, title: str) -> str:
    """Give path and query that set a mount's title."""
    query = urlencode({"mount": mount, "mode": "updinfo", "charset": "UTF-8", "song": title}, quote_via=quote)
    return f"/admin/metadata?{query}"


STATUS_REQUEST = "/status-json.xsl"
"""Path of the public status of all mounts."""

STATS_REQUEST = "/admin/stats"
"""Path of the same for the administrator, as XML."""


def _address(host: str, port: int, tls: bool) -> str:
    scheme, usual_port = ("https", 443) if tls else ("http", 80)
    return f"{scheme}://{host_in_url(host)}" + ("" if port == usual_port else f":{port}")
