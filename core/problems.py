"""What is wrong with a document, in words for the person who wrote it, from what pydantic found."""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from core.errors import Problem

MISSING: Any = object()
SHORT = 80
"""Longest piece of the given value that is repeated."""


def problems_of(error: ValidationError, document: Any, model: type[BaseModel], prefix: str = "") -> Iterator[Problem]:
    """Every error as a problem with a JSON pointer into the document."""
    for found in error.errors(include_url=False):
        path = list(_path(found["loc"], document))
        if found["type"] == "too_short" and len(_at(path, document)) >= found["ctx"]["min_length"]:
            continue  # it is what is wrong inside that leaves nothing
        if found["type"] == "union_tag_invalid" and isinstance(_at(path, document), dict):
            path.append("name")
        pointer = prefix + "".join(f"/{_escaped(part)}" for part in path)
        expected = _expected(found, str(path[-1]) if path else "", model)
        given = found["ctx"]["tag"] if found["type"] == "union_tag_invalid" else found["input"]
        yield Problem(pointer, _message(found), _shown(given, found["type"]), expected)


def _path(location: tuple[int | str, ...], document: Any) -> Iterator[int | str]:
    """The location without the names of union members, which pydantic adds and the document does not have."""
    here: Any = document
    for part in location:
        if (isinstance(here, dict) and part not in here and here.get("name") == part) or here == part:
            continue
        if here is not MISSING and not isinstance(here, dict | list):
            return  # inside a plain value there is nothing but the alternatives that it might have been
        yield part
        try:
            here = here[part]
        except (LookupError, TypeError):
            here = MISSING


def _at(path: list[int | str], document: Any) -> Any:
    for part in path:
        document = document[part]
    return document


def _escaped(part: int | str) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")[:SHORT]


def _message(found: Any) -> str:
    match found["type"]:
        case "extra_forbidden":
            return "is not a known key"
        case "missing":
            return "is missing"
        case "union_tag_invalid" | "literal_error":
            return "is not a known value"
        case "union_tag_not_found":
            return "names no member: the key `name` is missing"
        case "value_error":
            return str(found["ctx"]["error"])[:400]
    message = str(found["msg"]).replace("Input should be", "should be")
    return re.sub(r" or instance of \w+", "", message).replace("dictionary", "object")[:400]


def _expected(found: Any, key: str, model: type[BaseModel]) -> str | None:
    context = found.get("ctx", {})
    if found["type"] == "extra_forbidden":
        return _did_you_mean(key, _keys(model))
    if found["type"] == "union_tag_invalid":
        tags = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
        return f"one of {', '.join(tags)}" + _suffix(_did_you_mean(str(context["tag"]), tags))
    if found["type"] == "literal_error":
        return f"one of {context['expected'].replace(' or ', ', ')}"
    _, should, right = _message(found).partition("should be ")
    return right[:400] if should else None


def _did_you_mean(given: str, known: "list[str]") -> str | None:
    close = difflib.get_close_matches(given, known, 1)
    return f"did you mean {close[0]}?" if close else None


def _suffix(hint: str | None) -> str:
    return f"; {hint}" if hint else ""


@cache
def _keys(model: type[BaseModel]) -> list[str]:
    """Every key that the schema knows anywhere."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return sorted({key for part in parts for key in part.get("properties", {})})


def _shown(value: Any, kind: str) -> Any:
    """A short form of what was given: a number or the start of a text; of anything larger only what it is."""
    if kind == "missing":
        return None
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, bool | int | float) and len(str(value)) <= SHORT and abs(value) < 1e300:
        return value
    text = str(value).encode("utf-8", "replace").decode()
    return text if len(text) <= SHORT else text[:SHORT] + "..."
