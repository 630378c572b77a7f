from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app_core.base.errors import LinkError, WireError
from app_core.network import icecast_admin
from app_core.network.icecast_admin import (
    is_admin_accepted,
    is_source_accepted,
    parse_stats_xml,
    parse_status_json,
    read_listeners,
    update_title,
)
from app_core.network.icecast_server import LONGEST_LINE, IcecastRefusedError, IcecastServer
from tests.support.icecast_server import IcecastDaemon, running_icecast

ONE = b'{"icestats":{"source":{"listeners":3,"listenurl":"http://h:8000/wx.mp3"}}}'
TWO = (
    b'{"icestats":{"source":[{"listeners":3,"listenurl":"http://h:8000/wx.mp3"},'
    b'{"listeners":0,"listenurl":"http://h:8000/a/b.ogg"},{"listenurl":"http://h:8000/c"},null]}}'
)
XML = (
    b'<?xml version="1.0"?><icestats><source mount="/wx.mp3"><listeners>2</listeners></source>'
    b'<source mount="/b"><listeners/></source></icestats>'
)


WRONG = "another word"


@pytest.fixture
def icecast(tmp_path: Path) -> Iterator[IcecastDaemon]:
    with running_icecast(tmp_path) as daemon:
        yield daemon


def test_listeners_are_read_from_the_public_status() -> None:
    assert parse_status_json(ONE) == {"/wx.mp3": 3}
    assert parse_status_json(TWO) == {"/wx.mp3": 3, "/a/b.ogg": 0}
    assert parse_status_json(b'{"icestats":{}}') == {}


def test_listeners_are_read_from_the_admins_statistics() -> None:
    assert parse_stats_xml(XML) == {"/wx.mp3": 2}


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"{}", b'{"icestats":3}'])
def test_what_is_no_status_is_refused(answer: bytes) -> None:
    with pytest.raises(WireError):
        parse_status_json(answer)


@pytest.mark.parametrize("answer", [b"", b"<a>", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
def test_what_is_no_statistics_is_refused(answer: bytes) -> None:
    with pytest.raises(WireError):
        parse_stats_xml(answer)


def test_a_title_for_a_mount_that_is_not_there_is_refused(icecast: IcecastDaemon) -> None:
    with pytest.raises(LinkError, match="does not take a title for /none"):
        update_title(icecast.server, "/none", "A title")
    assert read_listeners(icecast.server) == {}


def test_a_title_goes_out_as_one_line_of_what_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(server: IcecastServer, request: str, timeout_s: float, authorization: str) -> tuple[int, bytes]:
        asked.append(request)
        return 200, b"<return>1</return>"

    monkeypatch.setattr(icecast_admin, "_get", answer)
    update_title(IcecastServer("127.0.0.1"), "/wx.mp3", "Tornado\0\a\r\n Warning" + "x" * 9000)
    assert parse_qs(urlsplit(asked[0]).query)["song"] == ["Tornado Warning" + "x" * (LONGEST_LINE - 15)]


def test_a_wrong_admin_password_is_said(icecast: IcecastDaemon) -> None:
    server = dataclasses.replace(icecast.server, admin_password="wrong")  # noqa: S106 - that of nobody
    with pytest.raises(IcecastRefusedError, match=r"refuses the title \(401\): compare admin_password_file"):
        update_title(server, "/wx.mp3", "A title")


def test_a_title_goes_by_the_sources_own_password_where_the_admins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    server = IcecastServer("127.0.0.1", password="own", admin_password="old")  # noqa: S106 - those of nobody
    asked: list[str] = []

    def answer(server: IcecastServer, request: str, timeout_s: float, authorization: str) -> tuple[int, bytes]:
        asked.append(authorization)
        return (200, b"<return>1</return>") if authorization == server.source_authorization else (401, b"")

    monkeypatch.setattr(icecast_admin, "_get", answer)
    update_title(server, "/wx.mp3", "A title")
    assert asked == [server.admin_authorization, server.source_authorization]


def test_a_refusal_is_told_from_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icecast_admin, "_get", lambda *_: (400, b"Source does not exist"))
    with pytest.raises(IcecastRefusedError) as refused:
        update_title(IcecastServer("127.0.0.1"), "/wx.mp3", "A title")
    assert (refused.value.status, refused.value.needs_person) == (400, False)


def test_a_server_that_is_not_there_or_silent_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = IcecastServer("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(LinkError, match=r"cannot be asked \(no answer within 0.3 s\): it may be frozen"):
            read_listeners(server, timeout_s=0.3)
    with pytest.raises(LinkError, match="cannot be asked"):
        update_title(server, "/wx.mp3", "A title", timeout_s=0.3)


def test_passwords_are_tried_one_by_one_and_no_mount_is_made(icecast: IcecastDaemon) -> None:
    server = icecast.server
    assert is_source_accepted(server)
    assert is_admin_accepted(server)
    # The other one's password must not stand in.
    assert not is_source_accepted(dataclasses.replace(server, password=WRONG))
    assert not is_admin_accepted(dataclasses.replace(server, admin_password=WRONG))
    assert icecast.mounts() == {}
