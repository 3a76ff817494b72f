"""Whatever changes and faults follow one another, all followers come to the service's set, and no call comes twice."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from fleet.fleets import LOG, STATE, Fleet, a_filter, environment
from fleet.stalling_proxy import StallingProxy
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.waiting import wait_until

from autoconfig.redis import Leader

IDS = st.sampled_from(["a", "b", "c"])
COPIED = (STATE, LOG)


class FleetMachine(RuleBasedStateMachine):
    """
    A service, two that may lead, three followers, one of them behind a proxy, and Redis.

    What the service deletes may be deleted by followers; what it does not delete, never.
    """

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._stack = ExitStack()
        self._fleet = Fleet(Path(self._stack.enter_context(tempfile.TemporaryDirectory())), self._stack)
        self._proxy = self._stack.enter_context(StallingProxy(self._fleet.server.port))
        self._copies: dict[str, bytes | None] = {}
        self._leaders: list[Leader] = [self._fleet.lead(), self._fleet.lead(wait=False)]
        for url in (self._fleet.url, self._fleet.url, f"redis://127.0.0.1:{self._proxy.port}"):
            self._fleet.follow(url)

    def teardown(self) -> None:
        self._proxy.stalled = False
        try:
            wait_until(lambda: any(leader.status.leading for leader in self._leaders), "a leader")
            self._fleet.service.set_environment(environment("last"))
            self._fleet.settle()
            self._fleet.follow()
            self._fleet.settle()
        finally:
            self._stack.close()

    @rule(id=IDS)
    def set(self, id: str) -> None:
        self._number += 1
        self._fleet.service.set_environment(environment(id, default_ttl=self._number))  # each time another one

    @rule(id=IDS)
    def delete(self, id: str) -> None:
        if id in self._fleet.service.environments:
            self._fleet.service.delete_environment(id)
            self._fleet.deleted.add(id)

    @rule(ids=st.sets(IDS))
    def replace(self, ids: set[str]) -> None:
        kept = [rep for id, rep in self._fleet.service.environments.items() if id in ids or id.startswith("e")]
        self._fleet.deleted |= self._fleet.service.environments.keys() - {rep.env_id for rep in kept}
        self._fleet.service.replace(kept, {"f1": a_filter()})

    @rule()
    def drop_the_services_streams(self) -> None:
        self._fleet.service.close()
        self._fleet.service.start()

    @rule()
    def flush(self) -> None:
        self._fleet.client.flushall()

    @rule(key=st.sampled_from(COPIED))
    def lose_a_key(self, key: str) -> None:
        self._fleet.client.delete(key)

    @rule()
    def copy(self) -> None:
        self._copies = {key: self._fleet.client.dump(key) for key in COPIED}  # type: ignore[misc]

    @precondition(lambda self: self._copies)
    @rule()
    def restore(self) -> None:
        for key, value in self._copies.items():
            if value is None:
                self._fleet.client.delete(key)
            else:
                self._fleet.client.restore(key, 0, value, replace=True)  # type: ignore[arg-type]

    @rule(kept=st.integers(0, 2))
    def trim(self, kept: int) -> None:
        self._fleet.client.xtrim(LOG, maxlen=kept, approximate=False)

    @rule()
    def cut(self) -> None:
        self._proxy.cut()

    @rule(stalled=st.booleans())
    def stall(self, stalled: bool) -> None:
        self._proxy.stalled = stalled

    @rule()
    def depose(self) -> None:
        self._fleet.client.hset(STATE, "#owner", "")

    @rule(which=st.integers(0, 1))
    def replace_a_leader(self, which: int) -> None:
        self._leaders[which].close()
        self._leaders[which] = self._fleet.lead(wait=False)

    @rule()
    def settle(self) -> None:
        if not self._proxy.stalled:
            self._fleet.settle()

    @invariant()
    def nothing_came_twice(self) -> None:
        for follower in self._fleet.followers:
            follower.check_calls(*self._fleet.deleted)


TestAnyFaults = FleetMachine.TestCase
TestAnyFaults.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would take minutes, and real time is no replay
)
