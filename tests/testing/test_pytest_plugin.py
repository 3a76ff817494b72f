"""The pytest plugin, in runs of pytest of its own: the installed one, without any setting by its user."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

# Here, because pytester forgets what was first imported in an inner run, and a later run would mix old and new modules.
import autoconfig.manager
import autoconfig.testing.emulator
import autoconfig.testing.recording

pytest_plugins = ["pytester"]

DEADLINE = 180.0  # seconds for a run of pytest
FIXTURES = [
    "autoconfig_emulator",
    "autoconfig_emulator_options",
    "autoconfig_env",
    "follow",
    "make_autoconfig_emulator",
    "recording_handler",
]
FOLLOWING = """
    import threading

    from autoconfig import StreamManager
    from autoconfig.testing import EnvironmentRep

    ENVIRONMENT = EnvironmentRep("env-1", env_name="Production")


    def test_follows(autoconfig_emulator, recording_handler):
        with StreamManager(autoconfig_emulator.key, autoconfig_emulator.uri, recording_handler):
            recording_handler.wait_for("received_all_environments")
            assert recording_handler.environments == {}
            autoconfig_emulator.set_environment(ENVIRONMENT)
            assert recording_handler.wait_for("add_environment").identifiers.env_name == "Production"


    def test_has_new_ones_in_each_test(autoconfig_emulator, recording_handler):
        assert autoconfig_emulator.environments == {}
        assert autoconfig_emulator.requests == []
        assert recording_handler.calls == []


    def test_nothing_is_left():
        assert not [thread for thread in threading.enumerate() if "autoconfig" in thread.name]
"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose tests run in this process, so that this test has to answer for what they leave behind."""
    pytester.makeini(
        "[pytest]\nfilterwarnings = error\naddopts = --strict-markers -p no:cacheprovider -p no:randomly\n"
    )
    return pytester


def test_the_fixtures_are_there_without_any_setting(run: pytest.Pytester) -> None:
    run.makepyfile(FOLLOWING)
    run.runpytest_inprocess().assert_outcomes(passed=3)


def test_a_process_of_its_own(run: pytest.Pytester) -> None:
    """So nothing was imported before that the plugin should have imported."""
    run.makepyfile(FOLLOWING)
    run.runpytest_subprocess(timeout=DEADLINE).assert_outcomes(passed=3)


def test_a_marker_has_the_options(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest
        from autoconfig.testing import EnvironmentRep

        pytestmark = pytest.mark.autoconfig_emulator(key="rel-module", heartbeat_interval=1.0)


        def test_of_the_module(autoconfig_emulator):
            assert autoconfig_emulator.key == "rel-module"


        @pytest.mark.autoconfig_emulator(key="rel-function", environments=[EnvironmentRep("env-1")])
        def test_of_the_function(autoconfig_emulator):
            assert autoconfig_emulator.key == "rel-function"
            assert list(autoconfig_emulator.environments) == ["env-1"]


        @pytest.mark.autoconfig_emulator(key="rel-class")
        class TestClass:
            def test_of_the_class(self, autoconfig_emulator):
                assert autoconfig_emulator.key == "rel-class"
        """
    )
    run.runpytest_inprocess().assert_outcomes(passed=3)


def test_a_fixture_has_the_options(run: pytest.Pytester) -> None:
    """It may use other fixtures, which a marker cannot; a marker still comes first."""
    run.makeconftest(
        """
        import pytest


        @pytest.fixture
        def environments():
            from autoconfig.testing import EnvironmentRep
            return [EnvironmentRep("env-1")]


        @pytest.fixture
        def autoconfig_emulator_options(environments):
            return {"environments": environments, "key": "rel-fixture"}
        """
    )
    run.makepyfile(
        """
        import pytest


        def test_fixture(autoconfig_emulator):
            assert list(autoconfig_emulator.environments) == ["env-1"]
            assert autoconfig_emulator.key == "rel-fixture"


        @pytest.mark.autoconfig_emulator(key="rel-marker")
        def test_marker(autoconfig_emulator):
            assert list(autoconfig_emulator.environments) == ["env-1"]
            assert autoconfig_emulator.key == "rel-marker"
        """
    )
    run.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_wrong_option_is_named(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest


        @pytest.mark.autoconfig_emulator(ports=1)
        def test_unknown(autoconfig_emulator): ...


        @pytest.mark.autoconfig_emulator([])
        def test_without_a_name(autoconfig_emulator): ...
        """
    )
    result = run.runpytest_inprocess()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "*TypeError: *unexpected keyword argument 'ports'*",
            "*UsageError: the marker autoconfig_emulator takes keywords only: the options of the class Emulator",
        ]
    )


def test_the_emulator_is_closed_after_a_test_that_fails(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import socket
        import urllib.parse

        import pytest

        address = None


        def test_fails(autoconfig_emulator):
            global address
            parts = urllib.parse.urlsplit(autoconfig_emulator.uri)
            address = parts.hostname, parts.port
            socket.create_connection(address).close()
            raise ValueError("as a test may")


        def test_is_closed():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
        """
    )
    run.runpytest_inprocess().assert_outcomes(passed=1, failed=1)


def test_the_variables_name_the_emulator(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTO_CONFIG_KEY", "rel-before")
    monkeypatch.setenv("no_proxy", "internal.example")
    monkeypatch.delenv("NO_PROXY", raising=False)
    run.makepyfile(
        """
        import os

        def test_during(autoconfig_env, autoconfig_emulator):
            assert os.environ["AUTO_CONFIG_KEY"] == autoconfig_emulator.key
            assert os.environ["STREAM_URI"] == autoconfig_emulator.uri
            assert os.environ["no_proxy"] == "internal.example,127.0.0.1,localhost,::1"
            assert os.environ["NO_PROXY"] == "127.0.0.1,localhost,::1"

        def test_after():
            assert os.environ["AUTO_CONFIG_KEY"] == "rel-before"
            assert "NO_PROXY" not in os.environ
        """
    )
    run.runpytest_inprocess().assert_outcomes(passed=2)


def test_follow_starts_managers_with_quick_retries(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a proxy in the environment that nobody could reach."""
    for name in "http_proxy", "HTTP_PROXY":
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in "no_proxy", "NO_PROXY":
        monkeypatch.delenv(name, raising=False)
    run.makepyfile(
        """
        import threading

        from autoconfig.testing import EnvironmentRep, RecordingHandler

        def test_many_failures(autoconfig_emulator, follow, recording_handler):
            follow(recording_handler)
            recording_handler.wait_for("received_all_environments")
            autoconfig_emulator.fail_next(503, times=8)
            autoconfig_emulator.set_environment(EnvironmentRep("env-1"))
            autoconfig_emulator.drop_connections()
            recording_handler.wait_for("received_all_environments")

        def test_several_profiles(make_autoconfig_emulator, follow):
            for id in "env-1", "env-2":
                handler = RecordingHandler()
                follow(handler, emulator=make_autoconfig_emulator([EnvironmentRep(id)], key=f"rel-{id}"))
                assert handler.wait_for("add_environment").env_id == id

        def test_nothing_is_left():
            assert not [thread for thread in threading.enumerate() if "autoconfig" in thread.name]
        """
    )
    run.runpytest_inprocess().assert_outcomes(passed=3)


def test_follow_reports_calls_that_failed(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import threading

        from autoconfig import MessageHandler
        from autoconfig.testing import EnvironmentRep

        class Failing(MessageHandler):
            def __init__(self):
                self.went_on = threading.Event()

            def add_environment(self, params):
                if params.env_id == "env-1":
                    raise ValueError("a bug")
                self.went_on.set()

        def provoke(emulator, follow, **options):
            handler = Failing()
            follow(handler, **options)
            for id in "env-1", "env-2":
                emulator.set_environment(EnvironmentRep(id))
            assert handler.went_on.wait(30)

        def test_reported(autoconfig_emulator, follow):
            provoke(autoconfig_emulator, follow)

        def test_expected(autoconfig_emulator, follow):
            provoke(autoconfig_emulator, follow, may_fail=True)
        """
    )
    result = run.runpytest_inprocess("-p", "no:logging")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_reported*", "*1 call(s) of the handler failed*"])


def test_a_call_that_does_not_come_is_said_without_keys(run: pytest.Pytester) -> None:
    """In the whole of pytest's report, that is: not in the values of variables either."""
    run.makepyfile(
        """
        from autoconfig import StreamManager
        from autoconfig.testing import EnvironmentRep, SDKKeyRep

        def test_it(autoconfig_emulator, recording_handler):
            sdk_key = "-".join(["sdk", *"12345678"] * 2)
            rep = EnvironmentRep("env-1", sdk_key=SDKKeyRep(sdk_key))
            del sdk_key
            autoconfig_emulator.set_environment(rep)
            with StreamManager(autoconfig_emulator.key, autoconfig_emulator.uri, recording_handler):
                recording_handler.wait_for("received_all_environments")
                recording_handler.wait_for("update_environment", timeout=0)
        """
    )
    result = run.runpytest_inprocess("--showlocals", "-vv")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TimeoutError: no update_environment within 0 s; calls so far*"])
    assert "add_environment(EnvironmentParams(env_id='env-1'" in result.stdout.str()
    assert "-".join(["sdk", *"12345678"] * 2) not in result.stdout.str()
    assert autoconfig.testing.DEMO_KEY not in result.stdout.str()


def test_pytest_explains_the_fixtures_and_the_marker(run: pytest.Pytester) -> None:
    fixtures = run.runpytest_inprocess("--fixtures", "-q").stdout
    for name in FIXTURES:
        fixtures.fnmatch_lines([f"{name} *"])
    fixtures.no_fnmatch_line("*no docstring available*autoconfig*")
    run.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.autoconfig_emulator(?*options): *"])


def test_it_can_be_switched_off(run: pytest.Pytester) -> None:
    run.makepyfile("def test_it(recording_handler): ...")
    result = run.runpytest_inprocess("-p", "no:autoconfig")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'recording_handler' not found"])


def test_is_declared_as_a_plugin() -> None:
    """As a failure that says what to do: an editable install does not notice a new entry point by itself."""
    declared = {point.name: point.value for point in metadata.entry_points(group="pytest11")}
    assert declared.get("autoconfig") == "autoconfig.testing.pytest_plugin", "install the package again"


def test_the_module_imports_nothing_but_pytest() -> None:
    """Every run of pytest loads it, whoever has the library installed. Not ssl above all: a conftest may patch that."""
    program = """
import sys, pytest
before = set(sys.modules)
import autoconfig.testing.pytest_plugin
print(*sorted(set(sys.modules) - before), "ssl" in sys.modules)
"""
    own = "autoconfig autoconfig.lazy_imports autoconfig.testing autoconfig.testing.pytest_plugin autoconfig.version"
    assert run_python(program) == f"{own} False\n"


def test_the_rest_needs_no_pytest() -> None:
    run_python("import sys; sys.modules['pytest'] = None; import autoconfig.testing as t; t.RecordingHandler()")


def run_python(program: str) -> str:
    """Run a program, which has to succeed and to print no error; return what it prints."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
