"""The alert rules and the dashboard in docs/how-to/metrics, against what is really scraped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("ldclient")

from prometheus_client import CollectorRegistry, generate_latest

from autoconfig import EnvironmentID, EnvironmentRegistry, RefusedEnvironment, StreamState
from autoconfig.clients import ClientState, ClientStatus
from autoconfig.metrics import StreamCollector, TimedHandler
from autoconfig.status import ContentSource, ErrorInfo, ErrorKind, StreamStatus

FOLDER = Path(__file__).parents[2] / "docs" / "how-to" / "metrics"
PROMTOOL = shutil.which("promtool")
NOW = datetime.now(timezone.utc)
MALFORMED = RefusedEnvironment(EnvironmentID("1"), "no SDK key", served=True)
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus")


def scraped(state: StreamState = StreamState.INTERRUPTED, client: str = "WORKING", **status: Any) -> str:
    """Return what is scraped of a stream in this state."""
    error = ErrorInfo(ErrorKind.NETWORK_ERROR, "no connection in time", NOW)
    status = {"last_error": error, "last_byte_at": NOW, "content": ContentSource.STREAM, **status}
    manager = SimpleNamespace(status=StreamStatus(state, NOW, **status))
    timed = TimedHandler(EnvironmentRegistry())
    timed.received_all_environments()
    pool = SimpleNamespace(status=lambda: {"1": ClientStatus(ClientState[client], "", 0, None)})
    registry = CollectorRegistry()
    names = {"registries": {"main": timed._handler}, "handlers": {"main": timed}, "pools": {"main": pool}}
    registry.register(StreamCollector({"main": manager}, **names))
    return generate_latest(registry).decode()


def promtool(*arguments: str, given: str = "") -> None:
    assert PROMTOOL
    ran = subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, text=True, timeout=180)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_promtool_has_nothing_against_the_names_and_the_rules() -> None:
    promtool("check", "metrics", given=scraped())
    promtool("check", "rules", str(FOLDER / "alerts.yml"))


@needs_promtool
@pytest.mark.parametrize(
    ("text", "alert", "not_yet"),
    [
        (scraped(StreamState.VALID), None, "0m"),
        (scraped(StreamState.INTERRUPTED), "AutoconfigStreamDown", "9m"),
        (scraped(StreamState.INITIALIZING), "AutoconfigStreamDown", "9m"),
        (scraped(StreamState.OFF), "AutoconfigStreamOff", "0m"),
        (scraped(StreamState.VALID, "REFUSED"), "AutoconfigEnvironmentUnusable", "9m"),
        (scraped(StreamState.VALID, refused=(MALFORMED,)), "AutoconfigEnvironmentUnusable", "9m"),
        (scraped(StreamState.VALID, lag=61.0), "AutoconfigHandlerBehind", "4m"),
        (scraped(StreamState.VALID, lag=59.0), None, "0m"),
        (scraped(StreamState.VALID, pending_retries=1), "AutoconfigHandlerBehind", "4m"),
    ],
    ids=["valid", "interrupted", "initializing", "off", "refused key", "malformed", "lag", "less lag", "retries"],
)
def test_when_alerts_fire(text: str, alert: str | None, not_yet: str, tmp_path: Path) -> None:
    """The same is scraped every minute, for half an hour."""
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    firing = {"expr": 'sum by (alertname) (ALERTS{alertstate="firing"})'}
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{float(value):.3f}+0x30"} for name, value in samples],
        "promql_expr_test": [
            {**firing, "eval_time": not_yet, "exp_samples": []},
            {**firing, "eval_time": "30m", "exp_samples": expected},
        ],
    }
    shutil.copy(FOLDER / "alerts.yml", tmp_path)
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["alerts.yml"], "tests": [test]}))  # JSON is YAML
    promtool("test", "rules", str(tmp_path / "test.yml"))


def test_the_dashboard_and_the_rules_use_metrics_that_there_are() -> None:
    known = set(re.findall(r"^(autoconfig_\w+)", scraped(), re.MULTILINE))
    dashboard = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += re.findall(r"expr: (.*)", (FOLDER / "alerts.yml").read_text("utf-8"))
    for expression in expressions:
        used = set(re.findall(r"autoconfig_\w+", expression))
        assert used
        assert used <= known | {"autoconfig_next_key_expiry_timestamp_seconds"}, expression


def test_the_dashboard_can_be_imported() -> None:
    """Each panel has an id and a place of its own, and asks the data source that is chosen at the top."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
    panels = dashboard["panels"]
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        squares = set(product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
        assert max(squares)[0] < 24  # columns
        assert not squares & taken
        taken |= squares
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["legendFormat"] and target["refId"] for target in panel["targets"])
    assert set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(panels))) == variables
