"""``autoconfig demo``: the emulator plays a story, the real client follows it, and what it says is checked."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import attrs
import requests
from msgspec.structs import replace

from ..environments import KeyRep
from ..identifiers import EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey, mask
from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
from ..testing import Emulator
from . import OK
from .events import Call, Picture, Stream, call_json, wording
from .output import CommandError, painted, put_line, put_record
from .sources import Connection
from .words import Show

_DEADLINE = 10.0  # seconds for what takes milliseconds, or one retry
_RETRY_DELAY = 0.1  # seconds; the default of a second would take too long
_PAUSE = 1.2  # seconds for reading, before each act
_WIDTH = 80
_MARGIN = 21  # columns with the time and the speaker
_NAME = 20  # columns with the name of a call
_EXPIRY = 2_208_988_800_000  # 2040-01-01: far away, so that the output stays the same


def _environment(id: str, project: str, name: str, mobile_key: str, sdk_key: str, old_key: str = "") -> EnvironmentRep:
    """Return an environment in the form that the service sends in 2026."""
    sdk_keys = KeyRep("default", sdk_key), *([KeyRep("previous", old_key, _EXPIRY)] if old_key else [])
    return EnvironmentRep(
        env_id=EnvironmentID(id),
        env_key=name.lower(),
        env_name=name,
        mob_key=MobileKey(mobile_key),
        proj_key=project.lower(),
        proj_name=project,
        sdk_key=SDKKeyRep(SDKKey(sdk_key), ExpiringKeyRep(SDKKey(old_key), _EXPIRY) if old_key else None),
        version=1,
        sdk_keys=sdk_keys,
        mobile_keys=(KeyRep("default", mobile_key),),
    )


# All ids and keys are made up.
# fmt: off
PRODUCTION = _environment("64c1f0a2b7e94d0012ab3c01", "Shop", "Production", "mob-1f6a2c3e-8b40-4d7e-9a51-6c0e7f2b9d14",
                          "sdk-7c9e6679-7425-40de-944b-e07fc1f90ae7")
STAGING = _environment("64c1f0a2b7e94d0012ab3c02", "Shop", "Staging", "mob-3b8d5e70-94a1-4f26-b3c8-d2e91a0f5c27",
                       "sdk-f47ac10b-58cc-4372-a567-0e02b2c3d479", "sdk-1d5a0c86-2e7b-4f93-8a4d-6b0f9e3c7152")
DOCS = _environment("64c1f0a2b7e94d0012ab3c03", "Docs", "Production", "mob-5e2f9a14-07cb-4e83-8d16-a94b3c7e0f52",
                    "sdk-9b2d7f3a-61c4-4e08-b5a9-3f8e0d1c6b74")
PREVIEW = _environment("64c1f0a2b7e94d0012ab3c04", "Docs", "Preview", "mob-8a4c1d6f-3e95-4b07-92fd-7e5b0c8a1d36",
                       "sdk-2e8f4b1d-90a7-4c35-8e6b-d1f7a3c05928")
# fmt: on
ENVIRONMENTS = (PRODUCTION, STAGING, DOCS)
EUROPE = FilterID("64c1f0a2b7e94d0012ab3f01")
FILTERS = {EUROPE: FilterRep("shop", FilterKey("europe"), version=1)}
NEW_SDK_KEY = SDKKey("sdk-b3a5d8e1-4f72-4960-a1c8-5d9e2f7b0c63")

_COMPLETE = ("received_all_environments", "")


def _direct_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    return session


def run(*, fast: bool, as_json: bool, reveal: bool) -> int:
    """Play the story, and check that all of it was understood."""
    stage = _Stage(str if reveal else mask, as_json)
    try:
        with closing(_started()) as service:
            stage.say(
                f"An emulator plays LaunchDarkly's service on {service.uri}, and the real client follows it; "
                "each call of your handler is shown."
            )
            totals = _play(stage, service, 0.0 if fast else _PAUSE)
    except CommandError:
        stage.result(ok=False)
        raise
    stage.result(ok=True, calls=stage.calls)
    stage.say(
        f"\n{stage.calls} calls, and your handler knows what the service has ({totals}): nothing missed, nothing told "
        "twice."
    )
    stage.say(
        'Next: "Look environments up" in the README. Or `autoconfig emulate`, and in a second terminal the command '
        "that it prints."
    )
    return OK


def _started() -> Emulator:
    service = Emulator(ENVIRONMENTS, FILTERS)
    try:
        service.start()
    except OSError as error:  # caught here only, because a closed pipe is an OSError too
        raise CommandError("127.0.0.1", f"cannot listen on it: {error.strerror}", "is a firewall in the way?") from None
    return service


def _play(stage: _Stage, service: Emulator, pause: float) -> str:
    """Play all acts, and check what reaches the handler; return in words what the handler then knows."""
    names = {"uri": "the demo's URI", "key": "the demo's key"}
    source = Connection({"uri": service.uri, "key": service.key}, names)
    http = {"session_factory": _direct_session}
    with Stream(source, http=http, initial_retry_delay=_RETRY_DELAY) as stream:
        for act in ACTS:
            stage.service(act.text)
            try:
                act.play(service)
            except TimeoutError as error:
                raise _failed(str(error)) from None
            _follow(stage, stream, act)
            threading.Event().wait(pause)
        if any(isinstance(event, Call) for event in stream.events(0.0)):
            raise _failed("there was one more call")
    registry = stream.picture.registry
    if registry.environments != {id: rep.to_params() for id, rep in service.environments.items()}:
        raise _failed("the handler's environments are not the service's")
    if registry.filters != {id: rep.to_params(id) for id, rep in service.filters.items()}:
        raise _failed("the handler's filters are not the service's")
    return stream.picture.totals()


def _follow(stage: _Stage, stream: Stream, act: Act) -> None:
    """Show the calls that follow an act, and check that they are the expected ones."""
    for name, id in act.calls:
        events = stream.events(time.monotonic() + _DEADLINE)
        call = next((event for event in events if isinstance(event, Call)), None)
        if call is None:
            raise _failed(f"no {name} within {_DEADLINE:g} s")
        stage.handler(call, stream.picture)
        if (call.name, call.id) != (name, id):
            raise _failed(f"{call.name} was called out of turn")


def _failed(problem: str) -> CommandError:
    return CommandError("the client", problem, "autoconfig demo -v, and report what it prints")


class _Stage:
    """Prints lines in which the service and the handler take turns."""

    def __init__(self, show: Show, as_json: bool) -> None:
        self.calls = 0  # so far
        self._show = show
        self._json = as_json
        self._began = 0.0  # when the first line was printed

    def say(self, text: str) -> None:
        """Print a paragraph, which is for people only."""
        if not self._json:
            put_line(textwrap.fill(text, _WIDTH, break_on_hyphens=False, replace_whitespace=False))

    def result(self, **fields: object) -> None:
        """Print how it went, for programs."""
        if self._json:
            put_record(**fields)

    def service(self, text: str) -> None:
        """Print what the service does."""
        self.say("\n")
        self._speak("service", "cyan", textwrap.wrap(text, _WIDTH - _MARGIN), service=text)

    def handler(self, call: Call, picture: Picture) -> None:
        """Print a call of the handler: on one line if there is room, otherwise with a line for each fact."""
        self.calls += 1
        words, facts = wording(call, picture, self._show)
        facts = [fact for fact in facts if not fact.startswith("id ")]
        head = f"{call.name:{_NAME - 2}}  {words}".rstrip()
        lines = ["  ".join([head, *facts])]
        if len(lines[0]) > _WIDTH - _MARGIN:
            lines = [head, *(f"{'':{_NAME}}{fact}" for fact in facts)]
        self._speak("your handler", "green", lines, **call_json(call, self._show))

    def _speak(self, who: str, colour: str, lines: list[str], **fields: object) -> None:
        if self._json:
            put_record(**fields)
            return
        self._began = self._began or time.monotonic()
        head = f"{painted(f'{time.monotonic() - self._began:4.1f}s', 'dim')}  {painted(f'{who:12}', colour)}"
        put_line(f"\n{'':{_MARGIN}}".join([f"{head}  {lines[0]}", *lines[1:]]))


@attrs.frozen
class Act:
    """Something that the service does."""

    text: str
    play: Callable[[Emulator], object]
    calls: tuple[tuple[str, str], ...] = ()  # the calls that must follow, in order: names and ids


def change(service: Emulator, id: EnvironmentID, **fields: Any) -> None:
    """Change fields of an environment."""
    service.set_environment(replace(service.environments[id], **fields))


def _fail(service: Emulator) -> None:
    """Fail, and make all changes before a client can connect again; return when a client has met the failure."""
    requests = service.request_count
    service.stall()
    service.drop_connections()
    service.fail_next(503)
    change(service, PRODUCTION.env_id, secure_mode=True)
    service.set_environment(PREVIEW)
    service.resume()
    service.wait_for_requests(requests + 1, timeout=10)


ACTS = (
    Act(
        "has 3 environments in 2 projects, and a payload filter",
        lambda service: service.wait_for_connections(1),
        (*(("add_environment", rep.env_id) for rep in ENVIRONMENTS), ("add_filter", EUROPE), _COMPLETE),
    ),
    Act(
        "renames Shop / Staging; clients may cache for 10 minutes",
        lambda service: change(service, STAGING.env_id, env_name="QA", default_ttl=10),
        (("update_environment", STAGING.env_id),),
    ),
    Act(
        "rotates an SDK key; the old one stays valid for an hour",
        lambda service: service.rotate_sdk_key(PRODUCTION.env_id, NEW_SDK_KEY, timedelta(hours=1)),
        (("update_environment", PRODUCTION.env_id),),
    ),
    Act(
        "deletes Docs / Production",
        lambda service: service.delete_environment(DOCS.env_id),
        (("delete_environment", DOCS.env_id),),
    ),
    Act(
        "drops the connection, and answers the first retry with 503; "
        "meanwhile it turns on secure mode, and adds Docs / Preview",
        _fail,
    ),
    Act(
        "is back and sends everything; only the differences arrive",
        lambda service: service.wait_for_connections(1),
        (("update_environment", PRODUCTION.env_id), ("add_environment", PREVIEW.env_id), _COMPLETE),
    ),
    Act("asks for a new connection; nothing new, nothing repeated", Emulator.send_reconnect, (_COMPLETE,)),
)
