"""``autoconfig completion``: the scripts know every command, and the shells take them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from autoconfig.cli import COMMANDS, main

shtab = pytest.importorskip("shtab")
Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_script_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [name for name in COMMANDS if name not in out] == []
    assert "--key-file" in out


def test_bash_completes_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    main(["completion", "bash"])
    script = capsys.readouterr().out
    ask = "COMP_WORDS=(autoconfig snapshot --for); COMP_CWORD=2; _shtab_autoconfig; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run([bash, "-c", script + ask], capture_output=True, text=True, timeout=10, check=False)
    assert done.stdout == "--format\n"
    assert done.stderr == ""


def test_without_shtab_there_is_a_hint(run: Run) -> None:
    program = "import sys; sys.modules['shtab'] = None; from autoconfig.cli import main; sys.exit(main())"
    code, out, err = run("completion", "bash", program=("-c", program))
    assert (code, out) == (1, "")
    assert err == "autoconfig completion: this needs shtab: pip install 'ld-autoconfig[cli]'\n"
