"""How a command ends: what can go wrong, as a message and an exit code; and results as JSON.

Exit codes: 0 ok, 1 the job failed, 2 usage, 3 forbidden or not found, 4 invalid, 5 the service.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import typer

from sparring.client import ApiError
from sparring.documents import Unreadable

OK, FAILED, USAGE, FORBIDDEN, INVALID, SERVER = range(6)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what can go wrong into a message on standard error and an exit code."""
    try:
        yield
    except ApiError as error:
        print(error, file=sys.stderr)
        code = {401: FORBIDDEN, 403: FORBIDDEN, 404: FORBIDDEN}.get(
            error.status, SERVER if error.status >= 500 else INVALID
        )
        raise typer.Exit(code) from None
    except Unreadable as error:
        print(f"Not readable: {error}", file=sys.stderr)
        raise typer.Exit(INVALID) from None
    except httpx.TransportError as error:
        print(f"The service does not answer ({error}). Is `sparring up` running, or SPARRING_URL set?", file=sys.stderr)
        raise typer.Exit(SERVER) from None


def out(value: Any) -> None:
    """Print JSON."""
    print(json.dumps(value, indent=2, default=str))
