"""What the commands that a person types have in common: numbers, standard input, how they end.

Convention: frequencies and rates may be written ``162.55M``, ``12.5k`` or ``162550000``.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence

STANDARD_INPUT = "-"
_MULTIPLIERS = {"k": 1e3, "M": 1e6, "G": 1e9}


def hertz(text: str) -> float:
    """Read a positive frequency or rate: ``162550000``, ``162.55M``, ``250k``."""
    multiplier = _MULTIPLIERS.get(text[-1:], 1.0)
    number = float(text[:-1] if text[-1:] in _MULTIPLIERS else text) * multiplier
    if not 0.0 < number <= 1e12 or not math.isfinite(number):
        raise ValueError(text)
    return number


def offset_hertz(text: str) -> float:
    """Read a distance between frequencies: ``-25k``, ``+12.5 kHz``, ``0``."""
    sign = -1.0 if text.startswith("-") else 1.0
    number = text.lstrip("+-").removesuffix("Hz").replace(" ", "")
    return 0.0 if number == "0" else sign * hertz(number)


def channel_hertz(text: str) -> float:
    """Read a channel's frequency, and say so when it was written in megahertz."""
    number = hertz(text)
    if number < 10_000.0:
        raise argparse.ArgumentTypeError(f"{text} Hz is no radio channel; is {text}M meant?")
    return number


def with_negative_values(argv: Sequence[str] | None, option: str) -> list[str]:
    """Let a value that begins with a minus sign and a digit follow `option`, which argparse takes for another option.

    Parameters
    ----------
    argv
        The arguments; None for the program's own.
    option
        Its name: ``--offset``.

    Returns
    -------
    argv
        With ``--offset -25k`` as ``--offset=-25k``.
    """
    joined: list[str] = []
    for argument in sys.argv[1:] if argv is None else argv:
        is_number = argument.startswith("-") and argument[1:2] in set("0123456789.")
        if is_number and joined and joined[-1] == option and "--" not in joined:
            joined[-1] = f"{option}={argument}"
        else:
            joined.append(argument)
    return joined


def piped_input() -> int:
    """Give the file descriptor of standard input.

    Raises
    ------
    ConfigError
        If it is a terminal, or there is none.
    """
    if sys.stdin is None or sys.stdin.isatty():
        from app_core.base.errors import ConfigError

        raise ConfigError("is a terminal: pipe samples into it")
    return sys.stdin.fileno()


def tell_unreadable(command: str, name: str, error: Exception) -> None:
    """Say on standard error why `name` cannot be read."""
    from services.decode_output import printable

    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    shown = "standard input" if name == STANDARD_INPUT else printable(name)
    # Errors of IQ files begin with the file's name themselves.
    sys.stderr.write(f"{command}: {shown}: {printable(reason.removeprefix(f'{name}: '))}\n")


def drop_output() -> None:
    """Throw away what is still in standard output's buffer: it would fail once more at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(run: Callable[[], int]) -> int:
    """Run a command. A reader that goes away and Ctrl-C end it without a word, with a shell's exit codes for them."""
    try:
        return run()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        drop_output()
        return 128 + signal.SIGPIPE
