"""The commands: their help, their options, and the errors for wrong ones. What a command does is in its own module."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click
from click.shell_completion import get_completion_class, shell_complete

from ..version import __version__
from . import INTERRUPTED, OK, USAGE, interruptible
from .options import (
    FILE,
    HEADER,
    PORT,
    connection,
    connection_options,
    fleet_option,
    json_option,
    redis_option,
    reveal_option,
    seconds_option,
    shown_name,
    source,
    source_options,
)
from .output import CommandError, complain, library_logs, put_line, silence
from .sources import Fleet

SNAPSHOT_TIMEOUT = 30  # seconds
LONGEST_LEASE = 10  # seconds
DEFAULT_INTERVAL = 4  # seconds: time to read what has changed

_COMPLETE = "_AUTOCONFIG_COMPLETE"


class _Command(click.Command):
    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.UsageError as error:
            error.ctx = error.ctx or context  # click does not set it if a value is missing or superfluous
            raise


class _Group(click.Group):
    command_class = _Command

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
    except BrokenPipeError:  # the reader of the output has ended
        silence(sys.stdout)
        return OK


def _usage_error(error: click.UsageError) -> CommandError:
    """Return click's error in our form, without what was typed: that may be a key in the wrong place."""
    fix = f"{error.ctx.command_path if error.ctx else 'autoconfig'} --help"
    name, problem = "arguments", error.message.rstrip(".")
    match error:
        case click.NoSuchOption(option_name=name):
            close = [one for one in error.possibilities or () if one != name]
            return CommandError(name, "there is no such option", close[0] if close else fix, USAGE)
        case click.BadOptionUsage(option_name=name):
            problem = "takes no value" if "take" in error.message else "needs a value"
        case click.MissingParameter(param=click.Parameter() as param):
            name, problem = shown_name(param, error.ctx), "is missing"
        case click.BadParameter(param=click.Parameter() as param):
            name = shown_name(param, error.ctx)
        case _ if error.message.startswith("Got unexpected"):
            problem = "there is one too many (it is not shown: it may be a key)"
    return CommandError(name, problem, fix, USAGE)


def command(function: Callable[..., dict[str, Any]]) -> click.Command:
    """
    Make a command of a function that checks the options and returns them for ``run`` in the module of its name.

    That module is imported only then, because most of the library comes with it.
    """

    @functools.wraps(function)
    def run_module(verbose: int, **given: Any) -> int:
        options = function(**given)
        module = import_module(f".{function.__name__}", __package__)
        with interruptible(), library_logs(verbose):
            return int(module.run(**options))

    verbose = click.option(
        "-v", "--verbose", count=True, help="Show the library's log on stderr; -vv for every detail."
    )
    return cli.command(function.__name__.replace("_", "-"))(verbose(run_module))


@command
@click.option("--fast", is_flag=True, help="Leave out the pauses for reading.")
@json_option("each step")
@reveal_option
def demo(**options: Any) -> dict[str, Any]:
    """
    See it work in ten seconds, without an account.

    An emulator plays LaunchDarkly's service on a port of this machine, and the real client follows it: changes, a key
    rotation, an outage. The exit code is 1 if the client missed something.
    """
    return options


@command
@source_options("Give up with exit code 4 if not connected after this time [default: retry for ever].", archive=True)
@click.option("--project", "projects", multiple=True, metavar="PROJECT",
              help="Show only the project with this key or name; may be repeated.")  # fmt: skip
@click.option("--plain", is_flag=True, help="Print lines on a terminal too, instead of the table.")
@json_option("each change of an environment, a filter or the stream's state")
@reveal_option
def watch(**options: Any) -> dict[str, Any]:
    """
    Follow a stream: a live table, or one line for each change.

    It runs until Ctrl-C. On a terminal it shows a live table with the newest changes on top, otherwise one line for
    each change. First come all environments and payload filters, then every change. Network errors are retried for
    ever. Only a rejected key ends it. The states of the stream are INITIALIZING (nothing received yet), VALID,
    INTERRUPTED (retrying) and OFF. "Expires" counts down the time for which a replaced key is still accepted.
    """
    return {"source": source(options), **options}


@command
@source_options("Give up with exit code 4 if not complete after this time.", SNAPSHOT_TIMEOUT, archive=True)
@click.option("--format", "form", type=click.Choice(["table", "json", "relay-env"]), default=None,
              help="relay-env: LD_ENV_…=… lines for a Relay Proxy; needs --reveal [default: table].")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@reveal_option
def snapshot(form: str | None, as_json: bool, **options: Any) -> dict[str, Any]:
    """
    Print all environments once, and end.

    It waits for the first full configuration. The exit code is 4 if it did not come in time, 3 if the key was rejected,
    and 1 if nothing in it can be used. `autoconfig emulate` can serve the output of --json --reveal. For scripts:

    \b
      autoconfig snapshot --json | jq -r '.environments[].envKey'
    """
    if as_json and form not in (None, "json"):
        raise CommandError("--json", f"cannot be given together with --format {form}", "give one of the two", USAGE)
    if form == "relay-env" and not options["reveal"]:
        raise CommandError(
            "--format relay-env", "would write masked keys, which no Relay Proxy can use", "add --reveal", USAGE
        )
    return {"source": source(options), "form": "json" if as_json else form or "table", **options}


@command
@source_options(
    f"Give up with exit code 4 if not complete after this time [default: {SNAPSHOT_TIMEOUT} with --once].", archive=True
)
@click.option("--output", metavar="FILE", type=FILE,
              help="Write all environments to FILE at each change, with keys in full.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["json", "dotenv", "relay-env"]), default="json", show_default=True,
              help="The form of FILE: JSON as of snapshot; LAUNCHDARKLY_SDK_KEY_…=… lines; or LD_ENV_…=… lines for "
              "a Relay Proxy.")  # fmt: skip
@click.option("--exec", "command", metavar="CMD", help="Run CMD in a shell for each change, one at a time.")
@seconds_option("--exec-timeout", "command_timeout", default=60,
                help="Kill CMD if it takes longer, which counts as a failure.")  # fmt: skip
@click.option("--once", is_flag=True, help="End when everything is in step.")
def sync(output: str | None, command: str | None, once: bool, timeout: float | None, **options: Any) -> dict[str, Any]:
    """
    Keep a file in step, or run a command for each change.

    It runs until SIGTERM or Ctrl-C. FILE is replaced in one step, has mode 0600, and stays at the end. It is written
    only when the configuration is complete and something in it is new, so a restart without the service does not touch
    it.

    CMD gets these variables, and on stdin the JSON of watch --json --reveal:

    \b
      AUTOCONFIG_EVENT        add_environment, update_environment,
                              delete_environment, add_filter, delete_filter,
                              received_all_environments
      AUTOCONFIG_ID           the id of the environment or filter
      AUTOCONFIG_PROJECT      the key of its project
      AUTOCONFIG_ENVIRONMENT  the key of the environment
      AUTOCONFIG_FILTER       the key of the filter
      AUTOCONFIG_SDK_KEY      the SDK key
      AUTOCONFIG_MOBILE_KEY   the mobile key

    If CMD fails, it is retried after a second, later after up to a minute, until it succeeds or a newer change replaces
    it. Other environments do not wait for it. For received_all_environments it is not retried. After SIGTERM the exit
    code is 0.
    """
    if output is None and command is None:
        raise CommandError("sync", "there is nothing to do", "add --output FILE, or --exec CMD, or both", USAGE)
    timeout = SNAPSHOT_TIMEOUT if once and timeout is None else timeout
    given = {"output": output, "command": command, "once": once, "timeout": timeout}
    return {"source": source(options), **given, **options}


@command
@connection_options("https://sdk.launchdarkly.com", None)
@click.option("--output", metavar="FILE", type=FILE, required=True, help="The file, which is replaced in one step.")
@seconds_option("--timeout", default=60, help="How long the service may be silent.")
def fetch_archive(output: str, timeout: float, **options: Any) -> dict[str, Any]:
    """
    Download the archive of the Relay Proxy's offline mode.

    It is for machines without a connection. The auto-configuration profile has to allow it. The archive holds SDK keys
    and flags, so FILE has mode 0600. The checksum is verified before FILE is replaced. snapshot, watch and sync follow
    it with --archive FILE.

    \b
      autoconfig fetch-archive --output ld.tar.gz
      autoconfig sync --archive ld.tar.gz --output environments.json
    """
    return {"source": connection(options), "output": output, "timeout": timeout}


@command
@connection_options()
@redis_option(
    "Redis: redis://…, rediss://…, unix://…, redis+sentinel://HOSTS/SERVICE. Prefer the variable if it has a password."
)
@fleet_option
@seconds_option(
    "--lease", default=3, help="If the leader gives no sign of life for this time, another one leads; at most 10."
)
def mirror(redis: str | None, fleet: str | None, lease: float, **options: Any) -> dict[str, Any]:
    """
    Mirror the service into Redis for a fleet.

    It runs until SIGTERM or Ctrl-C. Run two or more: one leads, and another one takes over when it fails. Programs
    follow the fleet with StreamManager.from_source(RedisSource(URL, NAME, SECRET), handler). The variable
    AUTO_CONFIG_REDIS_SECRET has the secret that encrypts the values; the whole fleet needs the same. snapshot, watch,
    sync and doctor take --redis and --name too:

    \b
      export AUTO_CONFIG_REDIS=rediss://cache.example.com
      export AUTO_CONFIG_REDIS_SECRET=…
      autoconfig mirror --name prod
      autoconfig watch --name prod
    """
    if lease > LONGEST_LEASE:
        raise CommandError("--lease", f"must be at most {LONGEST_LEASE:g} seconds", "leave it out", USAGE)
    return {"source": connection(options), "fleet": functools.partial(Fleet, redis, fleet), "lease": lease}


@command
@source_options("How long each check may take.", 10)
@seconds_option("--heartbeat", help="Also wait this time for a heartbeat or an event after the first put; the service "
                "sends a heartbeat every 180 seconds.")  # fmt: skip
@json_option("each check")
def doctor(**options: Any) -> dict[str, Any]:
    """
    Check the way to the service, and say what to do.

    The steps are configuration, proxy, DNS, TCP, TLS, HTTP, content type, the first put and, with --heartbeat, that the
    stream stays alive. Each has a line: ok, warn, FAIL or skip, and what to do if something is wrong. After the first
    failure the rest is skipped. No key or password is shown in full. With --redis the steps are configuration, Redis,
    its eviction policy, the picture in Redis, the leader, and the first put.
    """
    return {"source": source(options), **options}


@command
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--explain", is_flag=True, help="Say for each event what the client does, and why.")
@json_option("each call (and event)")
@reveal_option
def replay(**options: Any) -> dict[str, Any]:
    """
    Replay a recorded stream, and explain what the client does.

    FILE holds the bytes of an event stream, as `curl -N` saves them; - stands for stdin. The output has the calls that
    a handler would get from the real parser, decoder and version logic, without a network. With --explain it also has
    each event, what the client does with it, and why. Where the client would reconnect, the output says so, and takes
    the rest of FILE for the next connection. The exit code is 1 if an event was malformed or refused, or if FILE has
    no event.
    """
    return options


@command
@click.argument("file", metavar="[FILE]", type=FILE, required=False)
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=PORT, metavar="PORT", default=8765, show_default=True, help="The port; 0 for any free one."
)
@click.option("--key", type=HEADER, metavar="KEY", help="The key that clients must send [default: a made-up one].")
@seconds_option("--interval", help=f"Time between two changes of the built-in story [default: {DEFAULT_INTERVAL}].")
@reveal_option
def emulate(interval: float | None, **options: Any) -> dict[str, Any]:
    """
    Play the service, from a file or with a built-in story.

    It serves a stream on a port of this machine until Ctrl-C. FILE is JSON: the output of `autoconfig snapshot --json
    --reveal`, the data of a put, or the same written by hand. It is read again when it changes. Without FILE a built-in
    story is played.

    \b
      {"environments": {"ID": {"envKey": "test", "envName": "Test",
                               "projKey": "shop", "projName": "Shop",
                               "sdkKey": {"value": "sdk-..."},
                               "mobKey": "mob-...", "defaultTtl": 5}},
       "filters": {"ID": {"projKey": "shop", "key": "europe"}}}
    """
    if options["file"] is not None and interval is not None:
        raise CommandError("--interval", "is for the built-in story, not for a FILE", "leave it out", USAGE)
    return {"interval": interval or DEFAULT_INTERVAL, **options}


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """
    Print a script for completion in bash, zsh or fish.

    To try it: eval "$(autoconfig completion bash)", the same with zsh, or autoconfig completion fish | source. To keep
    it, save it where the shell looks for such scripts:

    \b
      bash  ~/.local/share/bash-completion/completions/autoconfig
      zsh   a file _autoconfig in a directory of $fpath
      fish  ~/.config/fish/completions/autoconfig.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    put_line(kind(cli, {}, "autoconfig", _COMPLETE).source().rstrip("\n"))
    return OK
