"""Bar charts of the medians as SVG, readable on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from xml.sax.saxutils import escape

from .clients import OURS
from .results import Stat, Summary
from .scenarios import Scenario
from .tables import TITLES

_LEFT, _BAR, _RIGHT = 240, 380, 100  # px: names, bars, figures
_ROW, _TOP = 26, 44
_OURS, _OTHERS, _TEXT = "#2f7fd0", "#9aa3ad", "#7a828c"
_TOO_FAR = 30  # times the smallest value: then the scale is logarithmic
_TITLES = {
    "put-10000": "A put of 10,000 environments",
    "put-100000": "A put of 100,000 environments",
    "stall": "Longest stall of another thread during a put of 100,000",
    "burst": "100,000 patches in a burst",
    "single": "100,000 patches in a burst, one event a chunk",
    "paced-2000": "From sending to callback, 2,000 patches/s",
    "paced-200": "From sending to callback, 200 patches/s",
}


def draw(folder: Path, scenarios: Iterable[Scenario], summary: Summary) -> None:
    """Write one chart for each scenario that has a title; the first metric, and the peak memory of the largest put."""
    folder.mkdir(parents=True, exist_ok=True)
    for scenario in scenarios:
        if not (title := _TITLES.get(scenario.name)):
            continue
        metrics = scenario.metrics[:1] + (("peak",) if scenario.name == "put-100000" else ())
        for metric in metrics:
            rows = [(client, summary.get((scenario.name, client, metric))) for client in scenario.clients]
            if measured := [(client, stat) for client, stat in rows if stat]:
                name = scenario.name if metric == scenario.metrics[0] else f"{scenario.name}-{metric}"
                (folder / f"{name}.svg").write_text(chart(f"{title}, {TITLES[metric]}", measured))


def chart(title: str, rows: list[tuple[str, Stat]]) -> str:
    """Return a bar for each row, up to the median."""
    rows = sorted(rows, key=lambda row: row[1].median)
    least, most = rows[0][1].median, max(stat.most for _, stat in rows)
    logarithmic = most > _TOO_FAR * least > 0

    def place(value: float) -> float:
        share = math.log(value / least * 2) / math.log(most / least * 2) if logarithmic else value / (most or 1)
        return max(1.0, share * _BAR)

    width, height = _LEFT + _BAR + _RIGHT, _TOP + _ROW * len(rows) + 12
    heading = f"{title}{', logarithmic' if logarithmic else ''}"
    bars = [_bar(_TOP + _ROW * number, client, stat, place) for number, (client, stat) in enumerate(rows)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="system-ui, sans-serif" font-size="13" fill="{_TEXT}">',
            f"<title>{escape(heading)}</title>",
            f'<text x="8" y="22" font-weight="600">{escape(heading)}</text>',
            *bars,
            "</svg>\n",
        ]
    )


def _bar(y: int, client: str, stat: Stat, place: Callable[[float], float]) -> str:
    """Return a bar up to the median, and a line from the least to the greatest value."""
    middle = y + _ROW / 2
    end = _LEFT + place(stat.median)
    value = f"{stat.median:.3g}" if stat.median < 1000 else f"{stat.median:.0f}"
    return (
        f'<text x="{_LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(client)}</text>'
        f'<rect x="{_LEFT}" y="{y + 4}" width="{end - _LEFT:.1f}" height="{_ROW - 8}" rx="2" '
        f'fill="{_OURS if client == OURS else _OTHERS}"/>'
        f'<path d="M{_LEFT + place(stat.least):.1f} {middle}H{_LEFT + place(stat.most):.1f}" stroke="{_TEXT}"/>'
        f'<text x="{_LEFT + place(stat.most) + 8:.1f}" y="{middle + 4}">{value}</text>'
    )
