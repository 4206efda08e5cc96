"""Request bodies: JSON or YAML bytes to plain values, with everything that a parser can be made to choke on refused."""

import json
from typing import Any

from api.errors import Refused
from sparring import documents

JSON = "application/json"
YAML = ("application/yaml", "application/x-yaml", "text/yaml")


def read(body: bytes, content_type: str, most: int = documents.MAX_VALUES) -> Any:
    """The value in a body, of at most `most` keys and values in JSON; `Refused` says what is wrong with it."""
    kind = content_type.partition(";")[0].strip().lower() or JSON
    if kind != JSON and kind not in YAML:
        raise Refused(415, "unsupported_media_type", f"Send {JSON} or {YAML[0]}, not {kind[:80]}.")
    if not body.strip():
        raise Refused(400, "empty_body", "The body is empty; send a job specification.")
    try:
        text = body.decode()
        return documents.read_yaml(text) if kind in YAML else _read_json(text, most)
    except UnicodeDecodeError as error:
        raise Refused(400, "not_utf8", f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    except documents.Unreadable as error:
        raise Refused(400, "malformed_body", f"The body is not readable: {error}") from None
    except RecursionError:
        raise Refused(400, "malformed_body", "The body is nested too deeply.") from None
    except ValueError as error:
        raise Refused(400, "malformed_body", f"The body is not {kind}: {str(error)[:200]}") from None


def _read_json(text: str, most: int) -> Any:
    value = json.loads(text, parse_constant=_no_constant)
    left, seen = [value], 0
    while left:
        inner, seen = left.pop(), seen + 1
        left.extend(inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ())
        if seen > most:
            raise ValueError(f"it has more than {most:,} values")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
