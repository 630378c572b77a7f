from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.errors import ConfigError
from app_core.network.icecast_url import check_public_url, host_in_url, listen_url, mount_path, title_request


@pytest.mark.parametrize(
    ("pattern", "mount"),
    [
        ("/{id}", "/wx7.mp3"),
        ("{id}", "/wx7.mp3"),
        ("//{id}", "/wx7.mp3"),
        ("/noaa//{id}/", "/noaa/wx7.mp3"),
        ("/{id}.mp3", "/wx7.mp3"),
        ("/{id}.MP3", "/wx7.MP3"),
        ("/weather", "/weather.mp3"),
        ("/weather.ogg", "/weather.ogg.mp3"),
    ],
)
def test_a_mount_has_one_slash_and_its_extension(pattern: str, mount: str) -> None:
    assert mount_path(pattern, "wx7", ".mp3") == mount


@pytest.mark.parametrize("pattern", ["", "/", "/a b", "/ä", "/{id}?x", "/../{id}", "/admin/x", "/" + "a" * 300])
def test_what_is_no_mount_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError):
        mount_path(pattern, "", ".mp3")


@given(st.text(max_size=30), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}", fullmatch=True))
def test_every_mount_is_a_clean_path(pattern: str, channel_id: str) -> None:
    try:
        mount = mount_path(pattern, channel_id, ".opus")
    except ConfigError:
        return
    assert mount.startswith("/")
    assert "//" not in mount
    assert mount.lower().endswith(".opus")
    assert mount_path(mount, channel_id, ".opus") == mount


def test_people_are_shown_the_public_address() -> None:
    assert listen_url("https://radio.example.org/", "127.0.0.1", 8000, "/wx.mp3") == "https://radio.example.org/wx.mp3"
    assert listen_url("", "127.0.0.1", 8000, "/wx.mp3") == "http://127.0.0.1:8000/wx.mp3"
    assert listen_url("", "::1", 443, "/wx.mp3", tls=True) == "https://[::1]/wx.mp3"
    assert host_in_url("[::1]") == "[::1]"


@pytest.mark.parametrize(
    "url",
    [
        "http://me:word@radio.example.org",
        "http://me@radio.example.org",
        "ftp://x",
        "radio.example.org",
        "http://x:99999",
    ],
)
def test_a_public_address_with_a_password_or_without_sense_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_public_url(url)
    assert "word" not in str(refused.value).replace("password", "")


def test_a_title_is_escaped() -> None:
    request = title_request("/wx.mp3", "Tornado & hail ✓ 50%\n")
    assert request == (
        "/admin/metadata?mount=%2Fwx.mp3&mode=updinfo&charset=UTF-8&song=Tornado%20%26%20hail%20%E2%9C%93%2050%25%0A"
    )
