"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .results import Results, Stat, Summary
from .scenarios import Scenario
from .targets import Verdict

TITLES = {
    "wall": "s",
    "cpu": "CPU s",
    "json_cpu": "of it json.loads",
    "peak": "peak MB",
    "peak_above": "MB above imports",
    "p50": "p50 µs",
    "p90": "p90 µs",
    "p99": "p99 µs",
    "stall": "longest stall ms",
    "fraction": "part of the bound",
    "cpu_share": "handler's part of the CPU",
    "each": "µs a call",
    "bound": "bound µs",
    "kept": "bytes an environment",
    "wakeups": "wake-ups",
    "first_cpu": "first, CPU s",
    "second_cpu": "second, CPU s",
    "calls": "calls",
    "functions": "functions",
    "files": "files",
}
_CHANGED = 0.1  # ratios nearer to 1 are noise


def report(results: Results, scenarios: Iterable[Scenario], verdicts: Sequence[Verdict]) -> str:
    """Return the machine, a table for each scenario, and the targets."""
    machine = [f"- {name}: {value}" for name, value in results.machine.items()]
    summary = results.summary()
    tables = [table for scenario in scenarios if (table := _scenario(scenario, summary))]
    targets = [_targets(verdicts)] if verdicts else []
    return "\n\n".join(["\n".join(machine), *tables, *targets]) + "\n"


def compare(before: Results, after: Results) -> str:
    """Return the ratios of two runs of the suite, after to before; below 1 the second is smaller."""
    old, new = before.summary(), after.summary()
    rows = []
    for key in new:
        if key not in old or key[2] not in TITLES or not (old[key].median and old[key].least):
            continue
        minimum, median = new[key].least / old[key].least, new[key].median / old[key].median
        mark = "" if abs(median - 1) < _CHANGED else "**"
        medians = f"{_number(old[key].median)} → {_number(new[key].median)}"
        rows.append([key[0], key[1], TITLES[key[2]], medians, f"{minimum:.2f}", f"{mark}{median:.2f}{mark}"])
    return _table(["scenario", "client", "metric", "medians", "minima, ratio", "medians, ratio"], rows)


def _scenario(scenario: Scenario, summary: Summary) -> str:
    metrics = [
        name for name in scenario.metrics if any((scenario.name, one, name) in summary for one in scenario.clients)
    ]
    rows = []
    for client in scenario.clients:
        stats = [summary.get((scenario.name, client, metric)) for metric in metrics]
        if counts := [stat.runs for stat in stats if stat]:
            rows.append([client, str(max(counts)), *(_cell(stat) for stat in stats)])
    if not rows:
        return ""
    titles = ["client", "runs", *(TITLES[metric] for metric in metrics)]
    return f"## {scenario.name}\n\nMinimum / median (spread).\n\n{_table(titles, rows)}"


def _targets(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for target, minimum, median, verdict in verdicts:
        wanted = f"{target.relation} {target.bound:g}"
        rows.append([target.text, wanted, _number(minimum), _number(median), verdict])
    return "## Targets\n\n" + _table(["target", "wanted", "by minima", "by medians", "verdict"], rows)


def _cell(stat: Stat | None) -> str:
    if stat is None:
        return "–"
    if stat.runs == 1:
        return _number(stat.median)
    return f"{_number(stat.least)} / {_number(stat.median)} ({stat.spread:.0%})"


def _number(value: float) -> str:
    """Return three significant digits, without an exponent."""
    digits = next((places for limit, places in ((100, 0), (10, 1), (1, 2), (0.1, 3)) if abs(value) >= limit), 4)
    return f"{value:.{digits if value else 0}f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    alignment = ["---", *["--:"] * (len(titles) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, alignment, *rows])
