"""The command ``autoconfig``; each of its sub-commands is a module with the same name."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import completion, demo, doctor, emulate, replay, snapshot, watch
from .arguments import Command, UsageError, add_command, new_parser, parse
from .logs import library_logs
from .outcome import FAILURE, INTERRUPTED, OK, USAGE
from .output import OutputError, complain, silence
from .signals import terminable

COMMANDS: dict[str, Command] = {
    "demo": demo,
    "watch": watch,
    "snapshot": snapshot,
    "doctor": doctor,
    "replay": replay,
    "emulate": emulate,
    "completion": completion,
}


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command, and return its exit code.

    Args:
        argv: The arguments; default those of the process.

    Raises:
        SystemExit: For ``--help``, ``--version``, arguments that cannot be read, and SIGTERM.
    """
    parser, commands = new_parser()
    for name, command in COMMANDS.items():
        add_command(commands, name, command)
    options = parse(parser, argv)
    options.parser = parser  # what completion describes
    try:
        with terminable(), library_logs(options.verbose):
            return COMMANDS[options.command].run(options)
    except UsageError as error:
        complain(options.command, str(error))
        return USAGE
    except OutputError as error:
        complain(options.command, str(error))
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        silence(sys.stdout)
        return OK
