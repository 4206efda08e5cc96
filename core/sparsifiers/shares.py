"""Settings that are shares: of the groups of each layer, of the epochs of each stage, of the learning rate."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from core.errors import InvalidSpec, Problem
from core.family import AS_TUPLE

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=100)]


def _all_of_it(shares: tuple[float, ...]) -> tuple[float, ...]:
    if abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"must add up to 1, not {sum(shares):g}")
    if not shares[1]:
        raise ValueError("the second must be above 0: nothing would be cut")
    return shares


TwoStages = Annotated[tuple[Share, Share], AS_TUPLE, AfterValidator(_all_of_it)]
ThreeStages = Annotated[tuple[Share, Share, Share], AS_TUPLE, AfterValidator(_all_of_it)]
TwoRates = Annotated[tuple[Rate, Rate], AS_TUPLE]
ThreeRates = Annotated[tuple[Rate, Rate, Rate], AS_TUPLE]


def _share_or_list(value: Any) -> float | tuple[float, ...]:
    several = isinstance(value, list | tuple)
    given = tuple(value) if several else (value,)
    if not given or not all(isinstance(s, int | float) and not isinstance(s, bool) and 0 <= s < 1 for s in given):
        raise ValueError("give a number from 0 to below 1, or a list of such numbers, one for each layer")
    return tuple(map(float, given)) if several else float(value)


_ONE = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
PerLayer = Annotated[
    float | tuple[float, ...],
    BeforeValidator(_share_or_list),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]
"""A share of each layer's groups: one number for all layers, or a list with one for each, in order."""


def each(share: float | tuple[float, ...], layers: int, setting: str) -> tuple[float, ...]:
    """The share of each of `layers` layers; `InvalidSpec`, with both counts, where a list has another length."""
    if not isinstance(share, tuple):
        return (share,) * layers
    if len(share) != layers:
        message = f"lists {len(share)} shares, but this network has {layers} layers to prune"
        wanted = f"one number, or a list of {layers}"
        raise InvalidSpec((Problem(f"/sparsifier/{setting}", message, f"a list of {len(share)}", wanted),))
    return share
