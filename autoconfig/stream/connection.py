"""One connection to the service: the request, the redirects, and the bytes of the answer as they come."""

from __future__ import annotations

import platform
import posixpath
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import requests
import requests.sessions
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from ..config import HTTPConfig
from ..exceptions import ConnectionFailedError, KeyRejectedError, UnexpectedStatusError
from ..identifiers import show
from ..validation import is_http_url
from ..version import __version__
from .body import Deadline, pieces
from .cancel import CancelToken
from .failures import describe
from .transport import InterruptibleAdapter, TLSContexts

T = TypeVar("T")
PATH = "relay_auto_config"
EVENT_STREAM = "text/event-stream"
USER_AGENT = f"autoconfig-python/{__version__} (Python {platform.python_version()})"
_MOST_REDIRECTS = 10
# Values that every header carries unchanged (RFC 9110, 5.5). Servers refuse others, and long ones, at each attempt.
_CARRIED = re.compile(rb"[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff]{0,1022}[\x21-\x7e\x80-\xff])?")


def endpoint(stream_uri: str, protocol_version: int) -> str:
    """
    Return the URL of the stream: the path joined, cleaned of double slashes and dots, the caller's query kept.

    User and password are left out: the only credential of this service is the key.
    """
    parts = _without_user(stream_uri)
    path = posixpath.normpath(posixpath.join("/", parts.path.strip("/"), PATH))
    version = f"rpacProtocolVersion={protocol_version}" if protocol_version > 1 else ""
    query = "&".join(filter(None, [parts.query, version]))
    return parts._replace(path=quote(path, safe="%/:@!$&'()*+,;=~-._"), query=query).geturl()


class Connector:
    """
    Makes connections to one endpoint, one at a time, from the reader's thread.

    Args:
        read_key: Returns the auto-configuration key; called before each attempt.
        url: The endpoint.
        config: Proxies, certificates, timeouts and so on.
        token: Interrupts every wait.
        endless: Whether an event stream is expected, and not a file.
    """

    def __init__(
        self, read_key: Callable[[], str], url: str, config: HTTPConfig, token: CancelToken, endless: bool = True
    ) -> None:
        self._read_key = read_key
        self._url = url
        self._config = config
        self._token = token
        self._endless = endless
        self._deadline = Deadline(config.read_timeout)
        self._contexts = TLSContexts(config, token)

    @contextmanager
    def connect(self, last_event_id: str = "") -> Iterator[Iterator[bytes]]:
        """
        Make the request; the value is an iterator over the bytes of its answer, which ends when the token is cancelled.

        Blocks until the headers of the answer are there. Everything is closed at the end of the ``with`` block.

        Raises:
            KeyRejectedError: The service does not accept the key.
            ConnectionFailedError: There is no usable answer; the text says why.
            StreamEndedError: Raised by the iterator: the answer broke off, was silent for too long, or ended although
                it is endless.
        """
        try:
            with (
                _explained("cannot make a session: ", self._session) as session,
                closing(self._request(session, last_event_id)) as response,
            ):
                _check_status(response)
                if self._endless:
                    _check_type(response)
                _check_codings(response)
                yield pieces(response.raw, self._deadline, self._token, self._endless)
        finally:
            self._token.release()

    def _session(self) -> requests.Session:
        # A session for each attempt: no connection, cookie or proxy decision of an earlier one is used again.
        session = (self._config.session_factory or _session_class())()
        self._contexts.own = self._config.ssl_context
        ours = InterruptibleAdapter(self._token, self._deadline, self._contexts)
        for prefix, adapter in list(session.adapters.items()):
            if type(adapter) is HTTPAdapter:  # the user's own adapter stays
                session.mount(prefix, ours)
        # Without an auth object, requests would take one from ~/.netrc and replace the Authorization header with it.
        session.auth = session.auth or _keep_headers
        # If requests finds a redirect's target, it reads the body to the end, even if it must not follow the redirect.
        session.get_redirect_target = lambda _: None  # type: ignore[method-assign, assignment]
        return session

    def _request(self, session: requests.Session, last_event_id: str) -> requests.Response:
        key = _explained("cannot read the key: ", self._read_key)
        url, headers, cert = self._url, self._headers(key, last_event_id), self._config.client_cert
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._get(session, url, headers, cert)
            if not response.is_redirect:
                return response
            locations = _locations(response)
            response.close()  # unread: its body may be endless
            self._token.release()  # a duplicate would keep the connection open
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

    def _get(
        self, session: requests.Session, url: str, headers: dict[str, str | bytes], cert: Any
    ) -> requests.Response:
        config = self._config
        get = partial(
            session.get,
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
        response = _explained("", get)
        with suppress(OSError, ValueError, AttributeError):  # it has ended already, or has no socket
            self._token.watch(response.raw.fileno())  # any adapter may have made it
        return response

    def _public_headers(self) -> dict[str, str | bytes]:
        return {
            "Accept": EVENT_STREAM if self._endless else "*/*",
            "Accept-Encoding": "identity",  # a compressed stream is decoded all the same, but events would come late
            "Cache-Control": "no-cache",
            "User-Agent": self._config.user_agent or USER_AGENT,
        }

    def _headers(self, key: str, last_event_id: str) -> dict[str, str | bytes]:
        headers = {**self._public_headers(), **self._config.headers, "Authorization": key}
        encoded = last_event_id.encode("utf-8", "replace")
        if _CARRIED.fullmatch(encoded):
            headers["Last-Event-ID"] = encoded
        return headers

    def _forget_credentials(self, session: requests.Session) -> None:
        """Remove all credentials of the service from a session, which a user's function may have made."""
        session.auth = _keep_headers
        session.cert = None
        session.headers = requests.utils.default_headers()
        session.params = {}
        with suppress(KeyError):
            session.cookies.clear("")  # those without a domain, which would go to every host
        self._contexts.own = None


def _session_class() -> type[requests.Session]:
    """Return requests' own class, also if a package such as requests-cache has put another one into its place."""
    classes = requests.sessions.Session.__mro__
    return next(one for one in reversed(classes) if one.__module__ == "requests.sessions" and one.__name__ == "Session")


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _explained(prefix: str, call: Callable[[], T]) -> T:
    """
    Call another package, or a function of the user, and return the result.

    Raises:
        ConnectionFailedError: It raised. The text is the prefix and the reason.
    """
    try:
        return call()
    except BaseException as error:  # SystemExit, too
        if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
            raise  # Ctrl-C, for example: in this thread, signals are handled
        reason = describe(error)
    # Raised here, so that it holds no reference to that error, which may know the request and with it the key.
    raise ConnectionFailedError(prefix + reason)


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    # Another origin, which was not told the key, cannot refuse it.
    if status in (401, 403) and "Authorization" in response.request.headers:
        raise KeyRejectedError(status)
    if status != requests.codes.ok:
        raise UnexpectedStatusError(status)


def _check_type(response: requests.Response) -> None:
    types = _listed(response, "Content-Type")
    if {one.partition(";")[0].strip() for one in types} != {EVENT_STREAM}:
        found = " and ".join(show(one) for one in types[:3]) or "something that names no Content-Type"
        raise ConnectionFailedError(f"the answer is not an event stream but {found}")


def _check_codings(response: requests.Response) -> None:
    """Check that the bytes can be decoded: urllib3 passes on an encoding that it does not know, undecoded."""
    content = [one for one in _listed(response, "Content-Encoding") if one != "identity"]
    unknown = [one for one in _listed(response, "Transfer-Encoding") if one not in ("chunked", "identity")]
    for coding in [*unknown, *(one for one in content if one not in HTTPResponse.CONTENT_DECODERS)]:
        raise ConnectionFailedError(f"the answer is encoded as {show(coding)}, which cannot be decoded")
    # If there are several encodings, urllib3 expects to know each of them, "identity" too.
    if content and response.raw:
        response.raw.headers["Content-Encoding"] = ", ".join(content)


def _listed(response: requests.Response, name: str) -> list[str]:
    """Return the list in a header, in lower case. Several headers of one name are one list; proxies may join them."""
    found = [one.strip().lower() for one in response.headers.get(name, "").split(",")]
    return [one for one in found if one]


def _locations(response: requests.Response) -> set[str]:
    """Return where a redirect leads; an answer may say so several times."""
    headers = getattr(response.raw, "headers", None)
    found = headers.getlist("Location") if isinstance(headers, HTTPHeaderDict) else []
    # The user's own adapter may set the header of the response only. http.client keeps spaces at the end of a value.
    return {one.strip() for one in found or [response.headers["Location"]]}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _without_user(url: str) -> SplitResult:
    """Take a URL apart, and leave out user, password and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")


def _redirected(url: str, location: str) -> str:
    target = ""
    with suppress(ValueError):
        target = urljoin(url, location)
    if not is_http_url(target):
        raise ConnectionFailedError("a redirect to something that is not a valid http:// or https:// URL")
    return _without_user(target).geturl()
