"""Everything that is logged, by whomever, in a form in which secrets can be looked for."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

from support.logs import LIMIT, LogKeeper

FAILED = "The stream failed"


class LogWatch(LogKeeper):
    """Keeps what is logged by whomever it is added to."""

    @property
    def lines(self) -> list[str]:
        """The text of each record."""
        return self.texts()

    def wait_for_failure(self, timeout: float = LIMIT) -> str:
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
