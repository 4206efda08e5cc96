"""How long a job will take: the median of the jobs most like it that have succeeded lately.

Most alike is the same computation; then the same submission with another seed; then the same kind on the same dataset with
the same model and number of epochs; then the same kind. A job like which nothing has succeeded is taken to last as long as
it may.
"""

from collections.abc import Iterable
from statistics import median

Kin = tuple[str, ...]
"""What a job is alike in, from the closest to the most distant."""
LATELY = 1000
"""Jobs that are remembered, the newest ones."""
KIN = """digest, group_id::text, jsonb_build_array(
    kind, gpus, spec->'dataset'->>'name', spec->'model', spec->'train'->'epochs', spec->'evaluate'->'images')::text, kind"""
"""In SQL, of a row of `jobs`."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class History:
    """Jobs that have succeeded, each with its kin and the seconds that it ran."""

    def __init__(self, ended: Iterable[tuple[Kin, float]]) -> None:
        seconds: dict[tuple[int, str], list[float]] = {}
        for kin, ran in ended:
            for level in enumerate(kin):
                seconds.setdefault(level, []).append(ran)
        self.medians = {level: median(some) for level, some in seconds.items()}

    def expected(self, kin: Kin, limit: float) -> float:
        """Seconds that such a job will run; `limit` is its max_duration."""
        known = (self.medians[level] for level in enumerate(kin) if level in self.medians)
        return min(next(known, limit), limit)


def seconds(duration: str) -> int:
    """A max_duration (90s, 30m, 24h, 7d) in seconds."""
    return int(duration[:-1]) * UNITS[duration[-1]]
