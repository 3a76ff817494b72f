"""These tests need packages that disturb others, so they run in the tox environments ``neighbours`` only."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("AUTOCONFIG_NEIGHBOURS") else ["test_*.py"]
