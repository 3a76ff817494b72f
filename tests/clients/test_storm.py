"""Rotations by the dozen, with readers that evaluate all the time."""

from __future__ import annotations

import random
import threading
import time

import pytest
from support.waiting import wait_until

pytest.importorskip("ldclient")

from clients.conftest import MakePool
from clients.pools import params, sdk_key, served_key, value

from autoconfig.clients import ClientPool
from autoconfig.testing.flags import FlagService


class Reader:
    """Evaluates every environment's flag until it is stopped, and notes what it should not have seen."""

    def __init__(self, pool: ClientPool, ids: str, borrows: bool) -> None:
        self.evaluations = 0
        self.wrong: list[str] = []
        self._stopped = threading.Event()
        self._arguments = (pool, ids, borrows)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        pool, ids, borrows = self._arguments
        while not self._stopped.wait(0.001):
            for id in ids:
                if borrows:
                    with pool.borrow(id) as client:
                        self._note(id, value(client), client.data_source_status_provider.status.state.name)
                else:
                    self._note(id, value(pool.get(id)), "")

    def _note(self, id: str, color: object, state: str) -> None:
        self.evaluations += 1
        if color != f"color of {id}" or state == "OFF":  # OFF: it was closed
            self.wrong.append(f"{id}: {color} {state}")


def test_a_storm_of_rotations(make_pool: MakePool, flags: FlagService) -> None:
    """40 rotations of 4 environments within a second; half of the new keys are refused twice."""
    ids = "ABCD"
    rotations = [(id, f"{number}{id}") for number in range(1, 41) for id in ids]
    for id in ids:
        flags.set_flag("color", f"color of {id}", sdk_key=sdk_key(f"0{id}"))
    for id, key in rotations:
        flags.set_flag("color", f"color of {id}", sdk_key=sdk_key(key))
    for _, key in random.Random(1).sample(rotations, len(rotations) // 2):
        flags.refuse(sdk_key(key), 2)
    flags.refuse(sdk_key("40A"), 2)  # the last one of at least one environment
    pool = make_pool(linger=0.2)
    for id in ids:
        pool.add_environment(params(id, f"0{id}"))
    pool.received_all_environments()
    assert pool.wait_until_ready(30)

    readers = [Reader(pool, ids, borrows) for borrows in (True, True, False, False)]
    pause, began = threading.Event(), time.monotonic()
    for number, (id, key) in enumerate(rotations):
        pool.update_environment(params(id, key))
        pause.wait(max(0.0, began + number / len(rotations) - time.monotonic()))
    wait_until(lambda: [served_key(pool, id) for id in ids] == [sdk_key(f"40{id}") for id in ids])
    flags.wait_for_streams(*(sdk_key(f"40{id}") for id in ids), timeout=30)
    for reader in readers:
        reader.stop()
    assert [wrong for reader in readers for wrong in reader.wrong] == []
    assert sum(reader.evaluations for reader in readers) > 100
    wait_until(lambda: {found.retired for found in pool.status().values()} == {0})
    assert pool.close(60)
    flags.wait_for_streams()
