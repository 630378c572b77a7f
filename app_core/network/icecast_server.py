"""An Icecast server: where it is, who we are to it, and its refusals in words for a person."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field

from app_core.base.errors import LinkError
from app_core.network.icecast_url import host_in_url

USER_AGENT = "Herald"

LONGEST_LINE = 300
"""Characters of a name or a title that are sent: players show a line, and Icecast takes 4 KB of headers."""


def one_line(text: str) -> str:
    """Give a name or a title as Icecast may have it: one line, nothing but printable characters, not too long.

    A line break would begin another header, a NUL ends an argument of FFmpeg, and any other control character makes
    Icecast's own status no JSON, with which the listeners of every mount are lost.
    """
    shown = "".join(character for character in " ".join(text.split()) if character.isprintable())
    return " ".join(shown.split())[:LONGEST_LINE]


@dataclass(frozen=True, slots=True)
class IcecastServer:
    """Where the server is, and our names and passwords there.

    Attributes
    ----------
    host, port, tls
        Its address.
    username, password
        Of a source.
    admin_username, admin_password
        For listeners and titles; empty for the source's own, which Icecast takes for the titles of its own mount.
    ca_file
        Certificates (PEM) that are trusted instead of this machine's; empty for this machine's.
    """

    host: str
    port: int = 8000
    tls: bool = False
    username: str = "source"
    password: str = field(default="", repr=False)
    admin_username: str = ""
    admin_password: str = field(default="", repr=False)
    ca_file: str = ""

    @property
    def where(self) -> str:
        """Its address for people."""
        return f"{host_in_url(self.host)}:{self.port}"

    @property
    def source_authorization(self) -> str:
        """The header that names us as a source."""
        return _basic(self.username, self.password)

    @property
    def admin_authorization(self) -> str:
        """The header that names us to the admin pages."""
        if not self.admin_password:
            return self.source_authorization
        return _basic(self.admin_username or "admin", self.admin_password)

    def tls_context(self) -> ssl.SSLContext:
        """Give what a TLS connection is checked by.

        Raises
        ------
        LinkError
            If `ca_file` cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise LinkError(
                f"the certificates in {self.ca_file} (ca_file of [icecast]) cannot be read: {error}"
            ) from error


class IcecastRefusedError(LinkError):
    """The server answered no.

    Attributes
    ----------
    status
        HTTP status code.
    needs_person
        Whether trying again soon is of no use.
    """

    def __init__(self, text: str, status: int, *, needs_person: bool) -> None:
        super().__init__(text)
        self.status = status
        self.needs_person = needs_person


def refusal(server: IcecastServer, mount: str, status: int, reason: str) -> IcecastRefusedError:
    """Put a refusal of a source into words.

    Parameters
    ----------
    server, mount
        What was asked for.
    status
        HTTP status code.
    reason
        What the server said itself: its text, or the phrase beside the code.
    """
    said = reason.lower()
    who = f"Icecast at {server.where}"
    if status == 401:
        text = (
            f"{who} refuses the password of user {server.username!r} (401): "
            f"compare password_file of [icecast] with source-password in icecast.xml"
        )
        return IcecastRefusedError(text, status, needs_person=True)
    if "in use" in said or status == 409:
        text = f"{who}: the mount {mount} is in use (403): another source is connected to it, or our last one still is"
        return IcecastRefusedError(text, status, needs_person=False)
    if "too many" in said:
        text = f"{who} takes no more sources (403): raise <sources> under <limits> in icecast.xml"
        return IcecastRefusedError(text, status, needs_person=True)
    if "content-type" in said or status == 415:
        text = f"{who} does not take this codec ({status}: {reason}): set another codec in [icecast]"
        return IcecastRefusedError(text, status, needs_person=True)
    if "limit" in said:
        text = f"{who} is full ({status}: {reason}): raise <clients> under <limits> in icecast.xml"
        return IcecastRefusedError(text, status, needs_person=False)
    text = f"{who} refuses the mount {mount} ({status}: {reason or 'no reason given'})"
    return IcecastRefusedError(text, status, needs_person=400 <= status < 500)


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
