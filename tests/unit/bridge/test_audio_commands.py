"""Commands about the channels as they stand on the list."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.errors import WireError
from app_core.bridge import keys
from app_core.bridge.audio_commands import (
    CHANNEL_ACTIONS,
    ChannelCommandMessage,
    make_channel_command,
    read_channel_command,
)
from app_core.bridge.commands import Refusal, read_command_id, send_command, wait_for_result
from tests.support.redis_server import RedisServer


def test_the_names_are_those_of_the_contract() -> None:
    assert (keys.TO_AUDIO.commands, keys.TO_AUDIO.under_way) == ("audio:commands", "audio:commands:under_way")
    assert keys.TO_AUDIO.result("c") == "audio:command_result:c"
    assert keys.TO_SDR.result("c") == keys.command_result("c") == "sdr:command_result:c"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"action": "tune"}, f"unknown action 'tune'; known are {', '.join(CHANNEL_ACTIONS)}"),
        ({"action": "add_channel"}, "add_channel needs channel, a table of settings"),
        ({"action": "add_channel", "channel": {}}, "add_channel needs channel, a table of settings"),
        ({"action": "add_channel", "channel": [1]}, "channel must be an object, not a list"),
        ({"action": "set_channel", "channel": {"name": "x"}}, "set_channel needs channel_id"),
        ({"action": "set_channel", "channel_id": "x"}, "set_channel needs channel, a table"),
        ({"action": "remove_channel"}, "remove_channel needs channel_id"),
        ({"action": "remove_channel", "channel_id": 7}, "channel_id must be a string, not 7"),
        ({"action": "remove_channel", "channel_id": "a/b"}, "channel_id: not an id"),
        ({"action": "get_channels", "expires_at": "soon"}, "expires_at must be a number, not 'soon'"),
        ({}, "the command lacks action"),
    ],
)
def test_what_is_wrong_in_a_command_is_said_in_words(fields: dict[str, Any], words: str) -> None:
    refusal = read_channel_command(orjson.dumps({"command_id": "c"} | fields))
    assert isinstance(refusal, Refusal)
    assert refusal.command_id == "c"
    assert refusal.message.startswith(words)


def test_what_is_written_is_read_again_with_the_nulls_of_its_table() -> None:
    fields = {
        "action": "set_channel",
        "command_id": "c",
        "channel_id": "wx7",
        "channel": {"squelch": {"open_db": None}, "name": "x"},
    }
    command = make_channel_command(fields)
    assert orjson.loads(command.to_json()) == fields
    assert read_channel_command(command.to_json()) == command
    with pytest.raises(WireError, match="remove_channel needs channel_id"):
        make_channel_command({"action": "remove_channel"})


@given(st.binary(max_size=100) | st.dictionaries(st.sampled_from(["action", "command_id", "channel", "channel_id"]), st.none() | st.text() | st.sampled_from(CHANNEL_ACTIONS) | st.dictionaries(st.text(), st.integers(0, 9)) | st.lists(st.integers(0, 9))).map(orjson.dumps))  # fmt: skip  # noqa: E501
def test_whatever_stands_on_the_list_is_a_command_or_a_refusal_with_words(payload: bytes) -> None:
    read = read_channel_command(payload)
    assert isinstance(read, ChannelCommandMessage) or read.message


@pytest.mark.parametrize(
    ("payload", "command_id"),
    [
        (b'{"command_id":"c","action":"dance"}', "c"),
        (b'{"command_id":17}', "17"),
        (b'{"command_id":"a b"}', None),
        (b'{"action":"stop"}', None),
        (b'[{"command_id": "c"}]', "c"),
        (b'{"command_id":"c","action":"st', "c"),
        (b'{"command_id":"c","x":"' + b"x" * 70_000 + b'"}', "c"),
        (b"garbage", None),
    ],
)
def test_the_id_of_anything_is_found_wherever_it_can_be_read(payload: bytes, command_id: str | None) -> None:
    assert read_command_id(payload) == command_id


def test_a_command_goes_to_the_list_of_its_service_and_its_result_is_looked_for_there(
    redis_server: RedisServer,
) -> None:
    link = redis_server.link()
    command = make_channel_command({"action": "get_channels", "command_id": "c"})
    send_command(link, command, keys.TO_AUDIO)
    assert redis_server.cli("LRANGE", "audio:commands", "0", "-1") == command.to_json().decode()
    assert redis_server.cli("EXISTS", "sdr:commands") == "0"
    redis_server.cli("SET", "sdr:command_result:c", '{"command_id":"c","success":false,"message":"of the other"}')
    assert wait_for_result(link, "c", 0.0, keys.TO_AUDIO) is None
    redis_server.cli("SET", "audio:command_result:c", '{"command_id":"c","success":true,"message":"m"}')
    result = wait_for_result(link, "c", 5.0, keys.TO_AUDIO)
    assert result is not None
    assert result.message == "m"
    link.close()
