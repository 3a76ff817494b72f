"""The source of a follower's messages: it reads the picture and the log of changes in Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from ..exceptions import StreamEndedError
from ..messages import PUT_EVENT, Batch
from ..safe_logger import Logger
from ..stream.cancel import CancelToken
from ..stream.decoding import Received
from .form import META_FIELDS, Fields, Form, Picture, apply, decode_changes, message_of, put_of, summary
from .link import Link, check_redis_url, linked, show_url
from .status import LeaderSeen

_IDLE = 2.0  # seconds that a read waits for a change before it checks the leader and the picture
_TIMEOUT = 5.0  # seconds; longer than a read waits
_AT_ONCE = 100  # entries
_LEADERLESS = 30.0  # seconds without a beat, after which the connection ends; three of the longest leases
# Seconds after which a picture that is older than what was received is used, if there are beats: a clock was set back.
_PATIENCE = 30.0
_NO_CHANGE = Received((), [])


class RedisSource:
    """
    A fleet in Redis. Follow it with ``StreamManager.from_source(RedisSource(…), handler)``.

    It holds no connection, so several managers may share one source. A manager that follows it behaves as one that
    follows the service: the same calls, versions, retries and states. It is ``INTERRUPTED`` after 30 seconds without a
    sign of life from a leader. Nothing is deleted because Redis is empty, unreachable or older than what was received.
    Needs the extra ``redis``.

    Args:
        url: The address of Redis, as redis-py takes it: ``redis://``, ``rediss://`` (TLS), ``unix://``; any node of a
            cluster; and ``redis+sentinel://user:password@host1:26379,host2/service/0``.
        name: The fleet's name, such as the name of the auto-configuration profile.
        secret: The leader's secret, with which values are encrypted and authenticated (AES-256-GCM).

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The URL, the name or the secret is invalid.
    """

    def __init__(self, url: str, name: str, secret: str | None = None) -> None:
        check_redis_url(url)
        self._url = url
        self._form = Form(name, secret)
        self._name = name
        self._leader = LeaderSeen()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        return f"{self._name!r} at {show_url(self._url)}"

    @property
    def name(self) -> str:
        """The fleet's name."""
        return self._name

    @property
    def leader(self) -> LeaderSeen:
        """The leader as a manager that follows this source last saw it; may be read from any thread."""
        return self._leader

    def make(self, token: CancelToken, logger: Logger) -> FleetStream:
        """Make the source of one manager; see :class:`autoconfig.stream.source.SourceMaker`."""
        return FleetStream(self, token, logger)


class FleetStream:
    """
    The source of one manager. Its position in the log never goes back, and survives its connections.

    Args:
        source: What to follow.
        token: Interrupts every wait.
        logger: For a picture that is used although it is older than what was received.

    Attributes:
        retry: Always ``None``.
    """

    def __init__(self, source: RedisSource, token: CancelToken, logger: Logger) -> None:
        self.retry: int | None = None
        self._source = source
        self._form = source._form
        self._token = token
        self._log = logger
        self._sequence = 0
        self._birth = b""
        self._fields: Fields = {}  # the picture at this position
        self._beat = (0, b"")  # the leader's last beat: its term, and a number
        self._beat_at = 0.0  # monotonic
        self._leaderless = False
        self._older_since: tuple[float, tuple[int, bytes]] | None = None

    @contextmanager
    def connect(self) -> Iterator[Iterator[Received]]:
        """Connect; see :meth:`autoconfig.stream.source.Source.connect`."""
        self._beat_at = time.monotonic()
        with linked(self._source._url, self._token, _TIMEOUT) as link:
            yield self._receive(link)

    def _receive(self, link: Link) -> Iterator[Received]:
        yield from self._resume(link)
        while True:
            entries = self._read(link)
            if entries:
                yield from self._follow(link, entries)
            elif self._is_elsewhere(summary(link.call("HMGET", self._form.state, *META_FIELDS))):
                yield from self._load(link, patient=False)
            else:
                yield _NO_CHANGE

    def _resume(self, link: Link) -> Iterator[Received]:
        """Yield a put, from memory if nothing has changed meanwhile. If nobody leads, wait for a leader first."""
        while self._leaderless and self._sequence:
            yield _NO_CHANGE
            self._see(summary(link.call("HMGET", self._form.state, *META_FIELDS)))
            self._token.wait(_IDLE / 2)
        if self._sequence and not self._is_elsewhere(summary(link.call("HMGET", self._form.state, *META_FIELDS))):
            yield Received((PUT_EVENT,), [put_of(self._fields)])
        else:
            yield from self._load(link, patient=True)

    def _load(self, link: Link, *, patient: bool) -> Iterator[Received]:
        """
        Read the picture and yield a put of it.

        If there is no picture, a patient call waits for one. Any other call raises, which ends the connection, so that
        the status shows the failure. What was received before stays.
        """
        while True:
            picture = self._form.picture(link.call("HGETALL", self._form.state))
            self._see(picture)
            if self._may_take(picture):
                fields = self._form.open_all(picture.fields)
                content = put_of(fields)
                self._fields, self._sequence, self._birth = fields, picture.sequence, picture.birth
                yield Received((PUT_EVENT,), [content])
                return
            if not patient:
                raise StreamEndedError("there is no picture in Redis, or one that is older than what was received")
            yield _NO_CHANGE
            self._wait_for_a_write(link)

    def _may_take(self, picture: Picture) -> bool:
        """Return whether there is a picture that is not older than what was received."""
        if not picture.sequence:
            return False
        if picture.sequence >= self._sequence:
            self._older_since = None
            return True
        now, beat = time.monotonic(), (picture.term, picture.beat)
        if self._older_since is None:
            self._older_since = now, beat
        since, beat_then = self._older_since
        if now - since < _PATIENCE or beat == beat_then:
            return False
        self._log.warning("The leader's picture is older by its clock than what was received; using it anyway")
        self._older_since = None
        return True

    def _is_elsewhere(self, now: Picture) -> bool:
        """Return whether Redis has another picture than the one that was received."""
        self._see(now)
        return (now.sequence, now.birth) != (self._sequence, self._birth)

    def _wait_for_a_write(self, link: Link) -> None:
        link.call("XREAD", "BLOCK", int(_IDLE * 500), "COUNT", 1, "STREAMS", self._form.log, "$")

    def _read(self, link: Link) -> list[tuple[bytes, list[bytes]]]:
        after = f"{self._sequence}-0"
        block = int(_IDLE * 1000)
        answer = link.call("XREAD", "BLOCK", block, "COUNT", _AT_ONCE, "STREAMS", self._form.log, after)
        return answer[0][1] if answer else []

    def _follow(self, link: Link, entries: list[tuple[bytes, list[bytes]]]) -> Iterator[Received]:
        """Yield the messages of log entries; yield the whole picture if an earlier entry is missing."""
        names: list[str] = []
        messages: Batch = []
        for id, values in entries:
            entry = dict(zip(values[::2], values[1::2], strict=True))
            if int(entry[b"p"]) != self._sequence or entry[b"k"] == b"r":
                if messages:
                    yield Received(names, messages)
                yield from self._load(link, patient=False)
                return
            self._take(int(id.partition(b"-")[0]), entry, names, messages)
        yield Received(names, messages)

    def _take(self, sequence: int, entry: dict[bytes, bytes], names: list[str], messages: Batch) -> None:
        place = b"#%d after %d" % (sequence, self._sequence)
        changes = decode_changes(self._form.open(entry[b"d"], place))
        for change in changes:
            apply(change, self._fields)
        self._sequence = sequence
        if entry[b"k"] == b"p" and changes:
            messages.append(put_of(self._fields))
            names.append(PUT_EVENT)
        else:
            found = [change for change in changes if change.event]
            messages += map(message_of, found)
            names += [change.event for change in found]
        self._beat_at = time.monotonic()
        lag = max(0.0, time.time() - float(entry[b"t"]))
        self._source._leader = attrs.evolve(self._source._leader, sequence=sequence, lag=lag)

    def _see(self, picture: Picture) -> None:
        """
        Record who leads, and whether there is a new beat.

        Raises:
            StreamEndedError: There was no beat for a long time. The leader may use another server by now, so the next
                attempt asks the sentinels and looks up the name again.
        """
        now, beat = time.monotonic(), (picture.term, picture.beat)
        seen = attrs.evolve(self._source._leader, owner=picture.owner, term=picture.term, sequence=self._sequence)
        if picture.owner and beat != self._beat:
            if self._beat != (0, b""):  # the first beat that is seen may be years old
                seen = attrs.evolve(seen, alive_at=time.time())
                self._leaderless = False
            self._beat, self._beat_at = beat, now
        self._source._leader = seen
        if now - self._beat_at > _LEADERLESS:
            self._leaderless = True
            raise StreamEndedError(f"nobody leads the fleet: for {_LEADERLESS:.0f} s there was no sign of a leader")
