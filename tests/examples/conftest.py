"""The examples as their users run them: a copy in a process of its own, against a service in this one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest
from support.running import Running

from autoconfig import EnvironmentID, MobileKey, SDKKey
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.testing import DEMO_KEY, Emulator

EXAMPLES = Path(__file__).parents[2] / "examples"
PRODUCTION = EnvironmentRep(
    EnvironmentID("6a1c07e2b94d3f0d5c8e2a71"),
    "production",
    "Production",
    MobileKey("mob-3f6e0d58-77c1-4b0c-8f0e-1b2c3d4e9d14"),
    "Shop",
    "shop",
    SDKKeyRep(SDKKey("sdk-8a52c1d7-0c2e-4e59-a3c4-5d6e7f800ae7")),
    default_ttl=5,
    version=1,
)
STAGING = EnvironmentRep(
    EnvironmentID("6a1c07e2b94d3f0d5c8e2a72"),
    "staging",
    "Staging",
    MobileKey("mob-c0ffee12-3456-4789-8abc-def012345c27"),
    "Shop",
    "shop",
    SDKKeyRep(SDKKey("sdk-1f2e3d4c-5b6a-4798-8897-a6b5c4d3d479")),
    version=1,
)
NEW_KEY = SDKKey("sdk-99d0ab3c-6f1e-4a2b-9c8d-7e6f5a4b0c63")
SECRETS = [DEMO_KEY, NEW_KEY] + [key for rep in (PRODUCTION, STAGING) for key in (rep.sdk_key.value, rep.mob_key)]
# The SDK leaves the socket of an answer such as 401 to the garbage collector, and gunicorn those of its workers.
WARNINGS = dict.fromkeys(["client_per_environment.py", "prefork_gunicorn.py"], "ignore::ResourceWarning")

Start = Callable[..., Running]
"""Runs Python: ``start("flask_app.py", "-m", "flask", …, VARIABLE="value")``; without arguments it runs the file."""


def need(module: str) -> pytest.MarkDecorator:
    """Return a mark that skips where something is not installed that an example needs."""
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"needs {module}: pip install 'ld-autoconfig[examples]'")


def load(file: str) -> ModuleType:
    """Import an example as a module of its own, for tests of a part of it."""
    spec = importlib.util.spec_from_file_location(file.removesuffix(".py"), EXAMPLES / file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def service() -> Iterator[Emulator]:
    with Emulator([PRODUCTION, STAGING]) as emulator:
        yield emulator


@pytest.fixture
def start(service: Emulator, tmp_path: Path) -> Iterator[Start]:
    running: list[Running] = []
    with ExitStack() as closing:

        def start(file: str, *arguments: str, **variables: str) -> Running:
            # A copy, because a test may edit it, and so that nothing is written into the checkout.
            shutil.copy(EXAMPLES / file, tmp_path)
            defaults = {"STREAM_URI": service.uri, "AUTO_CONFIG_KEY": service.key, "HOME": str(tmp_path)}
            command = [
                sys.executable,
                "-u",
                "-W",
                WARNINGS.get(file, "always::ResourceWarning"),
                *(arguments or [file]),
            ]
            running.append(Running(command, os.environ | defaults | variables, tmp_path))
            closing.callback(running[-1].close)
            return running[-1]

        yield start
    for one in running:
        assert "ResourceWarning" not in one.output
        assert not [secret for secret in SECRETS if secret in one.output]
