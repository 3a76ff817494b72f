"""Names for the protocol's identifiers and keys, and the one way in which a secret is shown."""

from __future__ import annotations

import re
from typing import NewType

AutoConfigKey = NewType("AutoConfigKey", str)
"""The key of an auto-configuration profile, ``rel-…``. A secret."""

EnvironmentID = NewType("EnvironmentID", str)
"""The id of an environment; also its client-side id, so not a secret."""

FilterID = NewType("FilterID", str)
"""The id of a payload filter. Unlike :data:`FilterKey` it is known to the stream only."""

FilterKey = NewType("FilterKey", str)
"""The key by which a payload filter is known to users; ``""`` means unfiltered."""

SDKKey = NewType("SDKKey", str)
"""A server-side SDK key, ``sdk-…``. A secret."""

MobileKey = NewType("MobileKey", str)
"""A mobile key, ``mob-…``. A secret."""

_PREFIX = re.compile(r"(?:api|mob|rel|sdk)-")
_KEY = re.compile(_PREFIX.pattern + r"[0-9A-Za-z-]{8,}")
_LONGEST = 100  # characters of foreign text in a log line
_SHOWN = 4  # characters of a secret's end that are shown, to tell keys apart
_SHORTEST = 16  # a secret part shorter than this shows nothing of itself: four characters would be too much of it


def mask(secret: str) -> str:
    """
    Return a secret in the form in which it may be shown: ``sdk-…9f2a``.

    The prefix stays if it is one of LaunchDarkly's own. The last four characters stay if at least sixteen follow the
    prefix. An empty secret stays empty.
    """
    if not secret:
        return ""
    found = _PREFIX.match(secret)
    prefix = found.group() if found else ""
    end = secret[-_SHOWN:] if len(secret) - len(prefix) >= _SHORTEST else ""
    return f"{prefix}…{end}"


def show(text: str) -> str:
    """
    Return text that came from the network in the form in which it may be logged.

    That is quoted, in ASCII, at most 100 characters of it, and with everything masked that looks like a key.
    """
    return ascii(_KEY.sub(lambda key: mask(key.group()), text[:_LONGEST]))


def mask_repr(secret: str) -> str:
    """Return :func:`mask` of the secret as a quoted string, for use as an attrs ``repr``."""
    return repr(mask(secret))
