"""``herald``: one command for everything. Each subcommand is imported only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from app_core import __version__
from services.runner import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE

COMMANDS = {
    "demo": ("services.demo", "a station on a bare machine: generated radio, a tornado warning within 30 s"),
    "decode": ("services.decode_command", "print the SAME headers of audio files, raw PCM or recordings of IQ"),
    "encode": ("services.encode_command", "make the audio of a SAME message, for tests; never for the air"),
    "demod": ("services.demod_command", "one channel of a recording of IQ as sound: narrow and broadcast FM, AM, SSB"),
    "sdr": ("services.sdr_service", "run the SDR service: receivers to Redis"),
    "audio": ("services.audio_service", "run the audio service: Redis to alerts"),
    "synth": ("services.synth_command", "generate a station: to a SigMF recording, or live as a dongle"),
    "command": ("services.command_command", "send a command: to a receiver (tune, capture, ...) or to the channels"),
    "status": ("services.status_command", "how the station is: live, the first broken stage in red"),
    "healthcheck": ("services.healthcheck", "end with 0 only when fresh samples or fresh audio flow"),
    "devices": ("services.devices_command", "list the SoapySDR devices and what each can do"),
    "doctor": ("services.doctor_command", "what is wrong on this machine and in the settings, and what mends it"),
    "config": ("services.config_command", "check the configuration and print the effective one"),
}


def usage() -> str:
    """Give the text of ``herald --help``."""
    lines = [f"  {name:<11} {text}" for name, (_, text) in COMMANDS.items()]
    return "usage: herald COMMAND [...]\n\n" + "\n".join(lines) + "\n\nherald COMMAND --help tells more."


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return EXIT_OK if arguments else EXIT_USAGE
    if arguments[0] == "--version":
        print(f"herald {__version__}")
        return EXIT_OK
    if arguments[0] not in COMMANDS:
        print(f"herald: no command {arguments[0]!r}\n{usage()}", file=sys.stderr)
        return EXIT_USAGE
    try:
        module = importlib.import_module(COMMANDS[arguments[0]][0])
        code: int = module.main(arguments[1:])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
