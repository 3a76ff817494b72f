"""Print every change of the environments: AUTO_CONFIG_KEY=rel-… python print_changes.py"""

import contextlib
import os

from autoconfig import EnvironmentID, EnvironmentParams, MessageHandler, StreamManager


class Printer(MessageHandler):
    def add_environment(self, params: EnvironmentParams) -> None:
        print("added", params, flush=True)  # keys are masked wherever they are shown

    def update_environment(self, params: EnvironmentParams) -> None:
        print("updated", params, flush=True)

    def delete_environment(self, id: EnvironmentID) -> None:
        print("deleted", id, flush=True)


uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
with contextlib.suppress(KeyboardInterrupt), StreamManager(os.environ["AUTO_CONFIG_KEY"], uri, Printer()) as manager:
    manager.join()  # ends by itself only if the key is refused, and raises KeyRejectedError then
