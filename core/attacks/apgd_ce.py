"""Auto-PGD on the cross-entropy (Croce and Hein 2020, arXiv 2003.01690): AutoAttack's first part."""

from typing import Literal

from core.attacks.apgd import Apgd
from core.attacks.pgd import Ascended


class ApgdCe(Apgd):
    """Auto-PGD on the cross-entropy, 100 steps (Croce and Hein 2020, arXiv 2003.01690)."""

    name: Literal["apgd_ce"] = "apgd_ce"

    @property
    def ascends(self) -> Ascended:
        """The cross-entropy."""
        return "ce"
