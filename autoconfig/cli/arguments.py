"""The arguments of the command: how they are declared and read, and how wrong ones are refused."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import NoReturn, Protocol

from ..identifiers import AutoConfigKey
from ..validation import check_header_value, check_seconds
from ..version import __version__
from .outcome import USAGE
from .output import harmless

EXIT_CODES = """\
exit codes:
  0  it went well     3  the service rejected the key
  1  it failed        4  not connected or complete in time
  2  wrong arguments  130, 143  ended by Ctrl-C, by SIGTERM
"""

FILE = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
"""How shtab completes the name of a file; its own constant is there only if it is installed."""


class Command(Protocol):
    """
    A sub-command; each is a module.

    Attributes:
        SUMMARY: What it does, in a line.
        DESCRIPTION: What it does, for its own ``--help``.
    """

    SUMMARY: str
    DESCRIPTION: str

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Declare its options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it, and return the exit code."""


class UsageError(Exception):
    """The arguments, or the environment, are such that nothing can be done. The text is for the user."""


class NoKeyError(UsageError):
    """Nothing says which auto-configuration key to use."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and hold no key that stands in the wrong place."""

    def __init__(self, **settings: object) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, formatter_class=layout, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(USAGE, f"{self.prog}: {harmless(message)} (see {self.prog} --help)\n")


def new_parser() -> tuple[Parser, argparse._SubParsersAction[Parser]]:
    """Return the parser of the whole command, and that to which the sub-commands are added."""
    parser = Parser(
        prog="autoconfig",
        description="Follow LaunchDarkly's auto-configuration stream: which environments exist,\nwith their keys.",
        epilog=f"Try it without an account:\n  autoconfig demo\n\n{EXIT_CODES}",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    return parser, commands


def add_command(commands: argparse._SubParsersAction[Parser], name: str, command: Command) -> None:
    """Declare a sub-command and its options, those that all have included."""
    parser = commands.add_parser(name, help=command.SUMMARY, description=command.DESCRIPTION)
    command.add_options(parser)
    parser.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="show on stderr what the library logs: -v what happens (INFO), -vv every detail (DEBUG)",
    )


def add_reveal_option(parser: argparse.ArgumentParser) -> None:
    """Declare the option of all commands that show keys."""
    parser.add_argument(
        "--reveal", action="store_true", help="show keys in full; without it they are masked, as in sdk-…9f2a"
    )


def parse(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments; for a wrong one, say so and end the program (``SystemExit``)."""
    options, strange = parser.parse_known_args(argv)
    unknown = [one.partition("=")[0] for one in strange if one.startswith("-")]
    if unknown:
        parser.error(f"{options.command} has no option {unknown[0]}")
    if strange:
        parser.error(f"{options.command} was given one argument too many, which is not shown: it may be a key")
    return options


def checked_key(named: str, key: str) -> AutoConfigKey:
    """Return the key; if no header could carry it, that is a :class:`UsageError`."""
    try:
        check_header_value(named, key)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return AutoConfigKey(key)


def seconds(text: str) -> float:
    """Read an option that is a number of seconds; its error, unlike argparse's own, does not repeat the text."""
    try:
        return check_seconds("it", float(text))
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number of seconds above zero") from None


def host(text: str) -> str:
    """Read an option that is a host's name or address."""
    try:
        text.encode("idna")
    except UnicodeError:
        raise argparse.ArgumentTypeError("must be a host's name or address") from None
    if not text:
        raise argparse.ArgumentTypeError("must not be empty; 0.0.0.0 stands for all addresses")
    return text


def port(text: str) -> int:
    """Read an option that is a port."""
    number = float(text) if text.isdecimal() else math.nan
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError("must be a port from 0 to 65535")
    return int(number)
