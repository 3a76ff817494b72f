"""``examples/print_changes.py``."""

from __future__ import annotations

from examples.conftest import EXAMPLES, PRODUCTION, STAGING, Start
from msgspec.structs import replace

from autoconfig.testing import Emulator


def test_prints_what_is_there_and_every_change(start: Start, service: Emulator) -> None:
    printing = start("print_changes.py")
    assert printing.line("added") == f"added {PRODUCTION.to_params()}"
    assert printing.line("added") == f"added {STAGING.to_params()}"
    service.set_environment(replace(STAGING, env_name="QA"))
    assert "Shop / QA " in printing.line("updated")
    service.delete_environment(PRODUCTION.env_id)
    assert printing.line("deleted") == f"deleted {PRODUCTION.env_id}"
    printing.interrupt()
    assert printing.ended() == 0
    assert "Traceback" not in printing.output


def test_ends_when_the_key_is_refused(start: Start) -> None:
    printing = start("print_changes.py", AUTO_CONFIG_KEY="rel-another")
    assert printing.ended() == 1
    assert printing.output.splitlines()[-1].startswith("the service rejected the auto-configuration key")
    assert "Traceback" not in printing.output


def test_says_so_if_there_is_no_key(start: Start) -> None:
    printing = start("print_changes.py", AUTO_CONFIG_KEY="")
    assert printing.ended() == 1
    assert printing.output == "AUTO_CONFIG_KEY is not set\n"


def test_is_as_short_as_it_should_be() -> None:
    lines = (EXAMPLES / "print_changes.py").read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 35
