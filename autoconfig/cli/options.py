"""The arguments of all commands, the errors for wrong ones, and the options that name the stream."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click
from click.shell_completion import get_completion_class, shell_complete

from ..identifiers import AutoConfigKey
from ..keys import text_of_key_file
from ..validation import check_header_value, check_seconds, check_url
from ..version import __version__
from . import FAILURE, INTERRUPTED, OK, USAGE, interruptible, library_logs
from .fleet import Fleet
from .output import CommandError, complain, put_line, shown_uri, silence

if TYPE_CHECKING:
    from ..handler import MessageHandler
    from ..manager import StreamManager
    from ..safe_logger import Logger

DEFAULT_URI = "https://stream.launchdarkly.com"
SNAPSHOT_TIMEOUT = 30.0  # seconds
DOCTOR_TIMEOUT = 10.0  # seconds
EXEC_TIMEOUT = 60.0  # seconds
ARCHIVE_URI = "https://sdk.launchdarkly.com"
ARCHIVE_TIMEOUT = 60.0  # seconds
LONGEST_LEASE = 10.0  # seconds
DEFAULT_PORT = 8765
DEFAULT_INTERVAL = 4.0  # seconds: time to read what has changed

_COMPLETE = "_AUTOCONFIG_COMPLETE"
_SOCKS = ("socks5", "socks5h")  # proxies that HTTPConfig takes besides http and https
_NO_KEY = "set AUTO_CONFIG_KEY, or give --key-file FILE; without an account: autoconfig demo"

Command = Callable[..., dict[str, Any]]
F = TypeVar("F", bound=Callable[..., Any])


class Source(Protocol):
    """Where environments come from. A further kind of source needs an option in :func:`source_options`, and a class."""

    name: str
    """What is followed, in words."""

    key_name: str
    """The option or variable that the key came from, for errors about it."""

    def manager(self, handler: MessageHandler, *, logger: Logger | None = None, **settings: Any) -> StreamManager:
        """Return what keeps a handler in step with the source once it is started."""


class Connection:
    """
    The service, and the way there.

    Attributes:
        name: What is followed: the URI without what may be secret in it.
        uri: The service's base URI.
        uri_name: Where the URI comes from: an option, a variable, or ``"default"``.
        key: The auto-configuration key, a secret.
        key_name: Where the key comes from.
        proxy: The URL of ``--proxy``, which may hold a password.
        ca_file: The file of ``--ca-file``.
    """

    def __init__(self, options: dict[str, str | None]) -> None:
        self.uri_name, self.uri = _first(options, uri="--uri", STREAM_URI="STREAM_URI") or ("default", DEFAULT_URI)
        self.key_name, self.key, self._key_file = _key(options)
        self.proxy, self.ca_file = options["proxy"], options["ca_file"]
        _check(check_url, self.uri_name, self.uri, f"give a URI such as {DEFAULT_URI}")
        if self.proxy is not None:
            scheme, separator, rest = self.proxy.partition("://")
            like_http = f"http://{rest}" if separator and scheme.lower() in _SOCKS else self.proxy
            _check(check_url, "--proxy", like_http, "give one such as http://proxy.example.com:3128")
        _check(check_header_value, self.key_name, self.key, "give the key of an auto-configuration profile, rel-…")
        if self.ca_file is not None and not os.access(self.ca_file, os.R_OK):
            raise CommandError(
                "--ca-file", "the file does not exist or cannot be read", "give a file of CA certificates (PEM)", USAGE
            )
        self.name = shown_uri(self.uri)

    def manager(self, handler: MessageHandler, *, logger: Logger | None = None, **settings: Any) -> StreamManager:
        """Return a manager; a key's file is read again at each attempt to connect."""
        import attrs

        from ..config import HTTPConfig
        from ..manager import StreamManager

        http_config = HTTPConfig(proxy_url=self.proxy, ca_certs=self.ca_file)
        http_config = attrs.evolve(http_config, **settings.pop("http", {}))
        key = self._key_file or AutoConfigKey(self.key)
        return StreamManager(key, self.uri, handler, http_config, logger=logger, **settings)


class Archive:
    """
    An archive of the Relay Proxy's offline mode.

    Attributes:
        name: Its path.
        key_name: The option.
    """

    key_name = "--archive"

    def __init__(self, path: str, others: dict[str, str | None]) -> None:
        for name, value in others.items():
            if value is not None:
                option = f"--{name.replace('_', '-')}"
                raise CommandError("--archive", f"cannot be given together with {option}", "give one of the two", USAGE)
        self.name = path

    def manager(self, handler: MessageHandler, *, logger: Logger | None = None, **settings: Any) -> StreamManager:
        """Return what follows the archive."""
        from ..archive import ArchiveSource

        return ArchiveSource(self.name, handler, logger=logger, **settings)


def _check(check: Callable[[str, str], None], name: str, value: str, fix: str) -> None:
    try:
        check(name, value)
    except ValueError as error:
        raise CommandError(name, str(error).removeprefix(f"{name} "), fix, USAGE) from None


def _first(options: dict[str, str | None], **names: str) -> tuple[str, str] | None:
    """Return the first of these options and variables that is set, as its name for people and its value."""
    for place, name in names.items():
        value = (os.environ.get(place) or None) if place.isupper() else options[place]
        if value is not None:
            return name, value
    return None


def _key(options: dict[str, str | None]) -> tuple[str, str, Path | None]:
    """Return where the key comes from, the key, and its file."""
    if options["key"] is not None and options["key_file"] is not None:
        raise CommandError("--key-file", "cannot be given together with --key", "give one of the two", USAGE)
    found = _first(options, key="--key", key_file="--key-file") or _first(
        options, AUTO_CONFIG_KEY="AUTO_CONFIG_KEY", AUTO_CONFIG_KEY_FILE="AUTO_CONFIG_KEY_FILE"
    )
    if found is None:
        raise CommandError("AUTO_CONFIG_KEY", "there is no auto-configuration key", _NO_KEY, USAGE)
    name, value = found
    if not name.lower().replace("-", "_").endswith("key_file"):
        return name, value, None
    return name, *_read_key(name, value)


def _read_key(name: str, path: str) -> tuple[str, Path | None]:
    """Return the key in a file, and the file's path, unless it can be read only once, like a pipe."""
    # Neither the path nor the text of the error is shown: somebody may have taken --key-file for --key.
    fix = "give the path of a file that holds the key and nothing else"
    try:
        file = Path(path)
        again = file.is_file()
        return text_of_key_file(file.read_bytes()), file if again else None
    except OSError as error:
        raise CommandError(name, f"cannot read the file: {os.strerror(error.errno or 0)}", fix, USAGE) from None
    except ValueError:  # not UTF-8, or a path that no file can have
        raise CommandError(name, "the file does not hold a key", fix, USAGE) from None


class _Number(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic since click 8.3
    """A number in a range. Its errors, unlike click's own, do not repeat what was typed: it may be a key."""

    def __init__(self, name: str, rule: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._rule = rule
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the number."""
        try:
            return value if not isinstance(value, str) else self._read(value)
        except ValueError:
            self.fail(self._rule, param, context)


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 6 else math.inf
    if number > 65535:
        raise ValueError
    return int(number)


def _host(text: str) -> str:
    if not text:
        raise ValueError
    text.encode("idna")  # a UnicodeError is a ValueError
    return text


SECONDS = _Number(
    "seconds", "must be a number of seconds above zero", lambda text: check_seconds("the value", float(text))
)
PORT = _Number("port", "must be a port from 0 to 65535", _port)
HOST = _Number("host", "must be a host's name or address; 0.0.0.0 stands for all addresses", _host)


class _File(click.Path):
    """The name of a file, for completion only: whether there is one is looked at where it is opened."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        """Return the name."""
        return value


FILE = _File()


class _Group(click.Group):
    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        # click's mark of a paragraph that keeps its lines is a control character, which a raw docstring cannot hold.
        cmd.help = (cmd.help or "").replace("\\b\n", "\b\n")
        super().add_command(cmd, name)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            close = get_close_matches(args[0], self.commands, 1) or [", ".join(self.commands)]
            raise CommandError("COMMAND", f"there is no command {args[0]!r}", f"autoconfig {close[0]}", USAGE)
        return super().resolve_command(context, args)


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""Try it without an account: autoconfig demo

\b
Exit codes:
  0  ok                 3  the service rejected the key
  1  failure            4  not ready in time
  2  wrong arguments    130, 143  ended by Ctrl-C, by SIGTERM""",
)
@click.version_option(__version__, prog_name="autoconfig", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> int:
    """Follow LaunchDarkly's auto-configuration stream: which environments exist, with their keys."""
    if context.invoked_subcommand is None:
        put_line(context.get_help())
    return OK


def run(arguments: Sequence[str]) -> int:
    """Read the arguments, run the command, and return the exit code."""
    try:
        if instruction := os.environ.get(_COMPLETE):
            return shell_complete(cli, {}, "autoconfig", _COMPLETE, instruction)
        with cli.make_context("autoconfig", list(arguments)) as context:
            return int(cli.invoke(context) or OK)
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code
    except click.UsageError as error:
        complain(_usage_error(error))
        return USAGE
    except CommandError as error:
        complain(error)
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output has seen enough
        import sys

        silence(sys.stdout)
        return OK


def _usage_error(error: click.UsageError) -> CommandError:
    """Return click's error in our form, without what was typed: that may be a key in the wrong place."""
    context = error.ctx
    path = context.command_path if context else "autoconfig"
    fix = f"{path} --help"
    match error:
        case click.NoSuchOption(option_name=name):
            close = [one for one in error.possibilities or () if one != name]
            return CommandError(name, "there is no such option", close[0] if close else fix, USAGE)
        case click.BadOptionUsage(option_name=name):
            return CommandError(name, "takes no value" if "take" in error.message else "needs a value", fix, USAGE)
        case click.MissingParameter(param=click.Parameter() as param):
            return CommandError(_shown_name(param), "is missing", fix, USAGE)
        case click.BadParameter(param=click.Parameter() as param):
            return CommandError(_shown_name(param), error.message.rstrip("."), fix, USAGE)
    if error.message.startswith("Got unexpected"):
        return CommandError("arguments", "there is one too many (it is not shown: it may be a key)", fix, USAGE)
    return CommandError("arguments", error.message.rstrip("."), fix, USAGE)


def _shown_name(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else (param.metavar or param.name or "").upper()


def command(summary: str) -> Callable[[Command], click.Command]:
    """
    Make a command of a function that checks the options and returns them for ``run`` in the module of its name.

    That module is imported only then, because most of the library comes with it.
    """

    def decorate(function: Command) -> click.Command:
        @functools.wraps(function)
        def run_module(verbose: int, **given: Any) -> int:
            options = function(**given)
            module = import_module(f".{function.__name__}", __package__)
            with interruptible(), library_logs(verbose):
                return int(module.run(**options))

        verbose = click.option(
            "-v", "--verbose", count=True, help="Show on stderr what the library logs; -vv for every detail."
        )
        return cli.command(function.__name__.replace("_", "-"), short_help=summary)(verbose(run_module))

    return decorate


def reveal_option(function: F) -> F:
    """Add the option of all commands that show keys."""
    text = "Show keys in full; without it they are masked, as in sdk-…9f2a."
    return click.option("--reveal", is_flag=True, help=text)(function)


def json_option(what: str) -> Callable[[F], F]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as a JSON object in a line of its own.")


_uri_option = click.option(
    "--uri", metavar="URI", help=f"The service's base URI [env: STREAM_URI; default: {DEFAULT_URI}]."
)
_key_option = click.option(
    "--key", metavar="KEY", help="The auto-configuration key, rel-… [env: AUTO_CONFIG_KEY]. Prefer the variable: every "
    "user of this machine can see arguments.",
)  # fmt: skip
_key_file_option = click.option(
    "--key-file", metavar="FILE", type=FILE, help="A file that holds the key, read again at each connection "
    "[env: AUTO_CONFIG_KEY_FILE].",
)  # fmt: skip
_proxy_option = click.option("--proxy", metavar="URL", help="The proxy [env: HTTPS_PROXY, HTTP_PROXY, NO_PROXY].")
_ca_file_option = click.option(
    "--ca-file", metavar="FILE", type=FILE, help="CA certificates (PEM) to trust instead of the usual ones "
    "[env: REQUESTS_CA_BUNDLE].",
)  # fmt: skip
_CONNECTION = (_uri_option, _key_option, _key_file_option, _proxy_option, _ca_file_option)
_OF_CONNECTION = ("uri", "key", "key_file", "proxy", "ca_file")
_ARCHIVE = click.option(
    "--archive", metavar="FILE", type=FILE,
    help="Follow this archive of the Relay Proxy's offline mode (.tar.gz) instead of the service.",
)  # fmt: skip


_REDIS = click.option(
    "--redis", metavar="URL",
    help="Follow a fleet's leader in this Redis instead of the service: redis://…, rediss://… "
    "[env: AUTO_CONFIG_REDIS]. Values are decrypted with AUTO_CONFIG_REDIS_SECRET.",
)  # fmt: skip
_FLEET = click.option("--name", "fleet", metavar="NAME", help="The fleet's name in Redis.")


def source_options(
    timeout: str, default: float | None = None, *, archive: bool = False
) -> Callable[[Command], Command]:
    """
    Add the options that say what is followed, and ``--timeout``.

    The function gets ``source``, which returns the :class:`Source` or raises a :class:`CommandError`.
    """
    last = click.option("--timeout", type=SECONDS, metavar="SECONDS", default=default, help=timeout)
    options = [*_CONNECTION, *([_ARCHIVE] if archive else []), _REDIS, _FLEET, last]

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def with_source(
            redis: str | None, fleet: str | None, archive: str | None = None, **given: Any
        ) -> dict[str, Any]:
            of_source = {name: given.pop(name) for name in _OF_CONNECTION}
            make: Callable[[], Source] = functools.partial(Connection, of_source)
            if redis is not None or fleet is not None:
                make = functools.partial(Fleet, redis, fleet, {**of_source, "archive": archive})
            elif archive is not None:
                make = functools.partial(Archive, archive, of_source)
            return function(source=make, **given)

        for option in reversed(options):
            with_source = option(with_source)
        return with_source

    return decorate


@command("See it work in ten seconds, without an account.")
@click.option("--fast", is_flag=True, help="Leave out the pauses that are for reading.")
@json_option("each step")
@reveal_option
def demo(**options: Any) -> dict[str, Any]:
    """
    See it work in ten seconds, without an account.

    An emulator plays LaunchDarkly's service on a port of this machine, and the real client follows it: changes, a key
    rotation, an outage. Ends with exit code 1 if what reached the client is not what was played.
    """
    return options


@command("Follow a stream: a live table, or one line a change.")
@source_options("Give up, with exit code 4, if not connected by then [default: go on trying for ever].", archive=True)
@click.option("--project", "projects", multiple=True, metavar="PROJECT",
              help="Show only what belongs to the project of this key or name; may be repeated.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Print lines on a terminal too, instead of the table.")
@json_option("each change of an environment, a filter or the stream's state")
@reveal_option
def watch(**options: Any) -> dict[str, Any]:
    """
    Follow an auto-configuration stream until Ctrl-C.

    On a terminal this is a live table with the newest changes on top; otherwise one line a change. First come all
    environments and payload filters, then every change. Network errors are retried for ever; only a rejected key ends
    it. The states of the stream are INITIALIZING (nothing received yet), VALID, INTERRUPTED (it is tried again) and
    OFF. "Expires" counts down the time for which a replaced key is still accepted.
    """
    return options


@command("Print all environments once, and end.")
@source_options(
    f"Give up, with exit code 4, if not complete by then [default: {SNAPSHOT_TIMEOUT:g}].",
    SNAPSHOT_TIMEOUT,
    archive=True,
)
@click.option("--format", "form", type=click.Choice(["table", "json", "relay-env"]), default=None,
              help="relay-env: LD_ENV_…=… lines for a Relay Proxy; needs --reveal [default: table].")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@reveal_option
def snapshot(form: str | None, as_json: bool, **options: Any) -> dict[str, Any]:
    r"""
    Wait for the first full configuration, print it, and end.

    The exit code is 4 if it did not come in time, 3 if the key was rejected, and 1 if nothing of what came can be used.
    `autoconfig emulate` serves what --json --reveal prints. For scripts:

    \b
      autoconfig snapshot --json | jq -r '.environments[].envKey'
    """
    if as_json and form not in (None, "json"):
        raise CommandError("--json", f"cannot be given together with --format {form}", "give one of the two", USAGE)
    if form == "relay-env" and not options["reveal"]:
        raise CommandError(
            "--format relay-env", "would write masked keys, which no Relay Proxy can use", "add --reveal", USAGE
        )
    return {"form": "json" if as_json else form or "table", **options}


@command("Keep a file in step, or run a command for each change.")
@source_options(
    f"Give up, with exit code 4, if not complete by then [default: with --once {SNAPSHOT_TIMEOUT:g}].", archive=True
)
@click.option(
    "--output",
    metavar="FILE",
    type=FILE,
    help="Write all environments to FILE, keys in full, whenever something has changed.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "dotenv", "relay-env"]),
    default="json",
    show_default=True,
    help="What FILE is: JSON as snapshot prints it; LAUNCHDARKLY_SDK_KEY_…=… lines; or "
    "LD_ENV_…=… lines for a Relay Proxy.",
)
@click.option("--exec", "command", metavar="CMD", help="Run CMD in a shell for each change, one at a time.")
@click.option(
    "--exec-timeout",
    "command_timeout",
    type=SECONDS,
    metavar="SECONDS",
    default=EXEC_TIMEOUT,
    help="Kill CMD when it takes longer; it counts as failed then [default: 60].",
)
@click.option("--once", is_flag=True, help="End when all is in step.")
def sync(output: str | None, command: str | None, once: bool, timeout: float | None, **options: Any) -> dict[str, Any]:
    r"""
    Keep a file in step with the environments, or run a command for each change, until SIGTERM or Ctrl-C.

    FILE is replaced in one step, has mode 0600, and stays when this ends. It is written when the configuration is
    complete and something in it is new, so a restart without the service leaves it alone.

    CMD is told of an environment or filter by variables, and on stdin by the JSON that watch --json --reveal prints:

    \b
      AUTOCONFIG_EVENT        add_environment, update_environment,
                              delete_environment, add_filter, delete_filter,
                              received_all_environments (all is complete)
      AUTOCONFIG_ID           the id of the environment or filter
      AUTOCONFIG_PROJECT      the key of its project
      AUTOCONFIG_ENVIRONMENT  the key of the environment
      AUTOCONFIG_FILTER       the key of the filter
      AUTOCONFIG_SDK_KEY      the SDK key; AUTOCONFIG_MOBILE_KEY likewise

    A CMD that fails is run again after a second, later after a minute at most, until it succeeds or a newer change
    takes its place; only the one for received_all_environments is not. Changes of others go on meanwhile. Ended by
    SIGTERM, the exit code is 0.
    """
    if output is None and command is None:
        raise CommandError("sync", "there is nothing to do", "add --output FILE, or --exec CMD, or both", USAGE)
    timeout = SNAPSHOT_TIMEOUT if once and timeout is None else timeout
    return {"output": output, "command": command, "once": once, "timeout": timeout, **options}


@command("Download the archive of the Relay Proxy's offline mode.")
@click.option("--uri", metavar="URI", help=f"LaunchDarkly's SDK endpoint [default: {ARCHIVE_URI}].")
@_key_option
@_key_file_option
@_proxy_option
@_ca_file_option
@click.option("--output", metavar="FILE", type=FILE, required=True, help="Where to; it is replaced in one step.")
@click.option(
    "--timeout",
    type=SECONDS,
    metavar="SECONDS",
    default=ARCHIVE_TIMEOUT,
    help="How long the service may be silent [default: 60].",
)
def fetch_archive(uri: str | None, output: str, timeout: float, **connection: Any) -> dict[str, Any]:
    r"""
    Download the archive of the Relay Proxy's offline mode, for places without a network.

    The auto-configuration profile has to allow it. The archive holds SDK keys and flags, so FILE has mode 0600. Its
    checksum is verified before FILE is replaced. snapshot, watch and sync take it: --archive FILE.

    \b
      autoconfig fetch-archive --output ld.tar.gz
      autoconfig sync --archive ld.tar.gz --output environments.json
    """
    source = functools.partial(Connection, {**connection, "uri": uri or ARCHIVE_URI})
    return {"source": source, "output": output, "timeout": timeout}


@command("Mirror the service into Redis, for a fleet that follows it there.")
@_uri_option
@_key_option
@_key_file_option
@_proxy_option
@_ca_file_option
@click.option("--redis", metavar="URL", help="Redis: redis://…, rediss://…, unix://…, redis+sentinel://HOSTS/SERVICE "
              "[env: AUTO_CONFIG_REDIS]. Prefer the variable if it has a password.")  # fmt: skip
@click.option("--name", "fleet", metavar="NAME", help="The fleet's name; one for each auto-configuration profile.")
@click.option("--lease", type=SECONDS, metavar="SECONDS", default=3.0,
              help="Without a sign of life for so long, another one leads; at most 10 [default: 3].")  # fmt: skip
def mirror(redis: str | None, fleet: str | None, lease: float, **connection: Any) -> dict[str, Any]:
    r"""
    Follow the service and mirror it into Redis, until SIGTERM or Ctrl-C.

    Run two or more: one leads, and another one takes over when it is gone. Processes follow it there:
    StreamManager.from_source(RedisSource(URL, NAME, SECRET), handler). With the variable AUTO_CONFIG_REDIS_SECRET
    values are encrypted; all of a fleet have the same. snapshot, watch, sync and doctor take --redis and --name too:

    \b
      export AUTO_CONFIG_REDIS=rediss://cache.example.com
      export AUTO_CONFIG_REDIS_SECRET=…
      autoconfig mirror --name prod
      autoconfig watch --name prod
    """
    if lease > LONGEST_LEASE:
        raise CommandError("--lease", f"must be at most {LONGEST_LEASE:g} seconds", "leave it out", USAGE)
    source, followed = functools.partial(Connection, connection), functools.partial(Fleet, redis, fleet)
    return {"source": source, "fleet": followed, "lease": lease}


@command("Check the way to the service step by step, and say what to do.")
@source_options(f"How long each check may take [default: {DOCTOR_TIMEOUT:g}].", DOCTOR_TIMEOUT)
@click.option("--heartbeat", type=SECONDS, metavar="SECONDS",
              help="Also wait so long for a heartbeat or an event after the first put; the service sends a heartbeat "
              "every 180 seconds.")  # fmt: skip
@json_option("each check")
def doctor(**options: Any) -> dict[str, Any]:
    """
    Check the way to the service step by step, and say what to do.

    The steps are configuration, proxy, DNS, TCP, TLS, HTTP, content type, the first put and, with --heartbeat, that the
    stream stays alive. Each is a line: ok, warn, FAIL or skip, with what to do if something is wrong. After the first
    failure the rest is skipped. No key and no password is shown in full. With --redis the steps are those to the
    fleet's picture: Redis, its eviction, the leader, the first put.
    """
    return options


@command("Feed a recorded stream to the client, and explain what it does.")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--explain", is_flag=True, help="Say of each event what was done, and why.")
@json_option("each call (and event)")
@reveal_option
def replay(**options: Any) -> dict[str, Any]:
    """
    Feed a recorded stream to the client, and explain what it does.

    FILE holds the bytes of an event stream, as `curl -N` saves them; - stands for stdin. Printed are the calls that a
    handler would get, from the real parser, decoder and version logic, without a network. With --explain each event is
    shown too, with what was done and why. Where the client would connect again, that is said, and the rest of FILE is
    taken for what comes on the next connection. The exit code is 1 if an event was malformed.
    """
    return options


@command("Play the service, from a file or with a built-in story.")
@click.argument("file", metavar="FILE", type=FILE, required=False)
@click.option("--host", type=HOST, default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="The port; 0 for any that is free.")
@click.option("--key", metavar="KEY", help="The key that clients must have [default: a made-up one].")
@click.option("--interval", type=SECONDS, metavar="SECONDS",
              help=f"Time between two changes of the built-in story [default: {DEFAULT_INTERVAL:g}].")  # fmt: skip
@reveal_option
def emulate(key: str | None, interval: float | None, **options: Any) -> dict[str, Any]:
    r"""
    Serve an auto-configuration stream on a port of this machine until Ctrl-C, to try clients with.

    FILE is JSON, and followed when it changes: what `autoconfig snapshot --json --reveal` prints, the data line of a
    put, or the same written by hand; without FILE a built-in story is played.

    \b
      {"environments": {"ID": {"envKey": "test", "envName": "Test",
                               "projKey": "shop", "projName": "Shop",
                               "sdkKey": {"value": "sdk-..."},
                               "mobKey": "mob-...", "defaultTtl": 5}},
       "filters": {"ID": {"projKey": "shop", "key": "europe"}}}
    """
    if key is not None:
        _check(check_header_value, "--key", key, "give a key without line breaks and spaces")
    if options["file"] is not None and interval is not None:
        raise CommandError("--interval", "is for the built-in story, not for a FILE", "leave it out", USAGE)
    return {"key": key, "interval": interval or DEFAULT_INTERVAL, **options}


@cli.command(short_help="Print a script for completion in bash, zsh or fish.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    r"""
    Print a script that lets the shell complete commands, options and names of files.

    To try it: eval "$(autoconfig completion bash)", the same with zsh, or autoconfig completion fish | source. To keep
    it, save it where the shell looks for such scripts:

    \b
      bash  ~/.local/share/bash-completion/completions/autoconfig
      zsh   a file _autoconfig in a directory of $fpath
      fish  ~/.config/fish/completions/autoconfig.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        return FAILURE
    put_line(kind(cli, {}, "autoconfig", _COMPLETE).source().rstrip("\n"))
    return OK
