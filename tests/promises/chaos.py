"""`make chaos [MINUTES=60]`: a service under load while everything that may go wrong does, at once; then the account.

Workers, pool processes, the api, Postgres and the broker are killed, workers freeze for longer than a lease, the broker is
flushed, bells ring for nothing. Leaves with 0 if each accepted job was brought to its end once.
"""

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from promises import faults  # noqa: E402 (the path above)
from promises.account import account  # noqa: E402
from promises.clerk import Clerk  # noqa: E402
from promises.crew import Crew  # noqa: E402
from promises.processes import until  # noqa: E402

SETTINGS = {"LEASE_SECONDS": "5", "HEARTBEAT_SECONDS": "0.5", "MAX_LOSSES": "1000"}
Fault = Callable[[Crew, random.Random], None]
FAULTS: dict[str, tuple[Fault, int]] = {
    "worker killed": (faults.kill, 6),
    "pool process killed": (faults.kill_pool_process, 2),
    "worker frozen": (faults.freeze, 2),
    "api killed": (faults.kill_api, 2),
    "Postgres killed": (faults.kill_postgres, 2),
    "broker killed": (faults.kill_broker, 2),
    "broker flushed": (faults.flush, 3),
    "bells doubled": (faults.ring, 3),
}
"""What may go wrong, and how often in comparison."""


def chaos(crew: Crew, minutes: float, luck: random.Random) -> tuple[Counter[str], list[str]]:
    """Break things for some minutes, then wait for the end of all jobs: what was done, and what is wrong."""
    clerk = Clerk(crew, lambda n: f"work-{luck.randint(10, 60)}-{luck.choice((20, 50))}-{n}", depth=10)
    done = Counter[str]()
    clerk.start()
    names, weights = list(FAULTS), [weight for _, weight in FAULTS.values()]
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        (name,) = luck.choices(names, weights)
        FAULTS[name][0](crew, luck)
        done[name] += 1
        crew.tend()
    clerk.stop()
    until(lambda: not crew.counts().keys() & {"queued", "running"}, 900, "all jobs to end", pause=0.5)
    found = account(crew, clerk.accepted)
    done["jobs"], done["attempts"] = found.accepted, sum(found.outcomes.values())
    done["stale writes refused"] = found.refused
    return done, [*clerk.unexpected, *found.lost, *found.doubled, *found.missing, *found.overlaps]


def main(minutes: float) -> int:
    """0 if nothing is wrong."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        named = {f"SPARRING_{key}": value for key, value in SETTINGS.items()}
        with Crew(Path(folder), 3, **named) as crew:
            done, wrong = chaos(crew, minutes, random.Random())
    print("; ".join(f"{number} x {what}" for what, number in done.items()))
    print("\n".join(wrong) or "Every accepted job was brought to its end once.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
