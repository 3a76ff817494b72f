"""
Draw the command's pictures for the documentation: what real terminals of 80, 120 and 40 columns show.

    python docs/pictures/draw.py            # all of them, a minute
    python docs/pictures/draw.py snapshot   # those of one command

Needs the package with its extra ``cli``, and a system with pseudo-terminals. The emulator plays the service.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from autoconfig.cli.demo import DOCS, ENVIRONMENTS, FILTERS, PRODUCTION, STAGING
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.testing import Emulator

FOLDER = Path(__file__).parent
COMMANDS = ("watch", "snapshot", "doctor", "demo")
WIDTHS = (80, 120, 40)
HEIGHT = 11  # of the terminal; only `watch` depends on it
PORT = 8765  # that of `autoconfig emulate`
PREVIEW = replace(DOCS, env_id="64c1f0a2b7e94d0012ab3c04", env_key="preview", env_name="Preview")
# rich's own template has a window around the text, fonts from the network, and a clip for each line.
TEMPLATE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{shown_width}">
<style>text {{ font: 20px monospace }}
{styles}</style>
<rect fill="#292929" width="100%" height="100%" rx="8"/>
<g transform="translate(9, 9)">
{backgrounds}{matrix}</g>
</svg>
"""
SCALE = 0.6  # from the units of the picture to the pixels that a page gives it

Story = Callable[[Emulator], None]


def main(*chosen: str) -> None:
    """Draw the pictures of the commands that are named, or of all."""
    for command in chosen or COMMANDS:
        for width in WIDTHS:
            lines = screen(command, width)
            (FOLDER / f"{command}-{width}.svg").write_text(drawn(command, lines, width), "utf-8")


def screen(command: str, width: int) -> list[Text]:
    """Run a command on a terminal of its own; return the lines that stand there at the end."""
    with Emulator(ENVIRONMENTS, FILTERS, port=PORT if __name__ == "__main__" else 0) as service:
        variables = {"STREAM_URI": service.uri, "AUTO_CONFIG_KEY": service.key}
        if command == "doctor":
            service.key = "rel-another"  # so that it finds something
        output = run(command, width, variables, lambda: change(service) if command == "watch" else None)
    # `watch` redraws its screen from the top, and gives it back at the end.
    frame = output.partition("\x1b[?1049l")[0].rpartition("\x1b[H")[2]
    text = "\n".join(line.rstrip() for line in frame.splitlines())
    lines = [Text(f"$ autoconfig {command}", "dim"), *Text.from_ansi(text.rstrip()).split(allow_blank=True)]
    return [part for line in lines for part in folded(line, width)]


def run(command: str, width: int, variables: dict[str, str], story: Callable[[], object]) -> str:
    """Run a command and a story beside it; return all that the command writes to its terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, width, 0, 0))
    environment = os.environ | variables | {"TERM": "xterm-256color", "NO_PROXY": "127.0.0.1"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "AUTO_CONFIG_KEY_FILE"):
        environment.pop(name, None)
    argv = [sys.executable, "-m", "autoconfig", command]
    process = subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    os.close(its)
    output = io.BytesIO()
    reader = threading.Thread(target=read_all, args=(ours, output))
    reader.start()
    try:
        story()
        if command == "watch":
            process.send_signal(signal.SIGINT)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)
    return output.getvalue().decode()


def read_all(descriptor: int, output: io.BytesIO) -> None:
    """Read what is written to a terminal, until it is closed on the other side, which is an error on Linux."""
    with suppress(OSError):
        while data := os.read(descriptor, 65536):
            output.write(data)


def change(service: Emulator) -> None:
    """Rename an environment, rotate a key, and add an environment, with pauses, so that the ages differ."""
    service.wait_for_connections(1)
    pause(4)
    service.set_environment(replace(STAGING, env_name="QA"))
    pause(3)
    service.rotate_sdk_key(PRODUCTION.env_id, "sdk-b3a5d8e1-4f72-4960-a1c8-5d9e2f7b0c63", timedelta(minutes=30))
    service.set_environment(preview())
    pause(2.5)


def preview() -> EnvironmentRep:
    """Return a new environment with a key of its own."""
    return replace(PREVIEW, sdk_key=SDKKeyRep("sdk-2e8f4b1d-90a7-4c35-8e6b-d1f7a3c05928"), sdk_keys=None)


def pause(seconds: float) -> None:
    """Let the picture age."""
    threading.Event().wait(seconds)


def folded(line: Text, width: int) -> list[Text]:
    """Break a line where a terminal does: at its last column, inside of words too."""
    return [line[start : start + width] for start in range(0, len(line), width)] or [Text()]


def drawn(command: str, lines: list[Text], width: int) -> str:
    """Return a picture of the lines."""
    console = Console(record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width)
    console.print(*lines, sep="\n", highlight=False, markup=False, emoji=False, no_wrap=True)
    template = TEMPLATE.replace("{shown_width}", f"{width * 12.2 * SCALE:.0f}")
    svg = console.export_svg(unique_id=f"{command}{width}", code_format=template)
    svg = re.sub(r' clip-path="url\([^)]*\)"', "", svg)
    svg = re.sub(r"<text[^>]*>\s*</text>", "", svg)  # ends of lines
    svg = svg.replace("&#160;", "\xa0").replace("><text", ">\n<text")
    return "".join(f"{line.strip()}\n" for line in svg.splitlines() if line.strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
