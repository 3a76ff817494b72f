"""
A program that uses the library in all usual ways. It is never run: type checkers have to accept it as it is.

``assert_type`` says what a type checker should find, so an ``Any`` that slips in is an error too.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import pytest
import requests
from typing_extensions import assert_type

import autoconfig
from autoconfig import (
    AcceptedKey,
    Action,
    AutoConfigError,
    AutoConfigKey,
    ClosedError,
    EnvIdentifiers,
    EnvironmentID,
    EnvironmentParams,
    EnvironmentRegistry,
    ErrorInfo,
    ErrorKind,
    ExpiredKey,
    ExpiringSDKKey,
    FilteredHandler,
    FilterExpander,
    FilterID,
    FilterKey,
    FilterParams,
    ForkedError,
    HandlerErrors,
    HandlerFailure,
    HTTPConfig,
    Item,
    KeyRejectedError,
    MessageHandler,
    MessageReceiver,
    MobileKey,
    RefusedEnvironment,
    RegistryChange,
    RetryPolicy,
    SDKKey,
    StreamManager,
    StreamState,
    StreamStatus,
    ViewKey,
)
from autoconfig.exceptions import StreamError, UnexpectedStatusError
from autoconfig.messages import (
    DeleteMessageData,
    EnvironmentRep,
    ExpiringKeyRep,
    FilterRep,
    ItemKind,
    KeyRep,
    PatchMessageData,
    PutContent,
    SDKKeyRep,
)
from autoconfig.testing import (
    DEMO_KEY,
    Emulator,
    RecordedCall,
    RecordedRequest,
    RecordingHandler,
    configuration_from_json,
)

URI = "https://stream.example"
log = logging.getLogger("program")


# Handlers


class Inherits(MessageHandler):
    """Overrides what it needs."""

    def __init__(self) -> None:
        self.environments: dict[EnvironmentID, EnvironmentParams] = {}

    def add_environment(self, params: EnvironmentParams) -> None:
        self.environments[params.env_id] = params

    update_environment = add_environment

    def delete_environment(self, id: EnvironmentID) -> None:
        del self.environments[id]


class HasTheMethods:
    """Has never heard of the protocol; calls a filter's id what it likes best, and takes any string for an id."""

    def add_environment(self, params: EnvironmentParams) -> None: ...
    def update_environment(self, params: EnvironmentParams) -> None: ...
    def received_all_environments(self) -> None: ...
    def delete_environment(self, id: str) -> None: ...
    def add_filter(self, params: FilterParams) -> None: ...
    def delete_filter(self, id: str) -> None: ...


def as_handler(handler: MessageHandler) -> MessageHandler:
    return handler


as_handler(Inherits())
as_handler(HasTheMethods())
as_handler(RecordingHandler(HasTheMethods()))
as_handler(EnvironmentRegistry())


def look_at(params: EnvironmentParams) -> None:
    assert_type(params.env_id, EnvironmentID)
    assert_type(params.identifiers.env_name, str)
    assert_type(params.identifiers.filter_key, FilterKey)
    assert_type(params.sdk_key, SDKKey)
    assert_type(params.mobile_key, MobileKey)
    assert_type(params.ttl, timedelta)
    assert_type(params.secure_mode, bool)
    assert_type(params.extra, Mapping[str, Any])
    if params.expiring_sdk_key:
        assert_type(params.expiring_sdk_key.key, SDKKey)
        assert_type(params.expiring_sdk_key.expiration, datetime)
    now = datetime.now(timezone.utc)
    good = [key.value for key in params.accepted_sdk_keys if key.is_valid(now)]
    assert_type(good, list[str])
    assert_type(params.accepted_mobile_keys, tuple[AcceptedKey, ...])
    assert_type(params.view_sdk_keys, tuple[ViewKey, ...])
    assert_type(params.with_filter(FilterKey("mobile")), EnvironmentParams)
    names: set[EnvironmentParams] = {params}
    assert len(names) == 1


def look_at_filter(params: FilterParams) -> None:
    assert_type((params.id, params.key, params.proj_key), tuple[FilterID, FilterKey, str])


# Options


class Session(requests.Session):
    pass


def told(failure: HandlerFailure) -> None:
    assert_type(failure.error, BaseException)
    assert_type(failure.next_attempt_in, float | None)


http_configs = [
    HTTPConfig(),
    HTTPConfig(ca_certs="ca.pem", client_cert="both.pem"),
    HTTPConfig(ca_certs=Path("ca.pem"), client_cert=("cert.pem", Path("key.pem"))),
    HTTPConfig(ca_certs=["a.pem", Path("b.pem")]),
    HTTPConfig(proxy_url="http://user:password@proxy.example:3128", headers={"X-Tenant": "north"}),
    HTTPConfig(connect_timeout=5, read_timeout=200.5, max_event_bytes=2**20, user_agent="program/1.0"),
    HTTPConfig(session_factory=Session),
    HTTPConfig(session_factory=lambda: requests.Session()),
]
retry_policies = [RetryPolicy(), RetryPolicy(max_delay=5, jitter=0, reset_after=10)]
handler_errors = [HandlerErrors(), HandlerErrors(retry=None), HandlerErrors(RetryPolicy(), told)]


# Managers


def make_managers() -> list[StreamManager]:
    handler = Inherits()
    return [
        StreamManager("rel-1", URI, handler),
        StreamManager(AutoConfigKey("rel-1"), URI, handler),
        StreamManager(os.environ["AUTO_CONFIG_KEY"], os.environ.get("STREAM_URI", URI), handler),
        StreamManager(Path("/run/secrets/key"), URI, handler),
        StreamManager(lambda: "rel-1", URI, handler),
        StreamManager("rel-1", URI, HasTheMethods(), http_configs[0], 2.5, 1, log),
        StreamManager(
            "rel-1",
            URI,
            handler,
            http_config=None,
            logger=None,
            retry_policy=retry_policies[1],
            on_rejected_key="retry",
            handler_errors=handler_errors[0],
            slow_callback=1,
        ),
    ]


def follow(manager: StreamManager) -> int:
    ready = manager.start()
    assert_type(ready, Future[None])
    assert_type(manager.connected, Future[None])
    ready.add_done_callback(lambda future: log.info("ready: %s", future.exception()))
    try:
        ready.result(timeout=10)
        manager.join()
    except KeyRejectedError as error:
        return error.status
    except (ClosedError, ForkedError) as error:
        base: AutoConfigError = error
        log.info("%s", base)
    assert_type(manager.join(timeout=1), bool)
    assert_type(manager.close(), bool)
    assert_type(manager.close(timeout=1), bool)
    return 0


def follow_for_a_while(manager: StreamManager) -> None:
    with manager as same:
        assert_type(same, StreamManager)
        if not same.wait_for(StreamState.VALID, timeout=10):
            raise TimeoutError


def watch(manager: StreamManager, changes: list[StreamStatus]) -> None:
    def changed(status: StreamStatus) -> None:
        error = status.last_error
        if status.state is StreamState.INTERRUPTED and error:
            assert_type(error, ErrorInfo)
            assert_type((error.kind, error.status_code), tuple[ErrorKind, int | None])

    manager.add_status_listener(changed)
    manager.add_status_listener(changes.append)
    manager.remove_status_listener(changed)
    status = manager.status
    assert_type(status, StreamStatus)
    assert_type(status.since, datetime)
    assert_type(status.next_retry_at, datetime | None)
    assert_type(status.lag, float)
    assert_type(status.refused, tuple[RefusedEnvironment, ...])
    refused = [f"{one.id}: {one.reason}" for one in status.refused if not one.served]
    log.info("%s", refused)
    word: str = status.state.value
    log.info(word)


def explain(error: StreamError) -> str:
    if isinstance(error, UnexpectedStatusError):
        assert_type(error.status, int)
    return f"{type(error).__name__}, {autoconfig.__version__}"


# The handlers that come with the library


def ask(registry: EnvironmentRegistry, key: str) -> EnvironmentParams | None:
    registry.wait_until_ready(timeout=5)
    for environment in registry:
        assert_type(environment, EnvironmentParams)
    assert_type(registry.environments, Mapping[EnvironmentID, EnvironmentParams])
    assert_type(registry.filters, Mapping[FilterID, FilterParams])
    assert_type(registry.get("env-1"), EnvironmentParams | None)
    assert_type(registry.find("shop", "production"), EnvironmentParams | None)
    return registry.find_by_sdk_key(key) or registry.find_by_mobile_key(key, datetime.now(timezone.utc))


class Filtered(FilteredHandler):
    def add_environment(self, params: EnvironmentParams) -> None: ...
    def update_environment(self, params: EnvironmentParams) -> None: ...
    def received_all_environments(self) -> None: ...
    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey) -> None:
        log.info("%s through %s", id, filter_key or "no filter")


def note(change: RegistryChange) -> None:
    if isinstance(change.after, EnvironmentParams):
        assert_type(change.action, Action)
        assert_type(change.kind, Literal["environment", "filter"])
        look_at(change.after)


def expired(expired_key: ExpiredKey) -> None:
    log.info("%s", expired_key)


def combine() -> list[StreamManager]:
    registry = EnvironmentRegistry()
    registry.add_listener(note)
    registry.on_key_expired(expired)
    return [
        StreamManager("rel-1", URI, registry),
        StreamManager("rel-1", URI, registry.wrap(HasTheMethods(), FilterExpander(Filtered()))),
        StreamManager("rel-1", URI, FilterExpander(Filtered())),
    ]


# Versions, messages, the wire

REP = EnvironmentRep(
    EnvironmentID("env-1"),
    env_name="Production",
    mob_key=MobileKey("mob-1"),
    sdk_key=SDKKeyRep(SDKKey("sdk-1"), ExpiringKeyRep(SDKKey("sdk-0"), 1_900_000_000_000)),
    version=3,
)


class Thing:
    """Anything that has a version."""

    version = 1


def decide(receiver: MessageReceiver[EnvironmentRep], things: MessageReceiver[Thing]) -> None:
    item: Item = Thing()
    assert_type(item.version, int)
    assert_type(things.upsert("id", Thing(), 1), Action)
    if receiver.upsert(REP.env_id, REP, REP.version) is Action.INSERT:
        look_at(REP.to_params())
    word: str = receiver.forget("id")
    log.info(word)
    assert_type(receiver.delete("id", 2), Action)
    assert_type(receiver.retain(lambda id: id.startswith("env")), list[str])
    look_at_filter(FilterRep("shop", FilterKey("mobile"), 1).to_params(FilterID("f-1")))


def build_messages() -> tuple[PutContent, PatchMessageData, DeleteMessageData]:
    put = PutContent({REP.env_id: REP}, {})
    return put, PatchMessageData("env-1", REP), DeleteMessageData(ItemKind.ENVIRONMENT, "env-1", 4)


def there_and_back() -> None:
    document = REP.to_json()
    assert_type(document, dict[str, Any])
    assert_type(EnvironmentRep.from_json(document), EnvironmentRep)
    assert_type(FilterRep.from_json({}), FilterRep)
    assert_type(PutContent.from_json({"environments": {REP.env_id: document}}), PutContent)


def build_params() -> EnvironmentParams:
    expiring = ExpiringSDKKey(SDKKey("sdk-0"), datetime.now(timezone.utc))
    names = EnvIdentifiers(env_key="production", proj_key="shop")
    return EnvironmentParams(
        EnvironmentID("env-1"), names, SDKKey("sdk-1"), MobileKey("mob-1"), expiring, timedelta(minutes=5), False
    )


def with_several_keys() -> EnvironmentRep:
    return EnvironmentRep(sdk_keys=(KeyRep("default", "sdk-1"), KeyRep("old", "sdk-0", expiry=1_900_000_000_000)))


# Tests of the program


@pytest.fixture
def autoconfig_emulator_options() -> dict[str, Any]:
    return {"environments": [REP]}


@pytest.fixture
def manager(autoconfig_emulator: Emulator, recording_handler: RecordingHandler) -> Iterator[StreamManager]:
    with StreamManager(autoconfig_emulator.key, autoconfig_emulator.uri, recording_handler) as manager:
        yield manager


@pytest.mark.autoconfig_emulator(key=DEMO_KEY, heartbeat_interval=1.0)
def test_it(manager: StreamManager, autoconfig_emulator: Emulator, recording_handler: RecordingHandler) -> None:
    recording_handler.wait_for("received_all_environments")
    assert_type(recording_handler.wait_for("add_environment"), EnvironmentParams)
    assert_type(autoconfig_emulator.rotate_sdk_key("env-1", "sdk-2", grace=timedelta(minutes=5)), EnvironmentRep)
    updated = recording_handler.wait_for("update_environment", 2, matching=lambda params: params.sdk_key == "sdk-2")
    assert_type(updated, EnvironmentParams)
    autoconfig_emulator.set_filter("f-1", FilterRep("shop", FilterKey("mobile")))
    assert_type(recording_handler.wait_for("add_filter"), FilterParams)
    autoconfig_emulator.fail_next(503, times=2, headers={"Retry-After": "1"})
    autoconfig_emulator.drop_connections("reset")
    autoconfig_emulator.wait_for_requests(3)
    autoconfig_emulator.delete_environment(REP.env_id)
    assert_type(recording_handler.wait_for("delete_environment", timeout=2), str)
    assert_type(recording_handler.calls, list[RecordedCall])
    assert [call.name for call in recording_handler.calls][:1] == ["add_environment"]
    assert_type(recording_handler.environments, dict[EnvironmentID, EnvironmentParams])
    assert_type(recording_handler.filters, dict[FilterID, FilterParams])
    assert_type(autoconfig_emulator.requests, list[RecordedRequest])


def serve(file: Path) -> None:
    environments, filters = configuration_from_json(file.read_text())
    certificate = "chain.pem", Path("key.pem")
    with Emulator(environments, filters, port=8080, certificate=certificate, framing="close") as emulator:
        assert_type(emulator.uri, str)
        emulator.replace([REP], {"f-1": FilterRep()})
        emulator.send_event("put", str(REP.to_json()))
