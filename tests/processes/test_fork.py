"""A fork with a live manager does not hang, says so at its first use, and leaves the parent's stream alone."""

from __future__ import annotations

import pytest
from processes.control import Agent, Agents, FailedError
from processes.states import STATES, State
from support.random_data import repetitions
from support.waiting import wait_until

PENDING = {"stalled", "black hole", "back-off", "TLS stalled"}


@pytest.fixture
def parent(agents: Agents, state: State, certificates: dict[str, str]) -> Agent:
    """A process whose manager is in the state."""
    agent = agents.start()
    agent.make(state.url, ca=certificates["ca"])
    agent.ask("enter")
    state.reached()
    assert agent.ask("wait_for_count", state.calls)
    wait_until(lambda: agent.ask("failed_attempts") == state.failures, "the failed attempts")
    return agent


def check_everything(fork: Agent, *, pending: bool) -> None:
    """Do to the parent's manager all that can be done; nothing may hang."""
    assert fork.warnings == []
    assert fork.ask("shown").startswith("<StreamManager rel-")
    assert fork.ask("state") == "OFF"
    if pending:
        with pytest.raises(FailedError, match="ForkedError"):
            fork.ask("result")
    else:
        assert fork.ask("result") is None
    fork.ask("leave")
    assert fork.ask("close") is True
    assert fork.ask("close") is True
    for command in ("start", "join"):
        with pytest.raises(FailedError, match="ForkedError"):
            fork.ask(command)
    if pending:
        with pytest.raises(FailedError, match="ForkedError"):
            fork.ask("result")
    assert len(fork.wait_for_warning()) == 1
    assert "make and start another one in this process" in fork.warnings[0]


@pytest.mark.parametrize(("state", "pending"), [(name, name in PENDING) for name in STATES], indirect=["state"])
def test_a_fork_can_do_anything_and_leave(pending: bool, agents: Agents, parent: Agent) -> None:
    """Whatever the parent's manager is doing; the parent can then close it as ever."""
    before = parent.warnings
    for way in ("end", "exit_at_once"):
        fork = agents.fork(parent)
        assert fork.ask("sockets") == [], "neither that of the stream nor one that is being connected is the fork's"
        check_everything(fork, pending=pending)
        fork.send(way)
        assert parent.ask("wait_for_end_of", fork.pid) == 0
    assert parent.ask("close") is True
    assert parent.warnings == before


@pytest.mark.parametrize("state", ["flood", "TLS flood"], indirect=True)
def test_forks_at_random_moments_of_a_flood(agents: Agents, parent: Agent) -> None:
    """Each checks everything by itself, and leaves by ``os._exit`` or like any program."""
    rounds = repetitions(6)
    for _ in range(rounds):
        assert parent.ask("fork_many", 10, True) == [0] * 10
    assert parent.ask("wait_for_count", parent.ask("count") + 500)
    warned = [line.split()[0] for line in agents.log.read_text("utf-8").splitlines() if " WARNING " in line]
    assert len(warned) == len(set(warned)) == 10 * rounds
    assert parent.warnings == []
    assert parent.ask("close") is True


@pytest.mark.parametrize("state", ["stalled", "idle"], indirect=True)
def test_forks_while_other_threads_look_at_the_future(parent: Agent) -> None:
    """One of them may hold the future's lock at that moment."""
    parent.ask("poll_ready")
    assert parent.ask("fork_many", 20) == [0] * 20


@pytest.mark.parametrize("state", ["idle", "flood"], indirect=True)
def test_multiprocessing_by_fork(parent: Agent) -> None:
    """Its worker checks everything, and the parent's manager goes on."""
    assert parent.ask("multiprocess") == 0
    assert parent.ask("close") is True


@pytest.mark.parametrize("state", ["idle", "flood"], indirect=True)
def test_a_subprocess_is_no_fork(parent: Agent, agents: Agents) -> None:
    """It runs another program, so nobody needs to be warned."""
    assert parent.ask("run_program") == 0
    assert " WARNING " not in agents.log.read_text("utf-8")
