"""What a plug-in is, how a family finds its members, and the union that a specification validates with.

A family is a package (`core.attacks`); a member is the one named `Plugin` class of one of its modules, and its name is the
module's. Nothing is registered: a new file is a new member. A module without a named plug-in holds what members share.

A team's own members, an adaptive attack above all, join without touching this tree: an installed distribution names them as
entry points, `sparring.attacks` for the family `core.attacks`, each `name = module:Class`.
"""

import importlib
import pkgutil
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema


class Settings(BaseModel):
    """Validated, frozen settings: unknown keys are refused, every field describes itself by the text below it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, serialize_by_alias=True
    )


class Plugin(Settings):
    """A member of a family: its fields are the settings, its docstring is the documentation, its methods act."""

    name: str

    @classmethod
    def example(cls) -> "dict[str, Any]":
        """Settings that make this member cheap to run: what its documentation shows and the contract tests use."""
        return {"name": cls.model_fields["name"].default, **cls.cheap()}

    @classmethod
    def cheap(cls) -> "dict[str, Any]":
        """What `example` sets beyond the defaults."""
        return {}


@cache
def members(package: str) -> "dict[str, type[Plugin]]":
    """The members of a family by name. A module whose plug-in has another name than its file is a mistake and says so."""
    found: dict[str, type[Plugin]] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.ispkg:
            named = _named(importlib.import_module(f"{package}.{module.name}"))
            if named and module.name not in named:
                raise LookupError(
                    f"{package}.{module.name} holds no plug-in named {module.name!r}: a member is named after its file"
                )
            found |= {name: member for name, member in named.items() if name == module.name}
    for entry in entry_points(group=package.replace("core.", "sparring.", 1)):
        if entry.name in found:
            raise LookupError(
                f"the installed plug-in {entry.value} is named {entry.name!r}, as another member of {package}"
            )
        found[entry.name] = _installed(entry)
    return found


def _installed(entry: EntryPoint) -> "type[Plugin]":
    """The plug-in that an installed distribution names."""
    member: type[Plugin] = entry.load()
    named = (
        isinstance(member, type) and issubclass(member, Plugin) and member.model_fields["name"].default == entry.name
    )
    if not named:
        raise LookupError(f"the entry point {entry.name} = {entry.value} is no plug-in named {entry.name!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", entry.name):
        raise LookupError(
            f"the plug-in {entry.name!r} must be named by at most 32 small letters, digits and underscores"
        )
    return member


def _named(module: Any) -> dict[str, type[Plugin]]:
    """The plug-ins that a module defines, by name; a base, whose name is left open, is none."""
    own = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
    plugins = [v for v in own if issubclass(v, Plugin)]
    return {p.model_fields["name"].default: p for p in plugins if not p.model_fields["name"].is_required()}


@dataclass(frozen=True)
class OneOf:
    """`Annotated[Attack, OneOf("core.attacks")]` is a field that takes any member: `{name: pgd, ...}` or just `pgd`.

    A member with such a field of its own family is known before its family is, so it sets `defer_build`, by which its
    schema is made at first use. It leaves itself out with `without`: a form then ends, and refuses it in itself.
    """

    package: str
    without: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = tuple(member for name, member in members(self.package).items() if name not in self.without)
        union = Annotated[Union[choices], Field(discriminator="name")] if len(choices) > 1 else choices[0]  # noqa: UP007
        return core_schema.no_info_before_validator_function(_bare_name, handler.generate_schema(union))


def _bare_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


AS_TUPLE = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Lets a list of a document be a tuple of the settings, which `OneOf` would refuse otherwise: what it validates is strict."""


# ---- exact numbers: 8/255 stays 8/255 from the file to the database and back

FINEST = 10**30
_FRACTION = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?(/[0-9]{1,40})?")


def _exact(value: Any) -> Any:
    exact = _fraction(value)
    if exact.denominator > FINEST:
        raise ValueError("give a number of at most 30 decimals")
    return exact


def _fraction(value: Any) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError("give a number or a fraction such as 8/255")
    if isinstance(value, str):
        if not _FRACTION.fullmatch(value.strip()) or re.search(r"/0+$", value.strip()):
            raise ValueError("give a number or a fraction such as 8/255")
        over, _, under = value.strip().partition("/")
        return Fraction(over) / Fraction(under or 1)
    try:
        return Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    except ValueError:
        raise ValueError("give a finite number") from None


def _written(value: Fraction) -> "float | int | str":
    if value.denominator == 1:
        return value.numerator
    return float(value) if Fraction(repr(float(value))) == value else f"{value.numerator}/{value.denominator}"


Exact = Annotated[
    Fraction,
    BeforeValidator(_exact),
    PlainSerializer(_written, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]{1,40}(\.[0-9]{1,40})?(/[0-9]{1,40})?$"}]}
    ),
]
"""A number that may be written as a fraction and is kept exactly."""
