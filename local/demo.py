"""`make demo`: start everything, submit presets/demo.yaml through the API, show its progress and its results, stop."""

import sys
from pathlib import Path

from local.errors import ServerError
from local.stack import Stack
from sparring.client import Client
from sparring.show import outcome, watch

ROOT = Path(__file__).parent.parent
BESIDE = "If it is `make up` that runs there, give the job to it: .venv/bin/sparring submit presets/demo.yaml --watch"


def main() -> int:
    """0 if the job succeeded, 5 if the service did not start."""
    try:
        return demonstrate(Stack(ROOT / ".sparring"))
    except ServerError as error:
        print(f"{error}\n{BESIDE}", file=sys.stderr)
        return 5


def demonstrate(stack: Stack) -> int:
    """0 if the job succeeded."""
    print("Starting Postgres, Valkey, the api and a worker ...", flush=True)
    with stack:
        client = Client(stack.url, stack.token)
        job = client.submit((ROOT / "presets" / "demo.yaml").read_text())
        print(f"Submitted presets/demo.yaml as job #{job.number}; {stack.url}/jobs/{job.number}", flush=True)
        watch(client, job)
        job = client.job(job.id)
        outcome(client, job)
        models = client.download_all(job, ROOT / ".sparring" / "exports" / f"{job.number}")
    for path in models:
        print(f"The exported model: {path}")
    print("To look at it in the dashboard: make up, open the address that it prints, log in with the token beside it.")
    return 0 if job.state == "succeeded" else 1


if __name__ == "__main__":
    sys.exit(main())
