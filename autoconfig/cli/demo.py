"""``autoconfig demo``: an emulator plays the service, the real client follows it, and both say what they do."""

from __future__ import annotations

import argparse
import logging
import threading
import time
from contextlib import closing

import requests

from ..config import HTTPConfig
from ..identifiers import mask
from ..manager import StreamManager
from ..testing import Emulator
from .arguments import add_reveal_option
from .calls import CallQueue
from .logs import LOGGER
from .outcome import FAILURE, OK
from .output import complain
from .stage import Stage
from .story import ENVIRONMENTS, FILTERS, Act, demo_acts

SUMMARY = "see it work in ten seconds, without an account"
DESCRIPTION = """\
An emulator plays LaunchDarkly's service, on a port of this machine, and the
real client follows it: changes, a key rotation, an outage. Ends with exit
code 1 if what reached the client is not what was played."""

_DEADLINE = 10.0  # seconds for what takes milliseconds, or one retry
_RETRY_DELAY = 0.1  # seconds; the default of a second would drag
_PAUSE = 1.2  # seconds for reading, before each act


class DemoError(Exception):
    """What the client did is not what was played, or nothing could be played."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_reveal_option(parser)
    parser.add_argument("--fast", action="store_true", help="leave out the pauses that are for reading")
    parser.add_argument("--json", action="store_true", help="print each step as a JSON object in a line of its own")


def run(options: argparse.Namespace) -> int:
    """Play the story, and check that all of it was understood."""
    log = LOGGER.getChild("demo")
    log.setLevel(logging.NOTSET if options.verbose else logging.ERROR)  # its warnings are part of the story
    stage = Stage(str if options.reveal else mask, options.json)
    try:
        with closing(_started()) as service:
            stage.say(
                f"An emulator plays LaunchDarkly's service on {service.uri}, and the real client follows it; "
                "each call of your handler is shown."
            )
            calls = _play(stage, service, 0.0 if options.fast else _PAUSE, log)
    except (DemoError, TimeoutError) as error:
        stage.result(ok=False)
        complain("demo", str(error))
        return FAILURE
    stage.result(ok=True, calls=calls)
    stage.say(
        f"\n{calls} calls, and your handler knows what the service has ({stage.narrator.totals()}): nothing missed, "
        "nothing told twice.\n"
        'Next: "Use it" in the README. Or `autoconfig emulate`, and in a second terminal the command that it prints.'
    )
    return OK


def _started() -> Emulator:
    service = Emulator(ENVIRONMENTS, FILTERS)
    try:
        service.start()
    except OSError as error:  # only here: a reader that has gone is an OSError too
        raise DemoError(f"cannot listen on 127.0.0.1: {error.strerror or type(error).__name__}") from None
    return service


def _client(service: Emulator, queue: CallQueue, log: logging.Logger) -> StreamManager:
    config = HTTPConfig(session_factory=_direct_session)
    return StreamManager(service.key, service.uri, queue, config, initial_retry_delay=_RETRY_DELAY, logger=log)


def _direct_session() -> requests.Session:
    """Return a session that uses no proxy: one that the environment names would not reach this machine's loopback."""
    session = requests.Session()
    session.trust_env = False
    return session


def _play(stage: Stage, service: Emulator, pause: float, log: logging.Logger) -> int:
    """Play all acts, and return the number of calls."""
    queue = CallQueue()
    count = 0
    with closing(_client(service, queue, log)) as manager:
        manager.start()
        for act in demo_acts():
            stage.service(act.text)
            act.play(service)
            count += _follow(stage, queue, act)
            threading.Event().wait(pause)
        if not manager.close():
            raise DemoError("the client could not be closed")
    _compare(stage, queue, service)
    return count


def _follow(stage: Stage, queue: CallQueue, act: Act) -> int:
    """Show the calls that an act leads to; there must be exactly those that are expected."""
    deadline = time.monotonic() + _DEADLINE
    expected = list(act.calls)
    while expected:
        calls = list(queue.take(max(0.0, deadline - time.monotonic())))
        if not calls:
            raise DemoError(f"no {expected[0][0]} within {_DEADLINE:g} s")
        for call in calls:
            stage.handler(call)
            if not expected or (call.name, call.id) != expected.pop(0):
                raise DemoError(f"{call.name} was called out of turn")
    return len(act.calls)


def _compare(stage: Stage, queue: CallQueue, service: Emulator) -> None:
    """Check that nothing came unexpectedly, and that what the handler knows is what the service has."""
    for call in queue.take(0):
        raise DemoError(f"{call.name} was called out of turn")
    picture = stage.narrator.picture
    if picture.environments != {id: rep.to_params() for id, rep in service.environments.items()}:
        raise DemoError("the handler's environments are not the service's")
    if picture.filters != {id: rep.to_params(id) for id, rep in service.filters.items()}:
        raise DemoError("the handler's filters are not the service's")
