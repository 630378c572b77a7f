"""Commands to the services: the list ``sdr:commands`` and the results ``sdr:command_result:{command_id}``.

A user LPUSHes; `app_core.bridge.command_list` takes from the other end. This module says what a command is, what is
refused and in which words, and what a result is. What the audio service is asked for stands beside it, in
`app_core.bridge.audio_commands`; everything but the actions and their arguments is the same for both.

Whatever is pushed gets an answer under its ``command_id``, malformed things too wherever an id can be read in them.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeVar

import orjson
from pydantic import AfterValidator, Field, ValidationError, model_validator

from app_core.base.errors import WireError
from app_core.bridge import keys
from app_core.bridge.connection import RedisLink
from app_core.bridge.health import read_message
from app_core.bridge.messages import FrequencyHz, Identifier, Message, Seconds

log = logging.getLogger(__name__)

Action = Literal["start", "stop", "restart", "tune", "gain", "capture", "get_spectrum"]
ACTIONS: tuple[Action, ...] = ("start", "stop", "restart", "tune", "gain", "capture", "get_spectrum")

MAX_COMMAND_BYTES = 65_536
"""Longest command that is looked at."""

REMEMBERED_S = 600.0
"""How long the result of a command is remembered, so that the same id is not carried out twice. [seconds]"""

MAX_REMEMBERED = 10_000
MAX_REMEMBERED_BYTES = 16 * 1024 * 1024
"""Beyond these the oldest results are forgotten before their time."""

_POLL_S = 0.02

_COMMAND_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:\-]{0,127}")
_ID_IN_TEXT = re.compile(rb'"command_id"\s*:\s*"([A-Za-z0-9][A-Za-z0-9_.:\-]{0,127})"')
_SEARCHED_BYTES = 4096

_ARGUMENT: dict[str, str] = {"tune": "frequency_hz", "gain": "gain_db", "capture": "seconds"}


def check_command_id(command_id: str) -> str:
    """Give a command's id back when it may stand in a key.

    Raises
    ------
    ValueError
        If it is not 1 to 128 letters, digits, dots, colons, dashes and underlines, beginning with a letter or digit.
    """
    if not _COMMAND_ID.fullmatch(command_id):
        raise ValueError("must be 1 to 128 letters, digits, '.', ':', '-', '_', beginning with a letter or digit")
    return command_id


def new_command_id(prefix: str = "cmd") -> str:
    """Make an id that nobody has used."""
    return f"{prefix}-{uuid.uuid4().hex}"


CommandId = Annotated[str, AfterValidator(check_command_id)]


class CommandMessage(Message):
    """One command.

    Attributes
    ----------
    expires_at
        Not carried out after this. [UTC seconds]
    frequency_hz, frequency_correction_ppm
        Of ``tune``; the correction only when it shall change, too. [Hz; parts per million]
    gain_db
        Of ``gain``.
    seconds, start_timestamp, label, reason
        Of ``capture``: its length, its start (None: now; it may be in the past), and what is written in its annotation.
        [seconds; UTC seconds]
    automatic
        A capture that nobody asked for by hand: it is removed when the folder of captures is full.
    """

    max_bytes: ClassVar[int] = MAX_COMMAND_BYTES

    action: Action
    receiver_id: Identifier
    command_id: CommandId = Field(default_factory=lambda: new_command_id("unnamed"))
    expires_at: Seconds | None = None
    frequency_hz: FrequencyHz | None = None
    frequency_correction_ppm: Annotated[float, Field(ge=-1000.0, le=1000.0)] | None = None
    gain_db: Annotated[float, Field(ge=-200.0, le=200.0)] | Literal["auto"] | None = None
    seconds: Annotated[float, Field(gt=0.0, le=86_400.0)] | None = None
    start_timestamp: Seconds | None = None
    label: Annotated[str, Field(max_length=200)] | None = None
    reason: Annotated[str, Field(max_length=2000)] | None = None
    automatic: bool = False

    @model_validator(mode="after")
    def _check_argument(self) -> Self:
        name = _ARGUMENT.get(self.action)
        if name is not None and getattr(self, name) is None:
            raise ValueError(f"{self.action} needs {name}")
        return self

    def to_json(self) -> bytes:
        """Write the message as UTF-8 JSON, without what is not said."""
        return orjson.dumps(self.model_dump(exclude_none=True, exclude_defaults=True) | {"command_id": self.command_id})


class AnyCommand(Protocol):
    """What the commands to both services have in common."""

    @property
    def command_id(self) -> str:
        """Under which its result stands."""
        ...

    def to_json(self) -> bytes:
        """Write it as UTF-8 JSON."""
        ...


C = TypeVar("C", bound=AnyCommand)
M = TypeVar("M", bound=Message)


class CommandResultMessage(Message):
    """What became of a command: the key of its result, such as ``sdr:command_result:{command_id}``."""

    command_id: CommandId
    success: bool
    message: str
    result: dict[str, Any] | None = None

    def to_json(self) -> bytes:
        """Write the message as UTF-8 JSON; `result` is there only where there is one."""
        return orjson.dumps(self.model_dump(exclude={"result"} if self.result is None else None))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A thing on the list that is no command.

    Attributes
    ----------
    command_id
        None when none can be read in it.
    message
        Why it is none, in words.
    """

    command_id: str | None
    message: str


def read_command(payload: bytes) -> CommandMessage | Refusal:
    """Read what stood on the list of the SDR service; it may be anything."""
    return read_command_as(payload, make_command)


def read_command_id(payload: bytes) -> str | None:
    """Find the id of what stood on a list, command or not; None when none can be read in it."""
    try:
        document = orjson.loads(payload) if len(payload) <= MAX_COMMAND_BYTES else None
    except orjson.JSONDecodeError:
        document = None
    return _id_of(document.get("command_id")) if isinstance(document, dict) else _id_in_text(payload)


def read_command_as(payload: bytes, make: Callable[[dict[str, Any]], C]) -> C | Refusal:
    """Read what stood on a list; it may be anything.

    Parameters
    ----------
    payload
        What stood there.
    make
        Makes a command of its fields; a `WireError` says in words what is wrong.
    """
    if len(payload) > MAX_COMMAND_BYTES:
        return Refusal(_id_in_text(payload), f"a command of {len(payload)} bytes is longer than {MAX_COMMAND_BYTES}")
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return Refusal(_id_in_text(payload), f"the command is not JSON: {error}")
    if not isinstance(document, dict):
        return Refusal(_id_in_text(payload), f"a command is a JSON object, not {_kind_of(document)}")
    if document.get("command_id") is None:
        # Every command gets a result: one without a name is given one, which the log tells.
        document["command_id"] = new_command_id("unnamed")
        log.info("a command without command_id is called %s", document["command_id"])
    try:
        return make(document)
    except WireError as error:
        return Refusal(_id_of(document["command_id"]), str(error))


def make_command(fields: dict[str, Any]) -> CommandMessage:
    """Make a command to the SDR service of its fields.

    Raises
    ------
    WireError
        If one is missing or wrong; the text says which, in words for the one who sent it.
    """
    return validate_command(CommandMessage, fields, ACTIONS)


def validate_command(kind: type[M], fields: dict[str, Any], actions: Sequence[str]) -> M:
    """Make a command of any kind of its fields; `actions` are those that are known.

    Raises
    ------
    WireError
        As `make_command`.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise WireError(_explain(fields, error, actions)) from error


def _explain(document: dict[str, Any], error: ValidationError, actions: Sequence[str]) -> str:
    """Say in words what is wrong with a command: its first problem."""
    problem = error.errors(include_url=False, include_input=False)[0]
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "missing":
        return f"the command lacks {name}"
    if name == "action":
        return f"unknown action {_shown(document['action'])}; known are {', '.join(actions)}"
    if name == "gain_db":
        return f'gain_db must be -200 to 200 dB or "auto", not {_shown(document["gain_db"])}'
    if problem["type"] in ("int_type", "float_type"):
        return f"{name} must be a number, not {_shown(document[name])}"
    if problem["type"] == "dict_type":
        return f"{name} must be an object, not {_shown(document[name])}"
    if problem["type"] == "string_type":
        return f"{name} must be a string, not {_shown(document[name])}"
    text = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {text}" if name else text


def _kind_of(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


def _shown(value: object) -> str:
    """Quote a value that can be quoted; what is nested may be nested deeper than Python can print."""
    return repr(value)[:80] if isinstance(value, str | int | float) else _kind_of(value)


def _id_of(command_id: object) -> str | None:
    """Give an id that can stand in a key; a number is taken for its digits, since its sender will look there."""
    text = str(command_id) if isinstance(command_id, str | int) and not isinstance(command_id, bool) else ""
    return text if _COMMAND_ID.fullmatch(text) else None


def _id_in_text(payload: bytes) -> str | None:
    """Find an id in what cannot be parsed, or is too long to be; only its ends are searched."""
    found = _ID_IN_TEXT.search(payload[:_SEARCHED_BYTES]) or _ID_IN_TEXT.search(payload[-_SEARCHED_BYTES:])
    return found[1].decode("ascii") if found else None


class ResultMemory:
    """Commands that are under way or done, by id; not for several threads at once.

    Parameters
    ----------
    monotonic
        Clock. [seconds]
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._results: OrderedDict[str, tuple[float, bytes | None]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._results)

    def knows(self, command_id: str) -> bool:
        """Whether the command is under way, or done (`find`)."""
        self._forget()
        return command_id in self._results

    def begin(self, command_id: str) -> None:
        """Note a command that is under way."""
        self._results[command_id] = (self._monotonic(), None)

    def find(self, command_id: str) -> bytes | None:
        """Give the result of a command; None while it is under way, or when it is not known."""
        return self._results.get(command_id, (0.0, None))[1]

    def finish(self, command_id: str, result: bytes) -> None:
        """Keep the result of a command; the time for which it is remembered begins now."""
        self.cancel(command_id)
        self._results[command_id] = (self._monotonic(), result)
        self._bytes += len(result)
        self._forget()

    def cancel(self, command_id: str) -> None:
        """Forget a command: it was not carried out, and may come again."""
        _, result = self._results.pop(command_id, (0.0, None))
        self._bytes -= len(result or b"")

    def _forget(self) -> None:
        oldest_s = self._monotonic() - REMEMBERED_S
        while self._results:
            command_id, (noted_s, _) = next(iter(self._results.items()))
            too_many = len(self._results) > MAX_REMEMBERED or self._bytes > MAX_REMEMBERED_BYTES
            if noted_s >= oldest_s and not too_many:
                return
            self.cancel(command_id)


def send_command(link: RedisLink, command: AnyCommand, names: keys.CommandKeys = keys.TO_SDR) -> None:
    """Push one command onto the list of a service.

    Raises
    ------
    LinkError
        If Redis did not take it.
    """
    payload = command.to_json()
    link.call(lambda client: client.lpush(names.commands, payload))


def wait_for_result(
    link: RedisLink, command_id: str, timeout_s: float, names: keys.CommandKeys = keys.TO_SDR
) -> CommandResultMessage | None:
    """Give the result of a command; None when there is none within `timeout_s`.

    Raises
    ------
    LinkError
        If Redis cannot be reached.
    WireError
        If the key holds something else.
    """
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        result = read_message(link, names.result(command_id), CommandResultMessage)
        if result is not None and result.command_id != command_id:
            raise WireError(f"the result of {command_id} is that of {result.command_id}")
        if result is not None or time.monotonic() > deadline_s:
            return result
        pause.wait(_POLL_S)
