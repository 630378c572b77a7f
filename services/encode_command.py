"""``herald encode``: a SAME message as a sound file or as raw PCM: header, attention signal, voice, end of message."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from services.command_line import exit_code
from services.runner import EXIT_FAILED, EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app_core.eas.encoder import Transmission
    from app_core.eas.header import SameHeader

WARNING = (
    "Warning: never put this on the air, nor into anything that may be broadcast. Sending false EAS codes or attention "
    "signals is against the law (47 CFR 11.45)."
)

STANDARD_OUTPUT = "-"
SOUND_FORMATS = {".wav": "WAV", ".w64": "W64", ".flac": "FLAC"}
_SHORTEST_TONE_S, _LONGEST_TONE_S = 8.0, 25.0
_DURATION = re.compile(r"(?:(?P<hours>\d{1,2})h)?(?:(?P<minutes>\d{1,4})m?)?")
_VOICE = "en-us"

DESCRIPTION = f"""\
Make the audio of a SAME message, for tests of receivers and decoders on your own bench: three header bursts, the
attention signal, a voice, three ends of message, by 47 CFR 11.31.

{WARNING}"""

EXAMPLES = """\
examples:
  herald encode ZCZC-WXR-RWT-029095+0030-1231200-KEAX/NWS- -o test.wav
  herald encode --event DMO --location "Jackson, Missouri" --for 45m --say "This is a test." -o test.flac
  herald encode --event RWT --location 029095 -o - | herald decode - --rate 24000

exit code: 0 when it was written, 1 when the output cannot be written, 2 when the message makes no sense"""


def minutes_of(text: str) -> int:
    """Read a duration: ``45``, ``45m``, ``2h``, ``1h30m``. [minutes]"""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 45m, 2h or 1h30m")
    return 60 * int(match["hours"] or 0) + int(match["minutes"] or 0)


def time_of(text: str) -> datetime:
    """Read a time in ISO 8601; one without a zone is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 2026-05-03T12:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends the program with exit code 2 when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="herald encode",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("header", nargs="?", metavar="HEADER", help="from ZCZC to the last dash")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="OUT.wav, .w64 or .flac, or -")
    fields = parser.add_argument_group("the header, instead of HEADER")
    fields.add_argument("--originator", metavar="ORG", help="WXR, EAS, CIV or PEP (default: EAS)")
    fields.add_argument("--event", metavar="EEE", help="event code (default: DMO, a demonstration)")
    fields.add_argument("--location", action="append", default=[], metavar="PLACE", help="PSSCCC or a name; several")
    fields.add_argument("--for", dest="minutes", type=minutes_of, metavar="TIME", help="how long (default: 30m)")
    fields.add_argument("--at", type=time_of, metavar="TIME", help="time of issue, ISO 8601 (default: now)")
    fields.add_argument("--callsign", metavar="CALL", help="of the sender (default: HERALD)")
    sound = parser.add_argument_group("the sound")
    sound.add_argument("--attention", choices=("nwr", "eas", "none"), help="default: nwr for WXR, else eas")
    sound.add_argument("--attention-seconds", type=float, default=8.0, metavar="S", help="8 to 25 (default: 8)")
    voice = sound.add_mutually_exclusive_group()
    voice.add_argument("--voice", type=Path, metavar="FILE", help="audio of the message, of any format")
    voice.add_argument("--say", metavar="TEXT", help="text of the message, spoken by espeak-ng where there is one")
    sound.add_argument("--without-end", action="store_true", help="leave the end of message out")
    sound.add_argument("--level", type=float, default=-8.0, metavar="DBFS", help="peak of the bursts (default: -8)")
    sound.add_argument("--silence", type=float, default=1.0, metavar="S", help="before and behind (default: 1)")
    sound.add_argument("--rate", type=int, default=24_000, metavar="HZ", help="8000 to 192000 (default: 24000)")
    arguments = parser.parse_args(argv)
    _check(parser, arguments)
    return arguments


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    named = (arguments.originator, arguments.event, arguments.minutes, arguments.at, arguments.callsign)
    if arguments.header is not None and (arguments.location or any(value is not None for value in named)):
        parser.error("the whole HEADER is given: leave out --originator, --event, --location, --for, --at, --callsign")
    if arguments.header is None and not arguments.location:
        parser.error("name a HEADER, or at least one --location")
    if arguments.output != STANDARD_OUTPUT and Path(arguments.output).suffix.lower() not in SOUND_FORMATS:
        parser.error(f"-o must end in {', '.join(SOUND_FORMATS)}, or be - for raw PCM on standard output")
    if not _SHORTEST_TONE_S <= arguments.attention_seconds <= _LONGEST_TONE_S:
        parser.error(f"an attention signal lasts {_SHORTEST_TONE_S:.0f} to {_LONGEST_TONE_S:.0f} s (47 CFR 11.31(c))")
    if not 8_000 <= arguments.rate <= 192_000:
        parser.error("--rate must be within 8000 to 192000")
    if not -100.0 <= arguments.level <= 0.0:
        parser.error("--level is in dB below full scale: -100 to 0")
    if not 0.0 <= arguments.silence <= 3600.0:
        parser.error("--silence must be within 0 to 3600 s")


def header_of(arguments: argparse.Namespace) -> SameHeader:
    """Make the header that the command line describes.

    Raises
    ------
    ConfigError, WireError, ValueError
        If it describes none; the text says why.
    """
    from app_core.eas.header import make_header, parse_header
    from app_core.eas.locations import parse_area

    if arguments.header is not None:
        return parse_header(arguments.header)
    return make_header(
        arguments.originator or "EAS",
        arguments.event or "DMO",
        tuple(parse_area(place) for place in arguments.location),
        purge_minutes=30 if arguments.minutes is None else arguments.minutes,
        issued=arguments.at or datetime.now(UTC),
        callsign="HERALD" if arguments.callsign is None else arguments.callsign,
    )


def voice_pcm(arguments: argparse.Namespace) -> NDArray[np.float32] | None:
    """Give the voice at the rate asked for, shape (n,); None where there is to be none.

    Raises
    ------
    OSError, WireError, ConfigError
        If its file cannot be read.
    """
    import numpy as np

    if arguments.say is not None:
        from app_core.synth.speech import speak

        pcm, rate_hz = speak(arguments.say, _VOICE)
        return np.clip(_resampled(pcm, rate_hz, arguments.rate), -1.0, 1.0)
    if arguments.voice is None:
        return None
    from app_core.audio.sound_file import open_sound_file

    sound = open_sound_file(arguments.voice)
    try:
        pieces = [np.zeros(0, np.float32)]
        while len(block := sound.read(1 << 16)):
            pieces.append(np.nan_to_num(block.mean(axis=1, dtype=np.float32)))
    finally:
        sound.close()
    return np.clip(_resampled(np.concatenate(pieces), round(sound.sample_rate_hz), arguments.rate), -1.0, 1.0)


def _resampled(pcm: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    if from_hz == to_hz or not len(pcm):
        return pcm
    from fractions import Fraction

    import numpy as np

    from app_core.dsp.resampler import Resampler

    ratio = Fraction(to_hz, from_hz)
    lower = min(1.0, float(ratio))
    resampler = Resampler(ratio, 0.42 * lower, 0.5 * lower, np.float32)
    return np.concatenate([resampler.push(pcm), resampler.flush()])


def encode(arguments: argparse.Namespace) -> tuple[Transmission, NDArray[np.float32]]:
    """Make the transmission, and its PCM with the silence around it, shape (n,).

    Raises
    ------
    HeraldError, OSError, ValueError
        As `header_of` and `voice_pcm`.
    """
    import numpy as np

    from app_core.eas.attention import Attention
    from app_core.eas.encoder import encode_transmission

    header = header_of(arguments)
    attention = arguments.attention or ("nwr" if header.originator == "WXR" else "eas")
    burst_level = 10.0 ** (arguments.level / 20.0)
    transmission = encode_transmission(
        header,
        arguments.rate,
        voice_pcm=voice_pcm(arguments),
        attention=Attention(attention),
        attention_s=arguments.attention_seconds,
        burst_level=burst_level,
        attention_level=burst_level,
    )
    pcm = transmission.pcm
    if arguments.without_end:
        pcm = pcm[: max(part.end_sample for part in transmission.parts if part.name != "end")]
    quiet = np.zeros(round(arguments.silence * arguments.rate), np.float32)
    return transmission, np.concatenate([quiet, pcm, quiet])


def write(pcm: NDArray[np.float32], arguments: argparse.Namespace) -> None:
    """Write the PCM, 16 bits, where it is to go.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    import numpy as np

    samples = np.rint(np.clip(pcm, -1.0, 1.0) * 32767.0).astype("<i2")
    if arguments.output == STANDARD_OUTPUT:
        sys.stdout.buffer.write(samples.tobytes())
        sys.stdout.buffer.flush()
        return
    import soundfile

    path = Path(arguments.output)
    try:
        # Opened here, so that a refusal is the system's own and says why.
        with path.open("wb+") as stream:
            soundfile.write(stream, samples, arguments.rate, "PCM_16", format=SOUND_FORMATS[path.suffix.lower()])
    except soundfile.SoundFileError as error:
        raise OSError(0, f"it takes no more ({error})") from error


def run(arguments: argparse.Namespace) -> int:
    """Encode; what goes wrong is told in words."""
    from app_core.base.errors import HeraldError
    from services.decode_output import printable

    try:
        transmission, pcm = encode(arguments)
    except (HeraldError, OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = f"{arguments.voice}: " if isinstance(error, OSError) and arguments.voice is not None else ""
        sys.stderr.write(f"herald encode: {printable(where + reason)}\n")
        return EXIT_USAGE
    try:
        write(pcm, arguments)
    except BrokenPipeError:
        raise
    except OSError as error:
        shown = "standard output" if arguments.output == STANDARD_OUTPUT else printable(arguments.output)
        sys.stderr.write(f"herald encode: {shown}: {error.strerror}\n")
        return EXIT_FAILED
    sys.stderr.write(f"{transmission.header.text}\n{len(pcm) / arguments.rate:.1f} s\n{WARNING}\n")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    arguments = parse_arguments(argv)
    return exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
