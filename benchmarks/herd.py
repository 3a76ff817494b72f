"""
The herd: ten thousand clients that all lose the service at once, and how they come back.

``python -m benchmarks.herd [--png FILE]``. No sockets, no waiting: the delays are those of the library's own
``RetryPlan``, the time is simulated, and the random numbers have a seed. The story: an outage of five minutes, an hour
of good service, then a moment in which all connections are cut, as by a load balancer's restart. Three kinds of clients
live through it: this library's, the same without jitter, and the Go relay's, whose delay is practically never reset. It
exits with 1 if this library's clients come back as a herd: more than a tenth of them in one second after the outage, or
more than three tenths in a tenth of a second after the cut.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from autoconfig import RetryPolicy
from autoconfig.exceptions import ConnectionFailedError, StreamEndedError
from autoconfig.stream.retry import RetryPlan

OUTAGE = 300.0  # seconds
GOOD = 3600.0  # seconds of service afterwards, counted from its return
CUT = 0.0  # seconds that the service is away at the end: none, only the connections are lost
SEED = 20261124
_BIN = 10  # bins a second
_HERD_OF_SECOND, _HERD_OF_BIN = 0.1, 0.3  # the shares of the clients that make a herd
_NEVER = 86_400.0 * 366  # seconds; the longest that a policy takes

POLICIES = {
    "this library": RetryPolicy(),
    "without jitter": RetryPolicy(jitter=0.0),
    "Go relay": RetryPolicy(reset_after=_NEVER),
}


class Wave(NamedTuple):
    """
    What the service sees of one loss of all connections; times are seconds since then.

    Attributes:
        requests: How many came in each tenth of a second.
        back: When each client had its stream again, in order.
        outage: How long the service was away.
    """

    requests: Counter[int]
    back: list[float]
    outage: float

    def peak(self, first: float, bins: int = 1) -> int:
        """Return the most requests in so many tenths of a second that begin at a time or later."""
        places = range(int(first * _BIN), max(self.requests) + 1)
        return max(sum(self.requests[place + more] for more in range(bins)) for place in places)

    def figures(self) -> dict[str, float]:
        """Return the figures of the report; the peaks are requests per second over a tenth of a second."""
        count = len(self.back)
        return {
            "requests": sum(self.requests.values()),
            "first_second": sum(self.requests[place] for place in range(_BIN + 1)),
            "peak": self.peak(0.0) * _BIN,
            "peak_once_back": self.peak(self.outage) * _BIN,
            "peak_of_a_whole_second_once_back": self.peak(self.outage, _BIN),
            "half_back_after": round(self.back[count // 2] - self.outage, 2),
            "all_but_1_percent_back_after": round(self.back[count * 99 // 100] - self.outage, 2),
        }


class Client:
    """One client, as far as its retries go."""

    def __init__(self, policy: RetryPolicy, chance: Callable[[], float]) -> None:
        self._plan = RetryPlan(1.0, policy, chance)

    def lose(self, good_for: float, outage: float, requests: Counter[int]) -> float:
        """Lose the connection; note the requests until it is there again, and return when that is."""
        now = self._plan.next_delay(StreamEndedError("the service ended the stream"), good_for, None)
        requests[int(now * _BIN)] += 1
        while now < outage:
            now += self._plan.next_delay(ConnectionFailedError("connection refused"), 0.0, None)
            requests[int(now * _BIN)] += 1
        self._plan.delivered()
        return now


def live(policy: RetryPolicy, clients: int) -> tuple[Wave, Wave]:
    """Let clients of one kind live through the story; return what the service sees of the outage and of the cut."""
    chance = random.Random(SEED).random
    herd = [Client(policy, chance) for _ in range(clients)]
    waves = []
    good = [GOOD] * clients  # how long each has been connected when the connection is lost
    for outage in (OUTAGE, CUT):
        requests: Counter[int] = Counter()
        back = [client.lose(since, outage, requests) for client, since in zip(herd, good, strict=True)]
        good = [OUTAGE + GOOD - at for at in back]
        waves.append(Wave(requests, sorted(back), outage))
    return waves[0], waves[1]


def plot(lives: dict[str, tuple[Wave, Wave]], path: Path) -> None:
    """Draw requests per second over time: a row for each kind of clients, the outage left, the cut right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(lives), 2, figsize=(12, 7.5), sharey=True, sharex="col", width_ratios=[2, 1], squeeze=False
    )
    for row, (name, waves) in zip(axes, lives.items(), strict=True):
        for axis, wave, until in zip(row, waves, (OUTAGE + 45, 35.0), strict=True):
            bins = range(int(until * _BIN))
            heights = [wave.requests[place] * _BIN for place in bins]
            axis.fill_between([place / _BIN for place in bins], heights, step="post", linewidth=0.6, color="#2f7fd0")
            if wave.outage:
                axis.axvspan(0, wave.outage, color="#d04f2f", alpha=0.12)
            axis.set_yscale("log")
            axis.set_ylim(5, 2e5)
            axis.grid(alpha=0.3)
            axis.annotate(
                f"peak {wave.figures()['peak']:,.0f}/s",
                (0.98, 0.88),
                xycoords="axes fraction",
                ha="right",
                backgroundcolor="white",
            )
        row[0].set_ylabel(f"{name}\nrequests/s")
    axes[0][0].set_title(f"an outage of {OUTAGE:.0f} s (shaded)")
    axes[0][1].set_title("an hour later: all connections are cut")
    axes[-1][0].set_xlabel("seconds after the loss")
    axes[-1][1].set_xlabel("seconds after the cut")
    figure.suptitle(f"{len(next(iter(lives.values()))[0].back):,} clients, in tenths of a second")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.herd", description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000, help="how many, default 10,000")
    parser.add_argument("--quick", action="store_true", help="a tenth of that")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it, with matplotlib")
    options = parser.parse_args()
    clients = 1000 if options.quick else options.clients
    lives = {name: live(policy, clients) for name, policy in POLICIES.items()}
    if options.png:
        plot(lives, options.png)
    outage, cut = lives["this library"]
    herd = outage.peak(OUTAGE, _BIN) > _HERD_OF_SECOND * clients or cut.peak(CUT) > _HERD_OF_BIN * clients
    for name, waves in lives.items():
        for what, wave in zip(("outage", "cut"), waves, strict=True):
            print(f"{name:15} {what:7}", "  ".join(f"{key} {value:,}" for key, value in wave.figures().items()))
    print(json.dumps({name: [wave.figures() for wave in waves] for name, waves in lives.items()}))
    return 1 if herd else 0


if __name__ == "__main__":
    sys.exit(main())
