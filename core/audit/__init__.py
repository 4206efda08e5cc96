"""Is the robustness real? Checks for masked gradients and weak attacks, and a verdict on the *evaluation*.

After Athalye, Carlini, Wagner 2018 (arXiv 1802.00420), Carlini et al. 2019 (arXiv 1902.06705) and Zimmermann et al. 2022 (arXiv
2206.13991). Each check measures something, compares it with two thresholds (passes, fails; between them: warning), says in words
what it found and, unless it passed, what to do. A failed check is no charge against the network: it means that the attacks
were too weak to conclude.
"""

from core.audit.audit import Audit
from core.audit.cost import passes

__all__ = ["Audit", "passes"]
