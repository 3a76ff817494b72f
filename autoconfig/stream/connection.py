"""One connection to the service: the request, the redirects, and the bytes of the answer as they come."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

import requests
import requests.sessions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from ..config import HTTPConfig
from ..exceptions import ConnectionFailedError, KeyRejectedError, StreamEndedError, UnexpectedStatusError
from ..identifiers import show
from ..keys import BadKeyError
from ..validation import is_http_url
from ..version import __version__
from .body import READ, Deadline, pieces
from .cancel import CancelToken
from .failures import describe
from .transport import InterruptibleAdapter, TLSContexts

PATH = "relay_auto_config"
EVENT_STREAM = "text/event-stream"
USER_AGENT = f"autoconfig-python/{__version__} (Python {platform.python_version()})"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 10
_REJECTIONS = frozenset({401, 403})
# What every header carries unharmed (RFC 9110, 5.5). Servers refuse other characters and long keys, at each attempt.
_CARRIED = re.compile(rb"[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_LONGEST_ID = 1024  # bytes


def endpoint(stream_uri: str, protocol_version: int) -> str:
    """
    Return the URL of the stream: the path joined, cleaned of double slashes and dots, the caller's query kept.

    User and password are left out: the only credential of this service is the key.
    """
    parts = urlsplit(stream_uri)
    segments: list[str] = []
    for segment in [*parts.path.split("/"), PATH]:
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(quote(segment, safe="%/:@!$&'()*+,;=~-._"))
    query = [parts.query] if parts.query else []
    if protocol_version > 1:
        query.append(f"rpacProtocolVersion={protocol_version}")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "/" + "/".join(segments), "&".join(query), ""))


class Connector:
    """
    Makes connections to one endpoint, one at a time, from the reader's thread.

    Args:
        read_key: Returns the auto-configuration key; called before each attempt.
        url: The endpoint.
        config: Proxies, certificates, timeouts and so on.
        token: Interrupts every wait.
        accept: The media type that is asked for.
    """

    def __init__(
        self,
        read_key: Callable[[], str],
        url: str,
        config: HTTPConfig,
        token: CancelToken,
        accept: str = EVENT_STREAM,
    ) -> None:
        self._accept = accept
        self._read_key = read_key
        self._url = url
        self._config = config
        self._token = token
        self._deadline = Deadline(config.read_timeout)
        self._contexts = TLSContexts(config, token)

    @contextmanager
    def connect(self, last_event_id: str) -> Iterator[Iterator[bytes]]:
        """
        Request the stream; the value is an iterator over its bytes, which ends when the token is cancelled.

        Blocks until the headers of the answer are there. Everything is closed at the end of the ``with`` block.

        Raises:
            KeyRejectedError: The service does not accept the key.
            ConnectionFailedError: There is no usable answer; the text says why.
            StreamEndedError: Raised by the iterator: the answer ended, broke off or was silent for too long.
        """
        try:
            with self._session() as session, closing(self._request(session, last_event_id)) as response:
                _check(response)
                yield pieces(response.raw, self._deadline, self._token)
        finally:
            self._token.release()

    @contextmanager
    def download(self) -> Iterator[Iterator[bytes]]:
        """Request a file; the value is an iterator over its bytes, which ends with the file. Raises as connect()."""
        try:
            with self._session() as session, closing(self._request(session, "")) as response:
                _check_status(response)
                _check_codings(response)
                yield self._content(response)
        finally:
            self._token.release()

    def _content(self, response: requests.Response) -> Iterator[bytes]:
        self._deadline.renew()
        while True:
            try:
                piece = response.raw.read1(READ, decode_content=True)
            except Exception as error:
                reason = describe(error)
                break
            if not piece:
                return
            self._deadline.renew()
            yield piece
        raise StreamEndedError(reason)

    def _session(self) -> requests.Session:
        # A session for each attempt: no connection, cookie or proxy decision of an earlier one is used again.
        try:
            session = (self._config.session_factory or _session_class())()
            self._contexts.own = self._config.ssl_context
            ours = InterruptibleAdapter(self._token, self._deadline, self._contexts)
            for prefix, adapter in list(session.adapters.items()):
                if type(adapter) is HTTPAdapter:  # an adapter of the user's own stays
                    session.mount(prefix, ours)
            # Without any, requests would take one from ~/.netrc and replace the Authorization header with it.
            session.auth = session.auth or _keep_headers
            # Even when it is not to follow a redirect, requests reads its body to the end, if it sees where it leads.
            session.get_redirect_target = _no_target  # type: ignore[method-assign, assignment]
            return session
        except BaseException as error:  # SystemExit too: it is a function of the user's
            reason = describe(error)
        raise ConnectionFailedError(f"cannot make a session: {reason}")

    def _request(self, session: requests.Session, last_event_id: str) -> requests.Response:
        key = self._read()
        url, headers, cert = self._url, self._headers(key, last_event_id), self._config.client_cert
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._get(session, url, headers, cert)
            if response.status_code not in _REDIRECTS:
                return response
            locations = set(_values(response, "Location"))
            response.close()  # unread: its body may be endless
            self._token.release()  # a duplicate would keep the connection open
            if not locations:
                raise UnexpectedStatusError(response.status_code)
            if len(locations) > 1:
                raise ConnectionFailedError("a redirect to several places at once")
            url = _redirected(url, locations.pop())
            if key in unquote(url):
                raise ConnectionFailedError("a redirect that holds the key")
            if _origin(url) != _origin(self._url):
                # Until the end of the attempt: a redirect back to the service's origin does not get the key, either.
                headers, cert = self._public_headers(), None
                self._forget_credentials(session)
        raise ConnectionFailedError(f"more than {_MOST_REDIRECTS} redirects")

    def _read(self) -> str:
        try:
            return self._read_key()
        except BadKeyError as error:
            reason = str(error)
        except BaseException as error:  # SystemExit too: it may be a function of the user's
            reason = describe(error)
        raise ConnectionFailedError(f"cannot read the key: {reason}")

    def _get(
        self, session: requests.Session, url: str, headers: dict[str, str | bytes], cert: Any
    ) -> requests.Response:
        config = self._config
        try:
            response = session.get(
                url,
                headers=headers,
                timeout=(config.connect_timeout, config.read_timeout),
                allow_redirects=False,  # requests would let netrc in again
                stream=True,
                # Given here, each wins over the environment; None leaves it to the environment.
                proxies={"http": config.proxy_url, "https": config.proxy_url} if config.proxy_url else None,
                verify=config.ca_certs[0] if config.ca_certs else None,
                cert=cert,
            )
            self._watch(response)
            return response
        except BaseException as error:  # requests', ValueError, OSError, urllib3's, and any of a session of the user's
            reason = describe(error)
        # Raised here, so that it holds no reference to that error, which knows the request and with it the key.
        raise ConnectionFailedError(reason)

    def _watch(self, response: requests.Response) -> None:
        """Let the token watch the response's socket, whichever adapter made it."""
        try:
            self._token.watch(response.raw.fileno())
        except (OSError, ValueError, AttributeError):  # it has ended already, or has no socket
            return

    def _public_headers(self) -> dict[str, str | bytes]:
        return {
            "Accept": self._accept,
            "Accept-Encoding": "identity",  # a compressed stream is decoded all the same, but events would come late
            "Cache-Control": "no-cache",
            "User-Agent": self._config.user_agent or USER_AGENT,
        }

    def _headers(self, key: str, last_event_id: str) -> dict[str, str | bytes]:
        headers = {**self._public_headers(), **self._config.headers, "Authorization": key}
        encoded = last_event_id.encode("utf-8", "replace")
        if len(encoded) <= _LONGEST_ID and _CARRIED.fullmatch(encoded):
            headers["Last-Event-ID"] = encoded
        return headers

    def _forget_credentials(self, session: requests.Session) -> None:
        """Remove all credentials of the service from a session, which a user's function may have made."""
        session.auth = _keep_headers
        session.cert = None
        session.headers = requests.utils.default_headers()
        session.params = {}
        self._contexts.own = None


def _session_class() -> type[requests.Session]:
    """Return requests' own class, also if a package such as requests-cache has put another one into its place."""
    classes = requests.sessions.Session.__mro__
    return next(one for one in reversed(classes) if one.__module__ == "requests.sessions" and one.__name__ == "Session")


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _no_target(response: requests.Response) -> None:
    return None


def _check(response: requests.Response) -> None:
    _check_status(response)
    # A proxy may have made one header of two.
    content_types = [one.strip() for one in ",".join(_values(response, "Content-Type")).split(",") if one.strip()]
    if {one.partition(";")[0].strip().lower() for one in content_types} != {EVENT_STREAM}:
        found = " and ".join(show(one) for one in content_types[:3]) or "something that names no Content-Type"
        raise ConnectionFailedError(f"the answer is not an event stream but {found}")
    _check_codings(response)


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    # Another origin, which was not told the key, cannot refuse it.
    if status in _REJECTIONS and "Authorization" in response.request.headers:
        raise KeyRejectedError(status)
    if status != requests.codes.ok:
        raise UnexpectedStatusError(status)


def _check_codings(response: requests.Response) -> None:
    """Check that the bytes can be decoded: what urllib3 does not know, it passes on as it is."""
    transfer = [one for one in _codings(response, "Transfer-Encoding") if one != "chunked"]
    content = _codings(response, "Content-Encoding")
    for coding in [*transfer, *(one for one in content if one not in HTTPResponse.CONTENT_DECODERS)]:
        raise ConnectionFailedError(f"the answer is encoded as {show(coding)}, which cannot be decoded")
    # Where there are several, urllib3 takes each, "identity" too, for one that it knows.
    if content and response.raw:
        response.raw.headers["Content-Encoding"] = ", ".join(content)


def _codings(response: requests.Response, name: str) -> list[str]:
    """Return the encodings that a header names, without those that change nothing."""
    found = [one.strip().lower() for one in ",".join(_values(response, name)).split(",")]
    return [one for one in found if one not in ("", "identity")]


def _values(response: requests.Response, name: str) -> list[str]:
    """Return all values of a header, which may come several times."""
    headers = getattr(response.raw, "headers", None)
    if isinstance(headers, HTTPHeaderDict):
        return [value.strip() for value in headers.getlist(name)]  # http.client leaves the spaces at the end
    value = response.headers.get(name)  # an adapter of the user's own made the answer
    return [] if value is None else [value]


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
    except ValueError:
        target = ""
    if not is_http_url(target):
        raise ConnectionFailedError("a redirect to what is no valid http:// or https:// URL")
    parts = urlsplit(target)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, ""))
