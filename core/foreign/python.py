"""A network from Python: an attribute of a module's file, or any object that maps pixels to logits."""

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import NetworkMissing, NetworkUnfit

RIGHT = "Give an nn.Module, a function without arguments that returns one, or a function of a batch of images."


class Called(nn.Module):
    """A function of pixels as a network. What it keeps in its closure stays its own affair: modes and devices too."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call
        self.place = nn.Parameter(
            torch.empty(0), requires_grad=False
        )  # libraries ask a parameter where images should lie
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) pixels to what the function returns."""
        return self.call(x)


def load(path: Path, attribute: str) -> nn.Module:
    """The network that a Python file names `attribute`. The file is run: it must be trusted."""
    name = f"{path}:{attribute}"
    with _neighbours(path):
        module = _run(path, name)
        if not hasattr(module, attribute):
            close = difflib.get_close_matches(attribute, [n for n in vars(module) if not n.startswith("_")], 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise NetworkMissing(name, f"{path.name} defines no {attribute or 'attribute without a name'}{hint}")
        return network(getattr(module, attribute), name)


def network(found: Any, name: str) -> nn.Module:
    """An nn.Module as it is; what a class or a function without arguments makes; a function of pixels, wrapped."""
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise NetworkUnfit(name, f"it is of type {type(found).__name__}, which cannot be called", RIGHT)
    if not inspect.isclass(found) and _required(found):
        return Called(found)
    made = _guarded(found, name)
    if isinstance(made, nn.Module):
        return made
    if callable(made) and _required(made):
        return Called(made)
    raise NetworkUnfit(name, f"calling it gives an object of type {type(made).__name__}", RIGHT)


def _required(found: Callable[..., Any]) -> bool:
    """Whether it asks for an argument: the images. What hides its signature is taken to."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return True
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(one.kind in kinds and one.default is one.empty for one in parameters)


def _run(path: Path, name: str) -> ModuleType:
    """The module of a file, under a name that no other has: a file `torch.py` must not stand in for torch."""
    if not path.is_file():
        raise NetworkMissing(name, f"{path} is not a file")
    spec = importlib.util.spec_from_file_location(f"network in {path.resolve()}", path)
    if spec is None or spec.loader is None:
        raise NetworkUnfit(name, f"{path.name} is not a Python file", RIGHT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look themselves up there
    _guarded(partial(spec.loader.exec_module, module), name)
    return module


@contextmanager
def _neighbours(path: Path) -> Iterator[None]:
    """What a file imports may lie beside it."""
    before = list(sys.path)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.path[:] = before


def _guarded(call: Callable[[], Any], name: str) -> Any:
    """Somebody else's code: whatever it raises is told with its line."""
    try:
        return call()
    except Exception as error:
        last = error.__traceback__
        while last and last.tb_next:
            last = last.tb_next
        where = f"{Path(last.tb_frame.f_code.co_filename).name}, line {last.tb_lineno}" if last else name
        raise NetworkUnfit(
            name, f"{type(error).__name__} in {where}: {error}", "Its code must run by itself."
        ) from error
