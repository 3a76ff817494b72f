"""The recipes for asyncio, under FastAPI and uvicorn; the adapter for coroutines in hard cases too."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from frameworks.conftest import NAMES, WHERE, Serve
from frameworks.recipes import recipe
from support.samples import environment

from autoconfig import HandlerErrors, RetryPolicy, StreamState
from autoconfig.testing import Emulator

PAGE = "asyncio.md"
WAITING = 60.0
UVICORN = ("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "on")
METHODS = ("add_environment", "update_environment", "delete_environment", "add_filter", "delete_filter")


class Handler:
    """Notes its calls; ``hinder`` is awaited in each of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.received = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    async def hinder(self, name: str) -> None:
        await asyncio.sleep(0)

    async def received_all_environments(self) -> None:
        self.received.set()

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(name)

        async def call(item: Any) -> None:
            assert asyncio.get_running_loop() is self.loop
            self.calls.append((name, getattr(item, "env_id", None) or getattr(item, "id", item)))
            await self.hinder(name)

        return call


@pytest.fixture
def aio(tmp_path: Path) -> ModuleType:
    """The page's module."""
    (tmp_path / "aio.py").write_text(recipe(PAGE, "class OnLoop"))
    spec = importlib.util.spec_from_file_location("aio", tmp_path / "aio.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, WAITING))


def test_a_lifespan(serve: Serve, site: Path) -> None:
    app = f"""
import os
from fastapi import FastAPI
{recipe(WHERE, "async def lifespan")}
app = FastAPI(lifespan=lifespan)

@app.get("/")
async def environments():
    return {{"pid": os.getpid(), "names": sorted(one.identifiers.env_name for one in following.registry)}}
"""
    (site / "app.py").write_text(app)
    serve(*UVICORN, "app:app").follows(1)


def test_a_handler_with_coroutines(serve: Serve, site: Path, service: Emulator) -> None:
    (site / "aio.py").write_text(recipe(PAGE, "class OnLoop"))
    (site / "app.py").write_text(recipe(PAGE, "app = FastAPI("))
    server = serve(*UVICORN, "app:app")
    server.wait_for_workers(1, environments=NAMES)
    service.set_environment(environment("one", 2))
    server.wait_for_workers(1, environments=["one v2", NAMES[1]])
    service.delete_environment("two")
    server.wait_for_workers(1, environments=["one v2"])
    server.stops(1)


def test_calls_come_in_order_and_again_when_they_failed(aio: ModuleType, service: Emulator) -> None:
    async def main() -> None:
        handler = Handler()
        failing = ["add_environment"]

        async def hinder(name: str) -> None:
            if name in failing:
                failing.remove(name)
                raise OSError("database away")

        handler.hinder = hinder  # type: ignore[method-assign]
        again = HandlerErrors(retry=RetryPolicy(max_delay=0.01), initial_delay=0.01)
        async with aio.follow(service.key, service.uri, handler, handler_errors=again) as manager:
            await handler.received.wait()
            while manager.status.pending_retries or len(handler.calls) < 3:
                await asyncio.sleep(0.01)
            service.delete_environment("two")
            while len(handler.calls) < 4:
                await asyncio.sleep(0.01)
        added = [("add_environment", id) for id in ("one", "two", "one")]
        assert handler.calls == [*added, ("delete_environment", "two")]
        assert manager.status.failed_callbacks == 1
        assert manager.status.state is StreamState.OFF

    run(main())


def test_a_coroutine_that_hangs_is_cancelled_and_has_failed(aio: ModuleType, service: Emulator) -> None:
    async def main() -> None:
        handler = Handler()
        cancelled = []

        async def hinder(name: str) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise

        handler.hinder = hinder  # type: ignore[method-assign]
        async with aio.follow(service.key, service.uri, handler, grace=0.2) as manager:
            while not handler.calls:
                await asyncio.sleep(0.01)
            begin = time.monotonic()
        assert time.monotonic() - begin < 15
        assert cancelled == ["add_environment"]
        assert len(handler.calls) == 1
        assert manager.status.failed_callbacks == 1

    run(main())


def test_a_closed_loop_raises(aio: ModuleType) -> None:
    async def nothing(_: object) -> None: ...

    handler = type("", (), {"add_environment": staticmethod(nothing)})()
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        aio.OnLoop(handler, loop).add_environment(None)
