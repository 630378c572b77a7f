"""Commands as they stand on the list: what is read, what is refused in which words, and what is remembered."""

from __future__ import annotations

import threading

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.errors import WireError
from app_core.bridge import commands
from app_core.bridge.commands import (
    CommandMessage,
    CommandResultMessage,
    Refusal,
    ResultMemory,
    make_command,
    read_command,
    wait_for_result,
)
from tests.support.redis_server import RedisServer


def _refusal(payload: bytes) -> Refusal:
    refusal = read_command(payload)
    assert isinstance(refusal, Refusal)
    return refusal


def test_the_seed_s_example_is_read() -> None:
    command = read_command(b'{"action": "restart", "receiver_id": "noaa-1", "command_id": "cmd-12345"}')
    assert isinstance(command, CommandMessage)
    assert (command.action, command.receiver_id, command.command_id) == ("restart", "noaa-1", "cmd-12345")


def test_a_command_without_an_id_is_given_one_of_its_own() -> None:
    first, second = (read_command(b'{"action":"stop","receiver_id":"x"}') for _ in range(2))
    assert isinstance(first, CommandMessage)
    assert isinstance(second, CommandMessage)
    assert first.command_id.startswith("unnamed-")
    assert first.command_id != second.command_id


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"action": "dance"}, "unknown action 'dance'; known are start, stop, restart, tune, gain, capture"),
        ({"action": [[]]}, "unknown action a list"),
        ({"receiver_id": None}, "receiver_id must be a string, not null"),
        ({"receiver_id": "a/b"}, "receiver_id: not an id"),
        ({"action": "tune"}, "tune needs frequency_hz"),
        ({"action": "gain"}, "gain needs gain_db"),
        ({"action": "capture"}, "capture needs seconds"),
        ({"action": "tune", "frequency_hz": "162.55"}, "frequency_hz must be a number, not '162.55'"),
        ({"action": "tune", "frequency_hz": True}, "frequency_hz must be a number, not True"),
        ({"action": "tune", "frequency_hz": -1}, "frequency_hz: Input should be greater than or equal to 0"),
        ({"action": "gain", "gain_db": "loud"}, "gain_db must be -200 to 200 dB or \"auto\", not 'loud'"),
        ({"action": "capture", "seconds": 0}, "seconds: Input should be greater than 0"),
        ({"expires_at": "soon"}, "expires_at must be a number, not 'soon'"),
    ],
)
def test_what_is_wrong_in_a_command_is_said_in_words(fields: dict[str, object], words: str) -> None:
    refusal = _refusal(orjson.dumps({"action": "stop", "receiver_id": "x", "command_id": "c"} | fields))
    assert refusal.command_id == "c"
    assert refusal.message.startswith(words)


@pytest.mark.parametrize(
    ("payload", "command_id", "words"),
    [
        (b"", None, "not JSON"),
        (b"null", None, "not null"),
        (b"[1]", None, "not a list"),
        (b'[{"command_id": "c"}]', "c", "not a list"),
        (b'{"command_id":"c","action":"st', "c", "not JSON"),
        (b'{"command_id":"c","frequency_hz":NaN}', "c", "not JSON"),
        (b'{"command_id":"c","action":' + b"[" * 5000, "c", "depth"),
        (b'{"command_id":"c","action":"' + b"x" * 70_000 + b'"}', "c", "longer than 65536"),
        (b'{"action":"' + b"x" * 70_000 + b'","command_id":"c"}', "c", "longer than 65536"),
        (b'{"command_id":"a b","action":"stop","receiver_id":"x"}', None, "command_id: must be"),
        (b'{"command_id":17,"action":"stop","receiver_id":"x"}', "17", "command_id must be a string"),
        (b'{"command_id":true,"action":"stop","receiver_id":"x"}', None, "command_id must be a string"),
    ],
)
def test_an_id_is_found_in_what_is_no_command(payload: bytes, command_id: str | None, words: str) -> None:
    refusal = _refusal(payload)
    assert refusal.command_id == command_id
    assert words in refusal.message


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["action", "receiver_id", "command_id", "seconds", "gain_db"]), inner)).map(orjson.dumps))  # fmt: skip  # noqa: E501
def test_whatever_stands_on_the_list_is_a_command_or_a_refusal_with_words(payload: bytes) -> None:
    read = read_command(payload)
    assert isinstance(read, CommandMessage) or read.message


def test_deep_nesting_that_json_still_allows_is_refused_too() -> None:
    document = b'{"command_id":"c","receiver_id":"x","action":' + b"[" * 1000 + b"]" * 1000 + b"}"
    assert _refusal(document).message.startswith("unknown action a list")


def test_what_is_written_is_read_again_and_says_nothing_needless() -> None:
    command = make_command({"action": "gain", "receiver_id": "x", "command_id": "c", "gain_db": "auto"})
    assert orjson.loads(command.to_json()) == {
        "action": "gain",
        "receiver_id": "x",
        "command_id": "c",
        "gain_db": "auto",
    }
    assert read_command(command.to_json()) == command
    with pytest.raises(WireError, match="tune needs frequency_hz"):
        make_command({"action": "tune", "receiver_id": "x"})


def test_a_result_has_the_field_result_only_where_there_is_one() -> None:
    plain = CommandResultMessage(command_id="c", success=True, message="Receiver x restarted")
    assert orjson.loads(plain.to_json()) == {"command_id": "c", "success": True, "message": "Receiver x restarted"}
    full = CommandResultMessage(command_id="c", success=True, message="m", result={"gain_db": 3})
    assert CommandResultMessage.from_json(full.to_json()) == full


class _Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_result_is_remembered_for_ten_minutes_from_its_end() -> None:
    clock = _Clock()
    memory = ResultMemory(clock)
    memory.begin("c")
    assert memory.knows("c")
    assert memory.find("c") is None
    clock.now_s += 500.0
    memory.finish("c", b"done")
    clock.now_s += 599.0
    assert memory.knows("c")
    assert memory.find("c") == b"done"
    clock.now_s += 2.0
    assert not memory.knows("c")
    assert len(memory) == 0


def test_the_memory_of_results_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_REMEMBERED", 10)
    monkeypatch.setattr(commands, "MAX_REMEMBERED_BYTES", 1000)
    memory = ResultMemory()
    for number in range(50):
        memory.finish(f"small-{number}", b"x")
    assert len(memory) == 10
    assert memory.knows("small-49")
    for number in range(8):
        memory.finish(f"large-{number}", b"x" * 300)
    assert len(memory) == 3
    memory.cancel("large-7")
    assert not memory.knows("large-7")


def test_waiting_for_a_result_ends_when_it_comes_or_when_the_time_is_over(redis_server: RedisServer) -> None:
    link = redis_server.link()
    assert wait_for_result(link, "c", 0.05) is None
    result = CommandResultMessage(command_id="c", success=False, message="expired")
    later = threading.Timer(0.1, redis_server.cli, ("SET", "sdr:command_result:c", result.to_json().decode()))
    later.start()
    assert wait_for_result(link, "c", 20.0) == result
    later.join()
    redis_server.cli("SET", "sdr:command_result:d", result.to_json().decode())
    with pytest.raises(WireError, match="is that of c"):
        wait_for_result(link, "d", 1.0)
    link.close()
