"""Types of the protocol's identifiers and keys, and how secrets are masked."""

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
_LONGEST = 100  # characters of foreign text in a log line
_LOOKED_AT = 100 * _LONGEST  # characters of it; an event's name, for instance, can have millions
_SHOWN = 4  # characters of a secret's end that are shown, to tell keys apart
_SHORTEST = 16  # of a shorter secret part nothing is shown, because four characters would be too much of it
# At the beginning of a word, or in the middle of one if it is long: an escape such as \n or %3D may come before a key.
_KEY = re.compile(rf"(?<![0-9A-Za-z]){_PREFIX.pattern}[0-9A-Za-z-]{{8,}}|{_PREFIX.pattern}[0-9A-Za-z-]{{{_SHORTEST},}}")


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


def mask_keys(text: str) -> str:
    """
    Return a text in which everything that looks like a key is masked.

    That is one of LaunchDarkly's prefixes at the beginning of a word, and at least eight letters, digits or hyphens
    after it: words such as ``sdk-js`` stay as they are.
    """
    return _KEY.sub(lambda found: mask(found.group()), text)


def show(text: str) -> str:
    """
    Return text that came from the network in the form in which it may be logged.

    That is quoted, in ASCII, at most 100 characters of it, and with everything masked that looks like a key.
    """
    # Masked before it is cut, because a key of which only the beginning is left does not look like one.
    return ascii(mask_keys(text[:_LOOKED_AT])[:_LONGEST])


def mask_repr(secret: str) -> str:
    """Return :func:`mask` of the secret as a quoted string, for use as an attrs ``repr``."""
    return repr(mask(secret))
