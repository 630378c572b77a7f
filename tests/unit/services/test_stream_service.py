from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app_core.audio.ingest_monitor import make_source
from app_core.audio.sources import AudioSourceType
from app_core.base.blocks import PcmBlock
from app_core.base.errors import ConfigError
from services.settings import Loaded, load
from services.source_tables import sources_of
from services.stream_service import build, configured_sources, icecast_of

SOURCES = """
[[channels]]
id = "wx7"
receiver_id = "noaa-1"
frequency_hz = 162550000
name = "Kansas City"

[[channels]]
id = "fm"
receiver_id = "noaa-1"
preset = "fm_broadcast"
frequency_hz = 98100000

[[sources]]
id = "mirror"
type = "stream"
url = "http://127.0.0.1:1/wx.mp3"
sample_rate_hz = 16000

[[sources]]
id = "plain"
type = "stream"
url = "http://127.0.0.1:1/wx.mp3"
protocol = "http"

[[sources]]
id = "pieces"
type = "stream"
url = "http://127.0.0.1:1/wx.m3u8"

[[sources]]
id = "card"
type = "alsa"

[[sources]]
id = "tape"
type = "file"
path = "/nowhere.wav"
"""


class Nobody:
    def take(self, block: PcmBlock) -> None: ...

    def finish(self) -> None: ...


def loaded(tmp_path: Path, text: str) -> Loaded:
    path = tmp_path / "station.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_channels_and_sources_are_known_before_the_decode_job_says_anything(tmp_path: Path) -> None:
    listed = {source.config.id: source for source in configured_sources(loaded(tmp_path, SOURCES))}
    assert list(listed) == ["wx7", "fm", "mirror", "plain", "pieces", "card", "tape"]
    assert listed["wx7"].config.title == "Kansas City"
    assert (listed["wx7"].source_name, listed["wx7"].sample_rate_hz) == ("RedisSDRSourceAdapter", 24_000)
    assert (listed["fm"].sample_rate_hz, listed["fm"].n_channels) == (48_000, 2)
    assert listed["mirror"].sample_rate_hz == 16_000


def test_a_source_is_named_as_the_decode_job_names_it(tmp_path: Path) -> None:
    read = loaded(tmp_path, SOURCES)
    listed = {source.config.id: source for source in configured_sources(read)}
    for settings in sources_of(read):
        made = make_source(settings, Nobody())
        assert listed[settings.id].source_name == made.source_name
        assert listed[settings.id].config == made.config
    assert listed["card"].config.source_type is AudioSourceType.ALSA


def icecast_table(tmp_path: Path, **more: Any) -> str:
    (tmp_path / "password").write_text("a good one", encoding="utf-8")
    lines = [f"{name} = {value!r}".replace("'", '"') for name, value in more.items()]
    return "\n".join(["[icecast]", f'password_file = "{tmp_path}/password"', *lines]) + "\n"


def test_a_demo_streams_to_this_machine_alone(tmp_path: Path) -> None:
    demo = "[station]\ndemo = true\n"
    assert icecast_of(loaded(tmp_path, demo + icecast_table(tmp_path, host="127.0.0.1"))) is not None
    with pytest.raises(ConfigError, match="the demo's audio never leaves this machine"):
        icecast_of(loaded(tmp_path, demo + icecast_table(tmp_path, host="radio.example.org")))


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"icecast.codec"):
        icecast_of(loaded(tmp_path, icecast_table(tmp_path, codec="wav")))
    with pytest.raises(ConfigError, match=r"icecast.password_file"):
        icecast_of(loaded(tmp_path, "[icecast]\n"))


def test_a_password_that_everybody_knows_is_refused(tmp_path: Path) -> None:
    text = icecast_table(tmp_path)
    (tmp_path / "password").write_text("hackme\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="everybody knows"):
        build(loaded(tmp_path, text))


def test_an_exception_for_a_channel_that_is_not_there_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exception = '[[icecast.mounts]]\nchannel = "wx77"\n[[icecast.mounts]]\nchannel = "wx7"\n'
    build(loaded(tmp_path, SOURCES + icecast_table(tmp_path) + exception))
    assert [record.message for record in caplog.records if "wx7" in record.message] == [
        "[[icecast.mounts]] has channel 'wx77', which station.toml does not have"
    ]


def test_a_password_that_every_user_can_read_is_told_with_its_cure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = icecast_table(tmp_path)
    for mode in (0o600, 0o644):
        (tmp_path / "password").chmod(mode)
        build(loaded(tmp_path, text))
    [told] = [record.message for record in caplog.records if "chmod" in record.message]
    assert told.endswith(f"chmod 600 {tmp_path}/password")


def test_a_station_that_streams_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing to stream: .*\[icecast\]"):
        build(loaded(tmp_path, "[station]\n"))
