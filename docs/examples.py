"""What the examples on the pages find when they are run as tests; see ``doctest_global_setup`` in ``conf.py``."""

import gc
import logging
import os
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

from autoconfig import EnvironmentRep, FilterRep, SDKKeyRep, StreamManager
from autoconfig.testing import Emulator

pages = Path(__file__).parent
clients = bool(find_spec("ldclient"))
plugin = bool(find_spec("pytest") and find_spec("autoconfig.testing.pytest_plugin"))

PRODUCTION = EnvironmentRep(
    env_id="64c1f0a2b7e94d0012ab3c01",
    env_key="production",
    env_name="Production",
    mob_key="mob-1f6a2c3e-8b40-4d7e-9a51-6c0e7f2b9d14",
    proj_key="shop",
    proj_name="Shop",
    sdk_key=SDKKeyRep("sdk-7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    version=1,
)
STAGING = EnvironmentRep(
    env_id="64c1f0a2b7e94d0012ab3c02",
    env_key="staging",
    env_name="Staging",
    mob_key="mob-3b8d5e70-94a1-4f26-b3c8-d2e91a0f5c27",
    proj_key="shop",
    proj_name="Shop",
    sdk_key=SDKKeyRep("sdk-f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    version=1,
)
DOCS = EnvironmentRep(
    env_id="64c1f0a2b7e94d0012ab3c03",
    env_key="production",
    env_name="Production",
    mob_key="mob-5e2f9a14-07cb-4e83-8d16-a94b3c7e0f52",
    proj_key="docs",
    proj_name="Docs",
    sdk_key=SDKKeyRep("sdk-9b2d7f3a-61c4-4e08-b5a9-3f8e0d1c6b74"),
    version=1,
)
EUROPE = "64c1f0a2b7e94d0012ab3f01"


def serve():
    """Start an emulator of the command's story, with the environment variables that lead to it."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    logger = logging.getLogger("autoconfig")
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False
    service = Emulator([PRODUCTION, STAGING, DOCS], {EUROPE: FilterRep("shop", "europe", version=1)})
    service.start()
    os.environ.update(STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key)
    return service


def until(condition, seconds=10.0):
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the example waited in vain")
        time.sleep(0.01)


def printed(text):
    """Wait until the example that is running has printed a text."""
    until(lambda: text in sys.stdout.getvalue())


def interrupt():
    """Do to the example what Ctrl-C does."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def close_all():
    """Close the managers of the example."""
    for found in gc.get_objects():
        if isinstance(found, StreamManager):
            found.close()


def meanwhile(script):
    """Run a script while the next example runs, which it has to end."""
    thread = threading.Thread(target=script, daemon=True)
    thread.start()
    return thread
