"""IFGSM, also BIM: FGSM repeated in small steps (Kurakin, Goodfellow, Bengio 2017, arXiv 1607.02533).

The thesis's "IFGSM20" is 20 steps of 1/255 from the image itself at eps 8/255, the last iterate counting.
"""

from typing import Literal

from core.attacks.pgd import GradientAttack


class Ifgsm(GradientAttack):
    """Iterated FGSM from the clean image (Kurakin et al. 2017, arXiv 1607.02533); the thesis takes 20 steps of eps / 8."""

    name: Literal["ifgsm"] = "ifgsm"

    @classmethod
    def cheap(cls) -> dict[str, object]:
        """A few steps."""
        return {"steps": 5}
