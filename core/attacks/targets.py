"""The classes that a targeted attack aims at: the wrong ones, in the order in which the network confuses the image with them."""

from torch import Tensor

from core.ascent import PerImageLoss


def wrong_class(clean: Tensor, y: Tensor, rank: int) -> Tensor | None:
    """The wrong class with the largest logit on the clean image (rank 0), the next one (1), ... (B, K), (B,) -> (B,).

    None where there are not so many wrong classes.
    """
    if rank >= clean.shape[1] - 1:
        return None
    return clean.scatter(1, y[:, None], float("-inf")).topk(rank + 1, 1).indices[:, rank]


def ahead_of_truth(target: Tensor) -> PerImageLoss:
    """How far the classes `target`, (B,), are ahead: z_t - z_y. A loss of logits (B, K) and labels (B,)."""

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)

    return loss
