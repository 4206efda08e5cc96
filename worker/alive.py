"""`python -m worker.alive`: leaves with 0 if a worker of this host has been seen within a lease (for health checks)."""

import socket
import sys

from store import workers
from store.database import transaction
from store.settings import settings


def alive() -> bool:
    """Whether the store knows a living worker of this host."""
    with transaction() as session:
        return any(
            worker.host == socket.gethostname() for worker, _ in workers.living(session, settings().lease_seconds)
        )


if __name__ == "__main__":
    sys.exit(0 if alive() else 1)
