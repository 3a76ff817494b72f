"""Print every change: AUTO_CONFIG_KEY=rel-… python print_changes.py"""

import os
import sys

from autoconfig import (
    EnvironmentID,
    EnvironmentParams,
    KeyRejectedError,
    MessageHandler,
    StreamManager,
)


class Printer(MessageHandler):
    def add_environment(self, params: EnvironmentParams) -> None:
        print("added", params, flush=True)  # keys are masked wherever they are shown

    def update_environment(self, params: EnvironmentParams) -> None:
        print("updated", params, flush=True)

    def delete_environment(self, id: EnvironmentID) -> None:
        print("deleted", id, flush=True)


key = os.environ.get("AUTO_CONFIG_KEY") or sys.exit("AUTO_CONFIG_KEY is not set")
uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
try:
    with StreamManager(key, uri, Printer()) as manager:
        manager.join()  # ends by itself only if the key is refused
except KeyRejectedError as error:
    sys.exit(str(error))
except KeyboardInterrupt:
    pass
