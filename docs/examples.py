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

from autoconfig import StreamManager
from autoconfig.cli.demo import DOCS, ENVIRONMENTS, EUROPE, FILTERS, PRODUCTION, STAGING  # noqa: F401  # for the pages
from autoconfig.testing import Emulator

pages = Path(__file__).parent
clients = bool(find_spec("ldclient"))
plugin = bool(find_spec("pytest") and find_spec("autoconfig.testing.pytest_plugin"))


def serve():
    """Start an emulator of the command's story, with the environment variables that lead to it."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    logger = logging.getLogger("autoconfig")
    logger.handlers[:] = [logging.NullHandler()]
    logger.propagate = False
    service = Emulator(ENVIRONMENTS, FILTERS)
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
