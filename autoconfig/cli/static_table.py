"""The table of ``autoconfig snapshot`` on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from ..environments import EnvironmentParams
from .grid import Grid, GridRow
from .wording import Show


def print_environments(environments: Iterable[EnvironmentParams], show: Show) -> None:
    """Print a row for each environment."""
    console = Console(highlight=False, markup=False, emoji=False)
    grid = Grid(show, console.width)
    console.print(grid.table([GridRow(one, _secure(one)) for one in environments], "Secure"))


def _secure(params: EnvironmentParams) -> Text:
    return Text("yes", "green") if params.secure_mode else Text("no", "dim")
