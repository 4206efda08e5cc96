"""What may be said of methods on the same images: mean and interval over seeds; of each pair a test, and a sentence for it."""

import itertools
from collections.abc import Sequence

from api.comparable import Entry
from api.comparison_schemas import JobScored, MethodScored, Outcome, PairCompared
from core.compare import FEW_IMAGES, FEW_POINTS, LEVEL, Paired, large, methods, networks, together
from core.intervals import student

WORDS: dict[Outcome, str] = {
    "right_or_wrong": "Of each image it is compared whether the network was right.",
    "shares": "Of each image the share of judging draws is compared in which the network was right.",
    "right_in_half": "Of each image it is compared whether the network was right in half of the judging draws or more; "
    "accuracies are means of shares of draws, so that their difference is another one.",
}


def scored(name: str, entries: Sequence[Entry]) -> MethodScored:
    """What a method got over its seeds."""
    over = student([one.score["accuracy"] for one in entries])
    low, high = over.interval or (None, None)
    listed = [_job(one) for one in entries]
    return MethodScored(name=name, n=over.n, mean=over.mean, std=over.std, low=low, high=high, jobs=listed)


def _job(one: Entry) -> JobScored:
    found = {name: one.score[name] for name in ("draws", "accuracy", "low", "high")}
    row = {name: getattr(one.job, name) for name in ("id", "number", "name", "trust")}
    return JobScored(**found, **row, seed=one.seed)


def pairs(names: Sequence[str], outcomes: Sequence[Sequence[Sequence[float]]]) -> list[PairCompared]:
    """Every pair; `outcomes` are [method][seed][image]: one seed of each method, or at least three."""
    both = list(itertools.combinations(range(len(names)), 2))
    fixed = len(outcomes[0]) == 1
    found = [_test(outcomes[one], outcomes[other], fixed) for one, other in both]
    rows = zip(both, found, together(found), strict=True)
    return [_pair(names[one], names[other], alone, holm, fixed) for (one, other), alone, holm in rows]


def _test(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]], fixed: bool) -> Paired:
    return networks(ones[0], others[0]) if fixed else methods(ones, others)


def _pair(one: str, other: str, alone: Paired, holm: Paired, fixed: bool) -> PairCompared:
    better = (one if holm.difference > 0 else other) if holm.ranks else None
    return PairCompared(
        one=one,
        other=other,
        test="mcnemar" if fixed else "bootstrap",
        images=alone.images,
        difference=100 * alone.difference,
        low=100 * alone.interval.low,
        high=100 * alone.interval.high,
        p=alone.p,
        p_holm=holm.p,
        better=better,
        why=sentence(holm, better, fixed),
    )


def sentence(found: Paired, better: str | None, fixed: bool) -> str:
    """Why one may be called better, or why neither may; p is Holm's."""
    points, p = abs(100 * found.difference), f"p after Holm's correction is {found.p:.2g}"
    if better:
        words = f"{better} is better by {points:.1f} points on the same {found.images:,} images: {p}."
        return words + (" This is of two networks: one seed each says nothing of methods." if fixed else "")
    reasons = [f"{p}, above {LEVEL}"] if found.p > LEVEL else []
    if not large(found.difference, found.images):
        few = f"{found.images:,} images are fewer than {FEW_IMAGES:,}"
        reasons.append(f"{few}, too few to rank what is {points:.1f} points apart, less than {FEW_POINTS:.0f}")
    return f"Neither may be called better: {'; '.join(reasons)}."
