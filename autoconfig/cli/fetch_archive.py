"""``autoconfig fetch-archive``: download the archive of the Relay Proxy's offline mode."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..archive import fetch_archive
from ..config import HTTPConfig
from ..exceptions import KeyRejectedError, StreamError
from . import KEY_REJECTED, OK
from .output import CommandError, harmless, put_line
from .sources import Connection
from .words import counted


def run(source: Callable[[], Connection], *, output: str, timeout: float) -> int:
    """Download it."""
    service = source()
    http_config = HTTPConfig(proxy_url=service.proxy, ca_certs=service.ca_file, read_timeout=timeout)
    try:
        number = fetch_archive(service.key, output, uri=service.uri, http_config=http_config)
    except KeyRejectedError as error:
        problem = f"the service rejected the key (HTTP status {error.status})"
        fix = "check that it is the key of an auto-configuration profile (rel-…) that allows offline mode"
        raise CommandError(service.key_name, problem, fix, KEY_REJECTED) from None
    except StreamError as error:
        raise CommandError("the archive", str(error), "run it again, with -v") from None
    except OSError as error:
        problem = f"cannot write the file: {os.strerror(error.errno or 0)}"
        raise CommandError("--output", problem, "give a file in a directory that exists and can be written") from None
    put_line(f"{counted(number, 'environment')} in {harmless(output)}")
    return OK
