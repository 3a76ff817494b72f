"""The environments of ``autoconfig snapshot`` without rich: as a table, and one below the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..environments import EnvironmentParams
from .output import printable
from .params import expiring_keys
from .wording import Show, duration, moment, title

_HEADS = ["Project", "Environment", "ID", "SDK key", "Mobile key", "TTL", "Secure", "Expiring"]


def table_lines(environments: Sequence[EnvironmentParams], show: Show) -> Iterator[str]:
    """Yield a line for each environment, with nothing cut, for files and other programs."""
    rows = [_HEADS]
    for params in environments:
        names = params.identifiers
        cells = [names.proj_name or names.proj_key, names.env_name or names.env_key, *_properties(params, show)]
        rows.append([printable(cell) or "-" for cell in cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def blocks(environments: Sequence[EnvironmentParams], show: Show) -> Iterator[str]:
    """Yield lines of which none is longer than a key, for terminals on which keys in full have no room in a table."""
    for params in environments:
        yield title(params)
        for head, value in zip(_HEADS[2:], _properties(params, show), strict=True):
            if value:
                yield f"  {head:10}  {printable(value)}"
        yield ""


def _properties(params: EnvironmentParams, show: Show) -> list[str]:
    """Return the texts of the columns from the id on."""
    return [
        params.env_id,
        show(params.sdk_key),
        show(params.mobile_key),
        duration(params.ttl) if params.ttl else "none",
        "yes" if params.secure_mode else "no",
        ", ".join(f"{show(value)} until {moment(end)}" for value, end in expiring_keys(params)),
    ]
