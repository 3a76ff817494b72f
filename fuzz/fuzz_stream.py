"""
The target for atheris: ``python fuzz/fuzz_stream.py [options of libFuzzer] [folders with inputs]``.

``run.py`` calls it with the options that it needs. With the path of one file it plays that input.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["autoconfig", "sseclient"]):
    import target


def main() -> None:
    """Fuzz until an option ends it."""
    atheris.Setup(sys.argv, target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
