"""``autoconfig completion``: a script that has the shell complete the command's words."""

from __future__ import annotations

import argparse

from .outcome import FAILURE, OK
from .output import complain, put_line

SUMMARY = "print a script for completion in bash, zsh or tcsh"
DESCRIPTION = """\
Print a script with which the shell completes commands, options and names of
files. To try it in bash:

  eval "$(autoconfig completion bash)"

To keep it, save it where the shell looks for such scripts:

  bash  ~/.local/share/bash-completion/completions/autoconfig
  zsh   a file _autoconfig in a directory of $fpath
  tcsh  a file that ~/.tcshrc sources"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    try:
        import shtab  # an extra
    except ImportError:
        complain("completion", "this needs shtab: pip install 'ld-autoconfig[cli]'")
        return FAILURE
    put_line(shtab.complete(options.parser, options.shell).rstrip("\n"))
    return OK
