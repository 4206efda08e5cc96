"""What there is to choose from: the members of each family with their settings as JSON Schema (datasets are in datasets.py)."""

import inspect
import sys
from functools import cache
from typing import Any

from fastapi import APIRouter

from api.dashboard.specfile import ordered
from api.dependencies import Known
from api.schemas import Catalogue, Member
from core.family import Plugin, members
from core.spec import JobSpec

router = APIRouter(tags=["catalogues"])
FAMILIES = {
    "models/architectures": "core.models",
    "objectives": "core.objectives",
    "sparsifiers": "core.sparsifiers",
    "attacks": "core.attacks",
    "exporters": "core.exporters",
}


def _add(path: str, package: str) -> None:
    def listing(who: Known) -> Catalogue:
        return Catalogue(items=[described(member) for member in members(package).values()])

    listing.__name__ = path.replace("/", "_")
    router.get(f"/{path}", summary=f"The {package.rpartition('.')[2]} there are")(listing)


for _path, _package in FAMILIES.items():
    _add(_path, _package)


@cache
def described(member: type[Plugin]) -> Member:
    """A plug-in for people and forms."""
    name, module = member.model_fields["name"].default, sys.modules[member.__module__]
    doc, about = inspect.getdoc(member) or "", inspect.getdoc(module) or ""
    return Member(name=name, doc=doc, module=about, settings=member.model_json_schema(), example=member.example())


@router.get("/schema")
def schema(who: Known) -> dict[str, Any]:
    """The specification of a training as JSON Schema, its parts in the order in which people write them."""
    found = JobSpec.model_json_schema()
    return found | {"properties": ordered(found["properties"])}
