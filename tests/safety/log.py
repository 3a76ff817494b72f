"""Everything that is logged, by whomever, in a form in which secrets can be looked for."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Iterator

FAILED = "The stream failed"


class LogWatch(logging.Handler):
    """
    Keeps every record and lets a test wait for a line.

    Attributes:
        records: All records so far.
    """

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.records: list[logging.LogRecord] = []
        self._changed = threading.Condition()  # guards records

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """The text of each record."""
        return [record.getMessage() for record in list(self.records)]

    def wait_for(self, text: str, timeout: float = 30.0) -> str:
        """Wait until a line has this text, and return it; raises ``AssertionError`` at the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: any(text in line for line in self.lines), timeout)
        found = [line for line in self.lines if text in line]
        assert found, f"no line with {text!r} within {timeout} s, but {self.lines[:50]}"
        return found[0]

    def wait_for_failure(self, timeout: float = 30.0) -> str:
        """Wait until the stream has failed, and return the line that says why."""
        return self.wait_for(FAILED, timeout)

    def everything(self, *, variables: bool = True) -> str:
        """Return all that a record could show: text, arguments, tracebacks (with local variables), thread names."""
        return "\n".join(part for record in list(self.records) for part in shown(record, variables))


def shown(record: logging.LogRecord, variables: bool) -> Iterator[str]:
    """Yield all that a record could show, with the local variables of tracebacks or without."""
    yield record.getMessage()
    yield f"{record.msg} {record.args} {record.name} {record.threadName} {record.stack_info}"
    arguments = record.args if isinstance(record.args, tuple) else ()
    errors = [one for one in arguments if isinstance(one, BaseException)]
    if record.exc_info and record.exc_info[1]:
        yield logging.Formatter().formatException(record.exc_info)
        errors.append(record.exc_info[1])
    for error in errors:
        yield chain(error, variables=variables)


def chain(error: BaseException, *, variables: bool = True) -> str:
    """Return what an exception and all behind it say: text, arguments, attributes, tracebacks (with variables)."""
    texts, waiting, seen = [], [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        texts += [str(one), repr(one), repr(one.args), repr(vars(one))]
        texts += traceback.TracebackException.from_exception(one, capture_locals=variables).format(chain=False)
        waiting += [behind for behind in (one.__cause__, one.__context__) if behind]
    return "\n".join(texts)
