"""The alert rules and the dashboard in docs/monitoring, against what is really scraped."""

from __future__ import annotations

import enum
import json
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, generate_latest

from autoconfig import EnvironmentRegistry, StreamState
from autoconfig.metrics import StreamCollector, TimedHandler
from autoconfig.status import ContentSource, ErrorInfo, ErrorKind, StreamStatus

MONITORING = Path(__file__).parent.parent / "docs" / "monitoring"
PROMTOOL = shutil.which("promtool")
StatesOfClients = enum.Enum("StatesOfClients", ["WORKING", "REFUSED"])
NOW = datetime.now(timezone.utc)
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, of Debian's package prometheus")


def scraped(state: StreamState = StreamState.INTERRUPTED, client: str = "REFUSED", **status: Any) -> str:
    """Return what is scraped of a stream in this state."""
    error = ErrorInfo(ErrorKind.NETWORK_ERROR, "no connection in time", NOW)
    status = {"last_error": error, "last_byte_at": NOW, "content": ContentSource.STREAM, **status}
    manager = SimpleNamespace(status=StreamStatus(state, NOW, **status))
    timed = TimedHandler(EnvironmentRegistry())
    timed.received_all_environments()
    states = StatesOfClients
    pool = SimpleNamespace(status=lambda: {"1": SimpleNamespace(state=states[client], retired=0)})
    registry = CollectorRegistry()
    names = {"registries": {"main": timed._handler}, "handlers": {"main": timed}, "pools": {"main": pool}}
    registry.register(StreamCollector({"main": manager}, **names))
    return generate_latest(registry).decode()


def promtool(*arguments: str, given: str = "") -> None:
    assert PROMTOOL
    ran = subprocess.run([PROMTOOL, *arguments], input=given, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_promtool_has_nothing_against_the_names_and_the_rules() -> None:
    promtool("check", "metrics", given=scraped())
    promtool("check", "rules", str(MONITORING / "alerts.yml"))


@needs_promtool
@pytest.mark.parametrize(
    ("text", "alerts"),
    [
        (scraped(StreamState.VALID, "WORKING"), set()),
        (scraped(StreamState.INTERRUPTED, "WORKING"), {"AutoconfigStreamDown"}),
        (scraped(StreamState.OFF, "WORKING"), {"AutoconfigStreamOff"}),
        (scraped(StreamState.VALID, "REFUSED"), {"AutoconfigEnvironmentUnusable"}),
        (scraped(StreamState.VALID, "WORKING", lag=61.0), {"AutoconfigHandlerBehind"}),
        (scraped(StreamState.VALID, "WORKING", pending_retries=1), {"AutoconfigHandlerBehind"}),
    ],
    ids=["all is well", "interrupted", "off", "a refused client", "lag", "retries"],
)
def test_alerts_that_fire(text: str, alerts: set[str], tmp_path: Path) -> None:
    """After half an hour in which the same was scraped every minute."""
    samples = (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    firing = {"expr": 'sum by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "30m"}
    firing["exp_samples"] = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in alerts]
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": f"{float(value):.3f}+0x30"} for name, value in samples],
        "promql_expr_test": [firing],
    }
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["alerts.yml"], "tests": [test]}))  # JSON is YAML
    promtool("test", "rules", str(tmp_path / "test.yml"))


def test_the_dashboard_and_the_rules_use_metrics_that_there_are() -> None:
    known = set(re.findall(r"^(autoconfig_\w+)", scraped(), re.MULTILINE))
    dashboard = json.loads((MONITORING / "grafana.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += re.findall(r"expr: (.*)", (MONITORING / "alerts.yml").read_text("utf-8"))
    for expression in expressions:
        used = set(re.findall(r"autoconfig_\w+", expression))
        assert used
        assert used <= known | {"autoconfig_next_key_expiry_timestamp_seconds"}, expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@needs_promtool
def test_the_dashboard_s_expressions_can_be_read(tmp_path: Path) -> None:
    dashboard = json.loads((MONITORING / "grafana.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m").replace("$stream", ".*")}
        for number, expression in enumerate(expressions)
    ]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))
