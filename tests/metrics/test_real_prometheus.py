"""A real Prometheus scrapes a real process whose stream is interrupted; the dashboard's queries have answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.waiting import LIMIT, wait_until

pytest.importorskip("prometheus_client")
pytest.importorskip("ldclient")

from support.addresses import free_port
from support.running import end_process
from support.samples import environment, payload_filter

from autoconfig import SDKKey
from autoconfig.testing import Emulator

FOLDER = Path(__file__).parents[2] / "docs" / "how-to" / "metrics"
LOOK = 0.1  # seconds between two questions to Prometheus
PROMETHEUS = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="needs Debian's package prometheus")


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as closing:
        yield closing


@pytest.fixture
def service(closing: ExitStack) -> Emulator:
    service = closing.enter_context(Emulator([environment("one")], {"f": payload_filter("f")}))
    service.rotate_sdk_key("one", SDKKey("sdk-new"), timedelta(hours=1))
    return service


@pytest.fixture
def target(service: Emulator, closing: ExitStack) -> int:
    """Starts the program at the service; returns the port to scrape."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "metrics.program"],
        env={**os.environ, "STREAM_URI": service.uri, "STREAM_KEY": service.key, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout
    closing.enter_context(process.stdout)
    closing.callback(end_process, process)
    return int(process.stdout.readline())


@pytest.fixture
def prometheus(target: int, closing: ExitStack, tmp_path: Path) -> str:
    """Starts Prometheus with our rules, which are to fire after a second; returns the URI of its API."""
    rules = (FOLDER / "alerts.yml").read_text("utf-8")
    (tmp_path / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 1s", rules))
    scraping = {"job_name": "program", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "500ms"}
    configuration = {"global": times, "rule_files": ["alerts.yml"], "scrape_configs": [scraping]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
            ],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    closing.callback(end_process, process)
    wait_until(lambda: is_ready(f"http://{address}/-/ready"), lambda: (tmp_path / "log").read_text(), pause=LOOK)
    return f"http://{address}/api/v1"


def test_the_alert_of_an_interrupted_stream_and_the_dashboard(prometheus: str, service: Emulator, target: int) -> None:
    expressions = dashboard()
    missing: list[str] = []

    def all_answer() -> bool:
        missing[:] = [text for text in expressions if not get(prometheus, "query", query=text)["result"]]
        return not missing

    wait_until(all_answer, lambda: f"without an answer: {missing}", pause=LOOK)
    wait_until(lambda: alerts(prometheus) == {}, lambda: str(alerts(prometheus)), pause=LOOK)
    scraped = urllib.request.urlopen(f"http://127.0.0.1:{target}/metrics", timeout=LIMIT).read().decode()
    for text in (*expressions, *rules(prometheus)):
        assert set(re.findall(r"autoconfig_\w+", text)) <= set(re.findall(r"^autoconfig_\w+", scraped, re.MULTILINE))
    assert not re.search("sdk-|mob-|rel-", scraped)

    service.close()
    wait_until(
        lambda: alerts(prometheus) == {"AutoconfigStreamDown": "firing"}, lambda: str(alerts(prometheus)), pause=LOOK
    )


def dashboard() -> list[str]:
    """Return the queries of the dashboard's panels as Grafana would send them."""
    panels = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))["panels"]
    texts = [target["expr"] for panel in panels for target in panel["targets"]]
    return [text.replace("$__rate_interval", "1m").replace("$stream", ".+") for text in texts]


def rules(prometheus: str) -> list[str]:
    """Return the queries of the alert rules, once Prometheus has evaluated them all."""

    def all_ok() -> bool:
        [group] = get(prometheus, "rules")["groups"]
        return {rule["health"] for rule in group["rules"]} == {"ok"}

    wait_until(all_ok, lambda: str(get(prometheus, "rules")), pause=LOOK)
    [group] = get(prometheus, "rules")["groups"]
    assert len(group["rules"]) == 4
    return [rule["query"] for rule in group["rules"]]


def alerts(prometheus: str) -> dict[str, str]:
    """Return the alerts that are pending or firing."""
    return {one["labels"]["alertname"]: one["state"] for one in get(prometheus, "alerts")["alerts"]}


def get(prometheus: str, path: str, **parameters: str) -> Any:
    """Ask the API; an expression that cannot be parsed is an error."""
    uri = f"{prometheus}/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(uri, timeout=LIMIT) as answer:
        return json.load(answer)["data"]


def is_ready(uri: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(uri, timeout=LIMIT) as answer:
        return bool(answer.status == 200)
    return False
