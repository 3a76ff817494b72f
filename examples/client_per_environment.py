"""
Keep a client of LaunchDarkly's SDK for each environment.

    AUTO_CONFIG_KEY=rel-… python client_per_environment.py
"""

import os
import signal
import sys

from ldclient.config import Config

from autoconfig import EnvironmentParams, KeyRejectedError, StreamManager
from autoconfig.clients import ClientPool

SDK_URI = os.environ.get("SDK_URI")  # for instance that of a Relay Proxy


def make_config(environment: EnvironmentParams) -> Config:
    hosts = {"base_uri": SDK_URI, "stream_uri": SDK_URI, "events_uri": SDK_URI}
    return Config(environment.sdk_key, **(hosts if SDK_URI else {}))


key = os.environ.get("AUTO_CONFIG_KEY") or sys.exit("AUTO_CONFIG_KEY is not set")
uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())  # closes the pool
try:
    with ClientPool(make_config) as pool, StreamManager(key, uri, pool) as manager:
        manager.join()  # your program's own work: pool.get(env_id).variation(…)
except KeyRejectedError as error:
    sys.exit(str(error))
except KeyboardInterrupt:
    pass
