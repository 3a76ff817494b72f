"""Play a script, and look for secrets in what was logged meanwhile."""

from __future__ import annotations

from contextlib import ExitStack

from safety.log import LogWatch
from safety.story import KEY, environment, put, seen
from safety.wire import Follow
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

DONE = put(environment("done", 1))
"""All is well: what a script has to come to."""


def check(script: list[list[Item]], handler: Recorder, stack: ExitStack, follow: Follow, log: LogWatch) -> None:
    """Play the script until all is well, then look for the secrets in everything that was logged, by whomever."""
    server = stack.enter_context(ScriptedServer(script, framing="close"))
    manager = follow(server.url, key=KEY, handler=handler)
    handler.wait_for("add_environment", matching=lambda params: params.env_id == "done")
    assert manager.close()
    assert any(record.name == "urllib3.connectionpool" for record in log.records)
    shown = [line for line in log.lines if seen(line)] or seen(log.everything(variables=False))
    assert not shown, f"secrets can be seen in {shown}"
