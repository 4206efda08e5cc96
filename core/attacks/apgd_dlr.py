"""Auto-PGD on the difference of logits ratio (Croce and Hein 2020, arXiv 2003.01690, equation 6).

Neither a shift nor a scale of the logits changes that loss, so a network whose cross-entropy has saturated is attacked too.
"""

from typing import Literal

from core.attacks.apgd import Apgd
from core.attacks.pgd import Ascended


class ApgdDlr(Apgd):
    """Auto-PGD on the difference of logits ratio, 100 steps (Croce and Hein 2020, arXiv 2003.01690); three classes or more."""

    name: Literal["apgd_dlr"] = "apgd_dlr"

    @property
    def ascends(self) -> Ascended:
        """The difference of logits ratio."""
        return "dlr"

    @property
    def least_classes(self) -> int:
        """It compares the first three."""
        return 3
