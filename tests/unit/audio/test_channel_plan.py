"""The channels there shall be: what a change makes of them, and what a restart finds."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from app_core.audio import channel_plan
from app_core.audio.channel_plan import ChannelOverlay, ChannelPlan, Table, digest_of
from app_core.base.errors import ConfigError, LinkError
from app_core.demod.channel_config import ChannelConfig

STATION: list[Table] = [
    {"id": "wx6", "receiver_id": "rx", "frequency_hz": 162_525_000},
    {"id": "wx7", "receiver_id": "rx", "frequency_hz": 162_550_000, "bandwidth_hz": 12_000},
]
FM: Table = {"id": "fm", "receiver_id": "rx", "frequency_hz": 98_500_000, "mode": "wfm"}


def _make(table: Table) -> ChannelConfig:
    try:
        return ChannelConfig.model_validate(table)
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"]) from error


def _expand(table: Table) -> Table:
    if table.get("preset") == "nope":
        raise ConfigError("no preset 'nope'")
    preset = {"mode": "am", "squelch": {"mode": "snr"}} if table.get("preset") == "airband" else {}
    return preset | {name: value for name, value in table.items() if name != "preset"}


def _plan(folder: Path, station: list[Table] | None = None, receivers: Collection[str] = ("rx", "ry")) -> ChannelPlan:
    tables = STATION if station is None else station
    overlay = ChannelOverlay(folder / "channels.json", digest_of(tables))
    return ChannelPlan(tables, overlay, _make, _expand, lambda: receivers)


def test_the_station_s_channels_hold_until_a_command_changes_them(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    assert plan.now.ids == ["wx6", "wx7"]
    assert not plan.is_changed
    more = plan.with_channel(FM)
    assert plan.now.ids == ["wx6", "wx7"], "a plan that is not adopted changes nothing"
    plan.adopt(more)
    assert plan.now.ids == ["wx6", "wx7", "fm"]
    assert plan.is_changed


def test_what_was_adopted_outlives_the_process(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    plan.adopt(plan.with_channel(FM))
    plan.adopt(plan.without_channel("wx6"))
    plan.adopt(plan.with_changes("wx7", {"name": "Kansas City"}))
    again = _plan(tmp_path)
    assert again.now == plan.now
    assert [(config.id, config.name) for config in again.now.configs] == [("wx7", "Kansas City"), ("fm", "")]
    again.adopt(again.of_station)
    assert not (tmp_path / "channels.json").exists(), "nothing is left to keep"
    assert _plan(tmp_path).now.ids == ["wx6", "wx7"]


def test_an_edited_station_drops_what_commands_had_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = _plan(tmp_path)
    plan.adopt(plan.with_channel(FM))
    edited = [*STATION, {"id": "wx1", "receiver_id": "rx", "frequency_hz": 162_400_000}]
    assert _plan(tmp_path, edited).now.ids == ["wx6", "wx7", "wx1"]
    assert "the channels of station.toml have been edited since" in caplog.text
    assert orjson.loads((tmp_path / "channels.dropped.json").read_bytes())["channels"][-1] == FM
    assert _plan(tmp_path).now.ids == ["wx6", "wx7"], "it does not come back with the old file"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b'{"digest": "DIGEST"}',
        b'{"digest": "DIGEST", "channels": 5}',
        b'{"digest": "DIGEST", "channels": [5]}',
        b'{"digest": "DIGEST", "channels": []}',
        b'{"digest": "DIGEST", "channels": [{"id": "a"}]}',
        b'{"digest": "DIGEST", "channels": [{"id":"a","receiver_id":"r","frequency_hz":1e8},'
        b'{"id":"a","receiver_id":"r","frequency_hz":1e8}]}',
        b"\xff\xfe",
        b"x" * 2000,
    ],
)
def test_a_malformed_overlay_is_said_and_put_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_plan, "MAX_OVERLAY_BYTES", 1000)
    path = tmp_path / "channels.json"
    path.write_bytes(content.replace(b"DIGEST", digest_of(STATION).encode()))
    assert _plan(tmp_path).now.ids == ["wx6", "wx7"]
    assert "the channels changed by command are dropped" in caplog.text
    assert not path.exists()
    assert (tmp_path / "channels.dropped.json").exists()


def test_an_overlay_that_cannot_be_read_or_put_aside_does_not_keep_the_station_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "channels.json").mkdir()
    (tmp_path / "channels.dropped.json").write_text("a file, over which no folder is moved")
    assert _plan(tmp_path).now.ids == ["wx6", "wx7"]
    assert "could not be put aside" in caplog.text


def test_a_change_that_cannot_be_kept_holds_all_the_same(tmp_path: Path) -> None:
    blocked = tmp_path / "no-folder"
    blocked.write_text("")
    plan = _plan(blocked)
    more = plan.with_channel(FM)
    with pytest.raises(LinkError, match=r"channels\.json cannot be written"):
        plan.adopt(more)
    assert plan.now is more


def test_the_digest_names_what_is_said_and_not_in_which_order(tmp_path: Path) -> None:
    turned = [dict(reversed(table.items())) for table in STATION]
    assert digest_of(turned) == digest_of(STATION)
    assert digest_of(STATION[::-1]) != digest_of(STATION)
    assert digest_of([]) != digest_of(STATION)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (FM | {"id": "wx7"}, "there is a channel 'wx7' already; set_channel changes it"),
        (FM | {"receiver_id": "roof"}, "unknown receiver 'roof'; known are rx, ry"),
        (FM | {"bandwidth_hz": 16_000}, "bandwidth_hz of broadcast FM"),
        (FM | {"preset": "nope"}, "no preset 'nope'"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(tmp_path: Path, table: Table, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _plan(tmp_path).with_channel(table)


def test_where_nobody_knows_the_receivers_any_is_taken(tmp_path: Path) -> None:
    assert _plan(tmp_path, receivers=()).with_channel(FM | {"receiver_id": "roof"}).ids[-1] == "fm"


def test_there_is_an_end_to_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_plan, "MAX_CHANNELS", 2)
    with pytest.raises(ConfigError, match="there are 2 channels, and more are not taken"):
        _plan(tmp_path).with_channel(FM)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"frequency_hz": 162_400_000}, {"frequency_hz": 162_400_000, "bandwidth_hz": 12_000}),
        ({"bandwidth_hz": None}, {"bandwidth_hz": 16_000}),
        ({"mode": "nfm"}, {"bandwidth_hz": 12_000}),
        ({"mode": "am"}, {"mode": "am", "bandwidth_hz": 8_000, "deviation_hz": 0}),
        ({"mode": "am", "bandwidth_hz": 6_000}, {"mode": "am", "bandwidth_hz": 6_000}),
        ({"preset": "airband"}, {"mode": "am", "bandwidth_hz": 8_000}),
        ({"receiver_id": "ry"}, {"receiver_id": "ry"}),
        ({"id": "wx7", "name": "x"}, {"name": "x"}),
    ],
)
def test_what_is_not_named_stays_unless_another_mode_makes_it_senseless(
    tmp_path: Path, changes: Table, expected: dict[str, Any]
) -> None:
    channel = _plan(tmp_path).with_changes("wx7", changes).configs[1].model_dump(mode="json")
    assert {name: channel[name] for name in expected} == expected


def test_a_table_within_a_channel_is_changed_setting_by_setting(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    plan.adopt(plan.with_changes("wx7", {"squelch": {"mode": "snr", "tail_s": 1.0}}))
    plan.adopt(plan.with_changes("wx7", {"squelch": {"open_db": 12}}))
    squelch = plan.find("wx7").squelch
    assert (squelch.mode, squelch.tail_s, squelch.open_db) == ("snr", 1.0, 12.0)
    plan.adopt(plan.with_changes("wx7", {"squelch": {"tail_s": None}}))
    assert plan.find("wx7").squelch.tail_s == 0.2
    plan.adopt(plan.with_changes("wx7", {"squelch": None}))
    assert plan.find("wx7").squelch.mode == "off"


@pytest.mark.parametrize(
    ("channel_id", "changes", "words"),
    [
        ("wx9", {"name": "x"}, "unknown channel 'wx9'; known are wx6, wx7"),
        ("wx7", {"id": "wx8"}, "the id of a channel does not change"),
        ("wx7", {"receiver_id": "roof"}, "unknown receiver 'roof'; known are rx, ry"),
        ("wx7", {"frequency_hz": 162.55}, "frequency_hz is in hertz"),
        ("wx7", {"frequency_hz": None}, "Field required"),
        ("wx7", {"mode": "fm"}, "Input should be 'nfm'"),
    ],
)
def test_a_change_that_cannot_be_is_refused(tmp_path: Path, channel_id: str, changes: Table, words: str) -> None:
    plan = _plan(tmp_path)
    with pytest.raises(ConfigError, match=words):
        plan.with_changes(channel_id, changes)
    assert plan.now == plan.of_station


def test_the_last_channel_is_not_removed(tmp_path: Path) -> None:
    plan = _plan(tmp_path)
    plan.adopt(plan.without_channel("wx6"))
    with pytest.raises(ConfigError, match="'wx7' is the only channel: add another one first"):
        plan.without_channel("wx7")
    with pytest.raises(ConfigError, match="unknown channel 'wx6'; known are wx7"):
        plan.without_channel("wx6")


def test_two_channels_of_a_station_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two channels have the id 'wx6'"):
        _plan(tmp_path, [STATION[0], STATION[0]])
