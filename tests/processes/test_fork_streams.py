"""The streams of a parent and its forks: neither disturbs the other's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from processes.control import KEY, Agent, Agents
from processes.states import ENVIRONMENTS
from support.samples import environment

from autoconfig.testing import Emulator

EVERYTHING = len(ENVIRONMENTS) + 1  # calls of the handler


@pytest.fixture(params=["http", "https"])
def emulator(request: pytest.FixtureRequest, certificates: dict[str, str]) -> Iterator[Emulator]:
    certificate = (certificates["chain"], certificates["key"]) if request.param == "https" else None
    with Emulator(ENVIRONMENTS, key=KEY, certificate=certificate) as emulator:
        yield emulator


@pytest.fixture
def parent(agents: Agents, emulator: Emulator, certificates: dict[str, str]) -> Agent:
    """A process that has received everything."""
    agent = agents.start()
    follow(agent, emulator, certificates)
    return agent


def follow(agent: Agent, emulator: Emulator, certificates: dict[str, str], kind: str = "") -> None:
    agent.make(emulator.uri, ca=certificates["ca"], delay=0.01, kind=kind)
    agent.ask("start")
    assert agent.ask("wait_for_count", EVERYTHING)


def check_follows(emulator: Emulator, *agents: Agent) -> None:
    """Make a change and wait until all have it."""
    version = emulator.environments[ENVIRONMENTS[0].env_id].version + 1
    sent = emulator.set_environment(environment(ENVIRONMENTS[0].env_id, version))
    for agent in agents:
        assert agent.ask("wait_for_name", sent.env_name)


def test_the_parents_connection_goes_on(agents: Agents, parent: Agent, emulator: Emulator) -> None:
    """The same one, while the fork is there, after it has closed the manager, and after its end."""
    fork = agents.fork(parent)
    check_follows(emulator, parent)
    assert fork.ask("close") is True
    check_follows(emulator, parent)
    fork.send("end")
    assert parent.ask("wait_for_end_of", fork.pid) == 0
    check_follows(emulator, parent)
    assert emulator.connections == 1
    assert len(emulator.requests) == 1
    assert parent.ask("close") is True


def test_the_service_sees_the_end_of_a_parent_that_was_killed(
    agents: Agents, parent: Agent, emulator: Emulator
) -> None:
    """Nothing was shut down then, so a copy of the socket in the fork would keep the connection open."""
    fork = agents.fork(parent)
    os.kill(parent.pid, signal.SIGKILL)
    emulator.wait_for_connections(0)
    assert fork.ask("close") is True


def test_the_service_sees_the_end_of_a_connection_that_the_parent_replaced(
    agents: Agents, parent: Agent, emulator: Emulator
) -> None:
    """Here too nothing is shut down, only closed."""
    fork = agents.fork(parent)
    emulator.send_reconnect()
    emulator.wait_for_requests(2)
    emulator.wait_for_connections(1)
    check_follows(emulator, parent)
    assert fork.ask("close") is True
    assert emulator.connections == 1


def test_the_service_sees_that_the_parent_closes(agents: Agents, parent: Agent, emulator: Emulator) -> None:
    """At once, although the fork lives."""
    fork = agents.fork(parent)
    assert parent.ask("close") is True
    emulator.wait_for_connections(0)
    assert fork.ask("close") is True


def test_a_fork_can_have_a_manager_of_its_own(
    agents: Agents, parent: Agent, emulator: Emulator, certificates: dict[str, str]
) -> None:
    """It gets everything, and either process can end without the other noticing."""
    fork = agents.fork(parent)
    assert fork.ask("state") == "OFF"
    follow(fork, emulator, certificates)
    check_follows(emulator, parent, fork)
    assert emulator.connections == len(emulator.requests) == 2
    assert fork.ask("close") is True
    emulator.wait_for_connections(1)
    check_follows(emulator, parent)
    assert len(fork.wait_for_warning()) == 1


def test_a_forks_fork_is_warned_at_its_own_first_use(
    agents: Agents, parent: Agent, emulator: Emulator, certificates: dict[str, str]
) -> None:
    """Whether the manager is its grandparent's or its parent's; a fork that does not use it says nothing."""
    fork = agents.fork(parent)
    grandchildren = [agents.fork(fork)]
    follow(fork, emulator, certificates)
    grandchildren.append(agents.fork(fork))
    for grandchild in grandchildren:
        assert grandchild.warnings == []
        assert [grandchild.ask("state") for _ in range(2)] == ["OFF", "OFF"]
        assert len(grandchild.wait_for_warning()) == 1
    assert fork.warnings == []
    check_follows(emulator, parent, fork)


def test_a_manager_that_was_not_started_can_be_started_in_the_fork(
    agents: Agents, emulator: Emulator, certificates: dict[str, str]
) -> None:
    """Even in both processes."""
    parent = agents.start()
    parent.make(emulator.uri, ca=certificates["ca"])
    fork = agents.fork(parent)
    for agent in (parent, fork):
        agent.ask("start")
        assert agent.ask("result") is None
        assert agent.ask("wait_for_count", EVERYTHING)
        assert agent.warnings == []
    check_follows(emulator, parent, fork)
    assert fork.ask("close") is True
    assert parent.ask("close") is True


def test_a_manager_that_was_closed_is_not_warned_of(agents: Agents, parent: Agent) -> None:
    """It runs in no process any more."""
    assert parent.ask("close") is True
    fork = agents.fork(parent)
    assert fork.ask("close") is True
    assert fork.warnings == []


def test_logging_that_raises_in_the_fork_does_no_harm(
    agents: Agents, emulator: Emulator, certificates: dict[str, str]
) -> None:
    """With two managers, because the first one's warning must not keep the second from being let go."""
    parent = agents.start()
    for _ in range(2):
        follow(parent, emulator, certificates, kind="loud")
    assert parent.ask("fork_many", 2) == [0, 0]


def test_a_log_that_nobody_reads(agents: Agents, parent: Agent) -> None:
    """A thread of the parent hangs in a log line then; that of the fork hangs too, but holds nobody up."""
    parent.ask("fill_log")
    fork = agents.fork(parent)
    assert fork.ask("state") == "OFF"
    assert fork.ask("close") is True
    fork.send("exit_at_once")
    assert parent.ask("wait_for_end_of", fork.pid) == 0


def test_threads_that_fork_at_once(parent: Agent) -> None:
    """None waits for another for ever, and the log can be used afterwards."""
    assert parent.ask("fork_in_threads", 3, 100) is True


def test_a_callback_may_fork(agents: Agents, emulator: Emulator, certificates: dict[str, str]) -> None:
    """The fork's only thread is then that of the dispatcher."""
    parent = agents.start()
    follow(parent, emulator, certificates, kind="forking")
    assert parent.ask("forked_in_callback") == 0
    check_follows(emulator, parent)
    assert parent.ask("close") is True
