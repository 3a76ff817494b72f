"""What can be imported, and what a type checker makes of a program that uses it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import autoconfig
from autoconfig import messages

CONTRACT = [
    "Action",
    "AutoConfigError",
    "AutoConfigKey",
    "ClosedError",
    "EnvIdentifiers",
    "EnvironmentID",
    "EnvironmentParams",
    "ExpiringSDKKey",
    "FilterID",
    "FilterKey",
    "FilterParams",
    "HTTPConfig",
    "Item",
    "KeyRejectedError",
    "MessageHandler",
    "MessageReceiver",
    "MobileKey",
    "RetryPolicy",
    "SDKKey",
    "StreamManager",
    "__version__",
]

WIRE = [
    "DELETE_EVENT",
    "PATCH_EVENT",
    "PUT_EVENT",
    "RECONNECT_EVENT",
    "DeleteMessageData",
    "EnvironmentRep",
    "ExpiringKeyRep",
    "FilterRep",
    "ItemKind",
    "KeyRep",
    "PatchMessageData",
    "PutContent",
    "SDKKeyRep",
]

RIGHT = '''
import logging
from concurrent.futures import Future
from datetime import datetime, timedelta

import autoconfig
from autoconfig import (
    Action, AutoConfigKey, EnvironmentID, EnvironmentParams, FilterID, FilterKey, FilterParams, HTTPConfig,
    KeyRejectedError, MessageHandler, MessageReceiver, RetryPolicy, StreamManager,
)
from autoconfig.messages import FilterRep


class Handler:
    """Has the methods and has never heard of the protocol."""

    def add_environment(self, params: EnvironmentParams) -> None:
        name: str = params.identifiers.env_name
        ttl: timedelta = params.ttl
        if params.expiring_sdk_key is not None:
            expiration: datetime = params.expiring_sdk_key.expiration
        filtered: EnvironmentParams = params.with_filter(FilterKey("mobile"))

    def update_environment(self, params: EnvironmentParams) -> None: ...
    def received_all_environments(self) -> None: ...
    def delete_environment(self, id: EnvironmentID) -> None: ...
    def add_filter(self, params: FilterParams) -> None: ...
    def delete_filter(self, id: FilterID) -> None: ...


config = HTTPConfig(ca_certs=["a.pem", "b.pem"], client_cert=("cert.pem", "key.pem"), headers={"X-Tenant": "north"})
HTTPConfig(ca_certs="a.pem", client_cert="both.pem", proxy_url=None)
manager = StreamManager(
    AutoConfigKey("rel-1"), "https://stream.example", Handler(), config, 2.5, 2, logging.getLogger("mine"),
    retry_policy=RetryPolicy(max_delay=5),
)
plain_key = StreamManager("rel-1", "https://stream.example", Handler())
ready: Future[None] = manager.start()
closed: bool = manager.close(timeout=1)
joined: bool = manager.join(None)
with plain_key as entered:
    same: StreamManager = entered
try:
    ready.result(timeout=30)
except KeyRejectedError as error:
    status: int = error.status
receiver: MessageReceiver[FilterRep] = MessageReceiver()
action: Action = receiver.upsert("id", FilterRep(), 1)
gone: list[str] = receiver.retain(lambda id: id.startswith("e"))
version: str = autoconfig.__version__
'''

PARTIAL = """
class Partial(MessageHandler):
    def add_environment(self, params: EnvironmentParams) -> None: ...

Partial()
"""

# A line, and the code of what is wrong with it.
WRONG = {
    'StreamManager("rel-1", "https://stream.example", object())': "arg-type",
    'StreamManager(b"rel-1", "https://stream.example", Handler())': "arg-type",
    'StreamManager("rel-1", "https://stream.example", Handler(), {})': "arg-type",
    'StreamManager("rel-1", "https://stream.example", Handler(), retry=1)': "call-arg",
    "HTTPConfig(read_timeout='5')": "arg-type",
    "ready.result().status": "attr-defined",
    "number: str = manager.close()": "assignment",
    "config.read_timeout = 5": "misc",
    "receiver.upsert('id', object(), 1)": "arg-type",
    "manager.stop()": "attr-defined",
    "from autoconfig import StreamManger": "attr-defined",
    "from autoconfig.testing import Emulater": "attr-defined",
}


def test_everything_that_is_promised_can_be_imported() -> None:
    assert [name for name in CONTRACT if not hasattr(autoconfig, name)] == []
    assert set(CONTRACT) <= set(autoconfig.__all__)


def test_the_classes_of_the_wire_are_in_a_module_of_their_own() -> None:
    """Most applications need none of them."""
    assert [name for name in WIRE if not hasattr(messages, name)] == []
    assert not set(WIRE) & set(autoconfig.__all__)


def test_the_list_has_each_name_once() -> None:
    assert len(set(autoconfig.__all__)) == len(autoconfig.__all__)


def test_a_star_import_brings_the_list_and_nothing_else() -> None:
    names: dict[str, object] = {}
    exec("from autoconfig import *", names)
    assert names.keys() - {"__builtins__"} == set(autoconfig.__all__)


def test_nothing_public_is_missing_from_the_list() -> None:
    """But for the package's own modules, every name without an underscore is meant."""
    modules = {path.stem for path in Path(autoconfig.__file__).parent.iterdir()}
    # pytest, which loads the plugin of this distribution, puts names of its own into each module, such as @py_builtins.
    others = {name for name in vars(autoconfig) if name.isidentifier() and not name.startswith("_")} - modules
    assert others - {"TYPE_CHECKING", "annotations"} <= set(autoconfig.__all__)


def test_every_exception_has_the_one_base() -> None:
    errors = [value for name in autoconfig.__all__ if name.endswith("Error") and (value := getattr(autoconfig, name))]
    assert len(errors) == 5
    assert all(issubclass(error, autoconfig.AutoConfigError) for error in errors)


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What ``mypy --strict`` says of the programs above with the package's own ``py.typed``: code by line."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    folder = tmp_path_factory.mktemp("program")
    lines = [*RIGHT.splitlines(), *PARTIAL.splitlines(), *WRONG]
    (folder / "program.py").write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "MYPYPATH": import_path()}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "program.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors = [line.split(":", 2) for line in done.stdout.splitlines() if ": error:" in line]
    assert {file for file, _, _ in errors} == {"program.py"}, done.stdout
    return {lines[int(number) - 1]: text.rpartition("[")[2].rstrip("]") for _, number, text in errors}


def test_a_type_checker_accepts_a_right_program(findings: dict[str, str]) -> None:
    assert [line for line in RIGHT.splitlines() if line in findings] == []


def test_a_type_checker_accepts_a_handler_that_inherits_what_it_does_not_need(findings: dict[str, str]) -> None:
    """As the protocol's docstring says: a method that is not overridden does nothing."""
    assert [line for line in PARTIAL.splitlines() if line in findings] == []


@pytest.mark.parametrize("line", WRONG)
def test_a_type_checker_finds_what_is_wrong(line: str, findings: dict[str, str]) -> None:
    """So the types are there, and not Any."""
    assert findings.get(line) == WRONG[line]


def import_path() -> str:
    """Return where mypy has to look for an editable install, which it does not see by itself."""
    parent = str(Path(autoconfig.__file__).parent.parent)
    return "" if parent.endswith("-packages") else parent
