"""What an audit costs, in forward passes, and so on how many images it is made.

A quick audit takes less than a tenth of the evaluation's passes: of a small evaluation it looks at fewer images, though never at
less than 16, below which it could say nothing.
"""

from core.audit import binarisation, blackbox
from core.audit.sanity import without_bound
from core.audit.strength import of_the_evaluation, within_the_threat
from core.audit.subject import DRAWS
from core.spec import Spec

MOST = {"quick": 128, "full": 256}
FEWEST = 16
SHARE = 0.1


def passes(spec: Spec, random: bool) -> float:
    """Forward passes of an audit at the most, of a random network or another, unless a failed check triggers stronger attacks."""
    return images(spec, random) * each(spec, random) if spec.evaluate.audit != "off" else 0.0


def images(spec: Spec, random: bool) -> int:
    """How many images it is made on."""
    most = min(MOST[spec.evaluate.audit], spec.evaluate.images or spec.dataset.test_size)
    if spec.evaluate.audit == "full":
        return most
    return min(most, max(FEWEST, int(SHARE * spec.evaluation_passes() / each(spec, random))))


def each(spec: Spec, random: bool) -> float:
    """Forward passes an image."""
    full = spec.evaluate.audit == "full"
    strength, judge = of_the_evaluation(spec, random), DRAWS if random else 1
    attacks = [without_bound(full, random), strength.doubled() if full else strength.longer()]
    if random or not any(not attack.black_box for attack in within_the_threat(spec)):
        attacks.append(strength)
    if random:
        attacks += [strength] * (2 if full else 1)  # the twin's, and that of fixed noise
    cost = 12 + sum(attack.passes(random) + len(attack.losses) * judge for attack in attacks)
    if full:
        cost += 3 * strength.steps + blackbox.QUERIES + binarisation.INNER + binarisation.BOUNDARY + 3 * strength.steps
        cost += 4 * strength.draws if random else 0
    return cost
