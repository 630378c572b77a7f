"""``herald decode``: print the SAME headers of audio files, of raw PCM on standard input, or of recordings of IQ."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.command_line import (
    STANDARD_INPUT,
    channel_hertz,
    drop_output,
    exit_code,
    hertz,
    piped_input,
    tell_unreadable,
)
from services.runner import EXIT_FAILED, EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    from app_core.audio.heard import Recording
    from services.decode_output import Output
    from services.decode_plot import FirstMessage

EXIT_UNREADABLE = EXIT_USAGE
"""Something could not be read; the reason is on standard error."""

DESCRIPTION = """\
Print the SAME headers of recordings. Audio may be of any format; every channel of a file is decoded on its own.
Recordings of IQ are SigMF, or raw with --iq-format, --sample-rate and --center-frequency."""

EXAMPLES = """\
examples:
  herald decode *.wav
  rtl_fm -f 162.550M -s 22050 | herald decode - --rate 22050
  herald decode --bursts --plot why.png weak.wav
  herald decode --json --channel 162.475M capture.sigmf-meta
  rtl_sdr -f 162475000 -s 250000 - | herald decode - --iq-format cu8 --sample-rate 250k --center-frequency 162.475M

exit code: 0 when everything was read, 2 when something could not be read. Names that begin with a dash: ./-name"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends the program with exit code 2 when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="herald decode",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a recording, or - for standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="'== FILE', then bare headers and NNNN")
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--bursts", action="store_true", help="every burst and tone, and how sure each character is")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the first message of a file of audio")
    parser.add_argument("--language", choices=("en", "es"), default="en", help="of the text (default: en)")
    parser.add_argument("--rate", type=hertz, metavar="HZ", help="rate of raw s16le mono PCM on standard input")
    iq = parser.add_argument_group("recordings of IQ")
    iq.add_argument("--iq-format", choices=("cf32", "cs16", "cu8"), help="the files are raw IQ of this format")
    iq.add_argument("--sample-rate", type=hertz, metavar="HZ", help="of the IQ; wins over what SigMF says")
    iq.add_argument("--center-frequency", type=hertz, metavar="HZ", help="of the IQ; wins over what SigMF says")
    iq.add_argument(
        "--channel",
        type=channel_hertz,
        metavar="HZ",
        action="append",
        default=[],
        help="frequency to decode, any number of times; without it every NWR channel in the band",
    )
    arguments = parser.parse_args(argv)
    if arguments.raw and arguments.bursts:
        parser.error("--raw prints headers and NNNN only; --bursts goes with the plain form or with --json")
    if arguments.plot is not None and (len(arguments.files) > 1 or STANDARD_INPUT in arguments.files):
        parser.error("--plot draws one FILE, and not standard input: name one, or save the samples to a file first")
    if arguments.plot is not None and (arguments.iq_format is not None or is_sigmf(Path(arguments.files[0]))):
        parser.error("--plot draws audio: make some of the IQ with herald demod FILE --frequency HZ -o NAME.wav first")
    if arguments.files.count(STANDARD_INPUT) > 1:
        parser.error("standard input (-) can be read only once")
    if arguments.iq_format is not None and None in (arguments.sample_rate, arguments.center_frequency):
        parser.error("--iq-format needs --sample-rate HZ and --center-frequency HZ, too")
    if STANDARD_INPUT in arguments.files and arguments.rate is None and arguments.iq_format is None:
        parser.error("- needs the rate of its PCM, for example --rate 22050 behind rtl_fm -s 22050")
    if arguments.rate is not None and STANDARD_INPUT not in arguments.files:
        parser.error("--rate is for raw PCM on standard input: herald decode - --rate HZ < FILE")
    return arguments


class OutputError(Exception):
    """Standard output cannot be written, which is not the recording's fault."""


@contextmanager
def _blamed_on_output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(error.strerror) from error


def open_recording(name: str, arguments: argparse.Namespace) -> Recording:
    """Open whatever `name` is.

    Raises
    ------
    HeraldError, OSError
        If it cannot be read.
    """
    from app_core.audio.decode_sound import open_raw_pcm, open_sound_recording
    from app_core.base.errors import ConfigError

    iq_options = {
        "sample_rate_hz": arguments.sample_rate,
        "center_frequency_hz": arguments.center_frequency,
        "channels_hz": arguments.channel,
    }
    if name == STANDARD_INPUT:
        if arguments.iq_format is None:
            return open_raw_pcm(piped_input(), arguments.rate)
        from app_core.audio.decode_iq import open_raw_iq

        return open_raw_iq(piped_input(), iq_format=arguments.iq_format, **iq_options)
    path = Path(name)
    if arguments.iq_format is not None or is_sigmf(path):
        from app_core.audio.decode_iq import open_iq_recording

        return open_iq_recording(path, iq_format=None if is_sigmf(path) else arguments.iq_format, **iq_options)
    if any(iq_options.values()):
        path.stat()
        raise ConfigError("is not a SigMF recording: raw IQ needs --iq-format cf32, cs16 or cu8, too")
    return open_sound_recording(path)


def is_sigmf(path: Path) -> bool:
    """Whether a name means a SigMF recording: either of its files, or their common stem."""
    if path.suffix in (".sigmf-meta", ".sigmf-data"):
        return True
    return not path.exists() and path.with_name(path.name + ".sigmf-meta").is_file()


def decode(name: str, arguments: argparse.Namespace, output: Output, message: FirstMessage | None = None) -> None:
    """Decode one recording; `message` is told of all that is heard, too.

    Raises
    ------
    HeraldError, OSError
        If it cannot be read, or not to its end.
    """
    from services.decode_output import ProgressLine

    recording = open_recording(name, arguments)
    progress = ProgressLine(name, recording.duration_s)
    try:
        with _blamed_on_output():
            output.begin(name, recording)
        position_s = 0.0
        for step in recording.steps():
            position_s = step.position_s
            if step.heard:
                progress.hide()
            with _blamed_on_output():
                for heard in step.heard:
                    output.tell(heard)
            if message is not None:
                message.take(step.heard)
            progress.show(position_s)
        progress.hide()
        with _blamed_on_output():
            output.end(position_s)
    finally:
        progress.hide()
        recording.close()


def decode_and_draw(name: str, arguments: argparse.Namespace, output: Output) -> None:
    """Decode a file of audio, and draw its first message.

    Raises
    ------
    HeraldError, OSError
        If it cannot be read, or not to its end, or the picture cannot be drawn or written.
    """
    from services.decode_plot import FirstMessage, draw_message, require_matplotlib

    require_matplotlib()
    message = FirstMessage()
    decode(name, arguments, output, message)
    draw_message(Path(name), message, arguments.plot)


def run(arguments: argparse.Namespace) -> int:
    """Decode everything that was named; what cannot be read is told, and the next one begun."""
    from app_core.base.errors import HeraldError
    from services.decode_output import JsonOutput, PlainOutput, RawOutput

    # A terminal that cannot show a place's name shall still show the rest.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    options = {"bursts": arguments.bursts, "language": arguments.language}
    output: Output = (
        RawOutput(sys.stdout)
        if arguments.raw
        else (JsonOutput if arguments.json else PlainOutput)(sys.stdout, **options)
    )
    code = EXIT_OK
    for name in arguments.files:
        try:
            if arguments.plot is None:
                decode(name, arguments, output)
            else:
                decode_and_draw(name, arguments, output)
        except BrokenPipeError:
            raise
        except OutputError as error:
            print(f"herald decode: standard output: {error}", file=sys.stderr)
            drop_output()
            return EXIT_FAILED
        except (HeraldError, OSError) as error:
            tell_unreadable("herald decode", name, error)
            code = EXIT_UNREADABLE
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    arguments = parse_arguments(argv)
    return exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
