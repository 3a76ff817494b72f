"""What options are made of: types of values, and the options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from ..validation import check_header_value, check_seconds
from . import USAGE
from .output import CommandError
from .sources import DEFAULT_URI, KEY_FILE_VARIABLE, KEY_VARIABLE, REDIS_VARIABLE, Archive, Connection, Fleet

_FOLLOW_REDIS = (
    "Follow a fleet's leader in this Redis instead of the service: redis://…, rediss://…. "
    "Values are decrypted with AUTO_CONFIG_REDIS_SECRET."
)

F = TypeVar("F", bound=Callable[..., Any])


def _value(rule: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a type of values. Its errors, unlike click's, do not repeat what was typed, which may be a key."""

    def value(given: Any) -> Any:
        try:
            return read(given)
        except ValueError:
            raise click.BadParameter(rule) from None

    return value


def _header(text: str) -> str:
    check_header_value("the value", text)
    return text


FILE = click.Path(readable=False)  # a path for completion only; the code that opens the file reports its errors
SECONDS = _value("must be a number of seconds above zero", lambda given: check_seconds("the value", float(given)))
PORT = _value("must be a port from 0 to 65535", lambda given: range(65536).index(int(given)))
HEADER = _value("must be printable ASCII, with no line break and no space at either end", _header)


def shown_name(param: click.Parameter, context: click.Context | None) -> str:
    """Return a parameter's name in an error: the variable that its value comes from, the option, or the metavar."""
    if context and context.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    return max(param.opts, key=len) if isinstance(param, click.Option) else (param.metavar or param.name or "").upper()


def json_option(what: str) -> Callable[[F], F]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what} as a JSON object on its own line.")


reveal_option = click.option(
    "--reveal", is_flag=True, help="Show keys in full; without it they are masked, as in sdk-…9f2a."
)
fleet_option = click.option(
    "--name", "fleet", metavar="NAME", help="The fleet's name; one for each auto-configuration profile."
)
_archive_option = click.option(
    "--archive", metavar="FILE", type=FILE,
    help="Follow this archive of the Relay Proxy's offline mode (.tar.gz) instead of the service.",
)  # fmt: skip


def redis_option(help: str) -> Callable[[F], F]:
    """Add ``--redis``."""
    return click.option("--redis", metavar="URL", envvar=REDIS_VARIABLE, show_envvar=True, help=help)


def seconds_option(name: str, *declarations: str, help: str, default: float | None = None) -> Callable[[F], F]:
    """Add an option for a number of seconds."""
    return click.option(
        name, *declarations, type=SECONDS, metavar="SECONDS", default=default, show_default=True, help=help
    )


def connection_options(uri: str = DEFAULT_URI, variable: str | None = "STREAM_URI") -> Callable[[F], F]:
    """Add the options that say where the service is, and the key; :func:`connection` takes them up."""
    return _each(
        click.option("--uri", metavar="URI", envvar=variable, show_envvar=True, default=uri, show_default=True,
                     help="The service's base URI."),
        click.option("--key", metavar="KEY", envvar=KEY_VARIABLE, show_envvar=True,
                     help="The auto-configuration key, rel-…. Prefer the variable: every user of this machine can see "
                     "arguments."),
        click.option("--key-file", metavar="FILE", type=FILE, envvar=KEY_FILE_VARIABLE, show_envvar=True,
                     help="A file that holds the key, read again at each connection."),
        click.option("--proxy", metavar="URL", help="The proxy [env var: HTTPS_PROXY, HTTP_PROXY, NO_PROXY]."),
        click.option("--ca-file", metavar="FILE", type=FILE, help="CA certificates (PEM) to trust instead of the usual "
                     "ones [env var: REQUESTS_CA_BUNDLE]."),
    )  # fmt: skip


def connection(given: dict[str, Any]) -> functools.partial[Any]:
    """Take the options of :func:`connection_options` out of those that were given; return what checks them."""
    context = click.get_current_context()
    names = {param.name or "": shown_name(param, context) for param in context.command.params}
    if context.get_parameter_source("uri") is ParameterSource.DEFAULT:
        names["uri"] = "default"
    options = {name: given.pop(name) for name in ("uri", "key", "key_file", "proxy", "ca_file")}
    return functools.partial(Connection, options, names)


def source_options(timeout: str, default: float | None = None, *, archive: bool = False) -> Callable[[F], F]:
    """Add the options that say what is followed, which :func:`source` takes up, and ``--timeout``."""
    return _each(
        connection_options(),
        *([_archive_option] if archive else []),
        redis_option(_FOLLOW_REDIS),
        fleet_option,
        seconds_option("--timeout", help=timeout, default=default),
    )


def source(given: dict[str, Any]) -> functools.partial[Any]:
    """
    Take the options of :func:`source_options` out of those that were given; return what checks them.

    That returns the :data:`Source` or raises a :class:`CommandError`. The variable of Redis counts with ``--name``
    only.
    """
    option, found = "", connection(given)
    options, names = found.args
    others = [names[name] for name, value in options.items() if value is not None and names[name].startswith("--")]
    redis, fleet, archive = (given.pop(name, None) for name in ("redis", "fleet", "archive"))
    if archive is not None:
        option, found = "--archive", functools.partial(Archive, archive)
    if fleet is not None or click.get_current_context().get_parameter_source("redis") is ParameterSource.COMMANDLINE:
        others += [option] if option else []
        option, found = "--redis", functools.partial(Fleet, redis, fleet)
    if option and others:
        raise CommandError(option, f"cannot be given together with {others[0]}", "give one of the two", USAGE)
    return found


def _each(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return several options as one."""
    return lambda function: functools.reduce(lambda done, option: option(done), reversed(options), function)
