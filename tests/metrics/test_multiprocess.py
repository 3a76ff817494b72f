"""The multiprocess mode of ``prometheus_client``, in a process of its own: what the page says of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")

PROGRAM = """
from types import SimpleNamespace
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from autoconfig import EnvironmentRegistry, StreamManager
from autoconfig.metrics import StreamCollector, TimedHandler

handler = TimedHandler(EnvironmentRegistry())
manager = StreamManager("rel-1", "http://127.0.0.1", handler)
REGISTRY.register(StreamCollector({"main": manager}, handlers={"main": handler}))
Gauge("function", "Set by a function.").set_function(lambda: 1)
Gauge("valid", "Set by hand.", multiprocess_mode="livemin").set(1)
handler.received_all_environments()
exported = CollectorRegistry()
MultiProcessCollector(exported)
lines = generate_latest(exported).decode().splitlines()
print(*sorted({line.split("{")[0].split()[0] for line in lines if line[0] != "#" and not line.endswith(" 0.0")}))
print(*[line for line in lines if "_count" in line])
"""


def test_what_is_exported(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    names, count = ran.stdout.splitlines()
    histogram = [f"autoconfig_handler_duration_seconds_{end}" for end in ("bucket", "count", "sum")]
    assert names.split() == [*histogram, "valid"]
    assert count == 'autoconfig_handler_duration_seconds_count{callback="received_all_environments"} 1.0'
