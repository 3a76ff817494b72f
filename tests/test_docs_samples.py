"""
Each Python sample of the README and the pages runs as it stands, in a process of its own.

Only ``STREAM_URI`` and ``AUTO_CONFIG_KEY`` are set. The first line of a sample may say that it continues the sample
above. If the paragraph before it calls it a fragment, it is compiled, and only its imports are run. If that paragraph
ends with the name of a file, the other samples of the page can import it.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trustme

from autoconfig.cli.demo import ENVIRONMENTS, FILTERS
from autoconfig.testing import Emulator

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\S+)\n((?::\w+:[^\n]*\n)*)(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = ("{testcode}", "python")
CONTINUES = "# Continues the sample above"
EXTRAS = {"celery", "cryptography", "django", "fastapi", "flask", "ldclient", "opentelemetry", "prometheus_client"}
EXTRAS |= {"redis", "uwsgi", "uwsgidecorators"}
# Forks once for each sample, so that each has a process of its own, and the imports are paid once for all pages. A
# program that follows the stream for ever is interrupted after a while, as by Ctrl-C; one that has to raise has time.
RUNNER = """
import json, os, re, signal, sys, traceback
import pytest
import autoconfig.manager, autoconfig.ready_made.registry, autoconfig.testing.emulator, autoconfig.testing.recording

def run(text, raises):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 60 if raises else 2)
    try:
        exec(compile(text, "sample", "exec"), {"__name__": "__main__"})
    except KeyboardInterrupt:
        pass
    except BaseException:
        return traceback.format_exc()
    return ""

def run_tests(text, output):
    with open(f"test_{output}.py", "w") as file:
        file.write(text)
    return pytest.main(["-q", "-p", "no:cacheprovider", file.name]) and open(output).read()

def start(folder, variables, text, raises):
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        return child, open(reader, "rb")
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ |= variables
    output = f"output_{os.getpid()}"
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the next page's samples are for the runner
    os.dup2(os.open(output, os.O_CREAT | os.O_WRONLY), 1)
    os.dup2(1, 2)
    error = run_tests(text, output) if re.search("^def test_", text, re.M) else run(text, raises)
    os.write(writer, str(error or "").encode()[-4000:])
    os._exit(0)

def errors_of(folder, variables, samples):
    for child, pipe in [start(folder, variables, *sample) for sample in samples]:
        with pipe:
            error = pipe.read().decode(errors="replace")
        yield error if os.waitpid(child, 0)[1] == 0 else f"the sample has left its process: {error}"

for page in sys.stdin:
    print(json.dumps(list(errors_of(*json.loads(page)))), flush=True)
"""
LIMIT = 300.0  # seconds for a page


@attrs.define
class Sample:
    """
    A sample, with those that it continues.

    Attributes:
        text: The program.
        file: What the page says to save it as.
        raises: Whether the page shows a traceback below it.
    """

    text: str
    file: str | None = None
    raises: bool = False


def samples(page: Path) -> list[Sample]:
    """Return the programs of a page; of a fragment, which is compiled here, its imports."""
    text = page.read_text("utf-8")
    found: list[Sample] = []
    visible_end = 0  # of the block before
    for block in BLOCK.finditer(text):
        kind, options, body = block.groups()
        if kind == "{testoutput}" and body.lstrip().startswith("Traceback"):
            found[-1].raises = True
        if kind not in PYTHON or ":hide:" in options:
            continue
        before = BLOCK.sub("", text[visible_end : block.start()]).rstrip().rpartition("\n\n")[2]
        visible_end = block.end()
        name = re.search(r"`(\w+\.py)`[^`]*:$", before)
        if re.search(r"\bfragments?\b", before):
            fragment = textwrap.dedent(body)
            compile(fragment, page.name, "exec")
            found.append(Sample("\n".join(re.findall(r"^(?:import|from) .*", fragment, re.MULTILINE))))
        elif body.startswith(CONTINUES):
            found.append(Sample(f"{found[-1].text}\n{body}"))
        else:
            found.append(Sample(body, name and name[1]))
    return found


Runner = Callable[[Path, dict[str, str], list[Sample]], list[str]]
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if any(kind in PYTHON for kind, _, _ in BLOCK.findall(page.read_text("utf-8")))
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the files that the pages on TLS name."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("client")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "client.key")
    return tmp_path


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Runs the samples of a page: its folder, its variables, and pairs of a text and whether it raises."""
    said = tmp_path_factory.mktemp("runner") / "stderr"
    pipe = subprocess.PIPE
    with (
        said.open("w") as stderr,
        subprocess.Popen([sys.executable, "-c", RUNNER], stdin=pipe, stdout=pipe, stderr=stderr, text=True) as process,
    ):
        assert process.stdin
        assert process.stdout
        orders, answers = process.stdin, process.stdout

        def run(folder: Path, variables: dict[str, str], programs: list[Sample]) -> list[str]:
            one = str(folder), variables, [(sample.text, sample.raises) for sample in programs]
            print(json.dumps(one), file=orders, flush=True)
            assert select.select([answers], [], [], LIMIT)[0], f"the samples hang; {said.read_text('utf-8')}"
            line = answers.readline()
            assert line, said.read_text("utf-8")
            errors: list[str] = json.loads(line)
            return errors

        yield run
        process.kill()  # it may hang in a page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_samples_run_as_they_stand(page: Path, folder: Path, runner: Runner) -> None:
    programs = samples(page)
    for sample in programs:
        if sample.file:
            (folder / sample.file).write_text(sample.text, "utf-8")
    with Emulator(ENVIRONMENTS, FILTERS) as service:
        variables = {
            "STREAM_URI": service.uri,
            "AUTO_CONFIG_KEY": service.key,
            "AUTO_CONFIG_CACHE_ENCRYPTION_KEY": "a secret of the relays",
            "NO_PROXY": "127.0.0.1",
        }
        errors = runner(folder, variables, programs)
    for sample, error in zip(programs, errors, strict=True):
        missing = re.search(r"No module named '(\w+)", error)
        if not missing or missing[1] not in EXTRAS:
            assert bool(error) == sample.raises, f"{sample.text}\n{error}"
