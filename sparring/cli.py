"""The command line: `sparring`. Every command has --json; exit codes: 0 ok, 1 the job failed, 2 usage, 3 forbidden or not
found, 4 invalid, 5 the service.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from sparring import data, people, presets, shared, show
from sparring.audit import audit
from sparring.client import Client, Group, Job
from sparring.compare import compare
from sparring.documents import read_yaml
from sparring.exits import FAILED, SERVER, AsJson, exit_codes, out
from sparring.lifecycle import cancel, clone, pause, requeue, resume
from sparring.local import DATA
from sparring.members import members

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Train networks that are robust and sparse.")
app.add_typer(data.app, name="data")
app.add_typer(presets.app, name="presets")
app.add_typer(people.token, name="token")
app.add_typer(people.user, name="user")
app.add_typer(people.project, name="project")
app.add_typer(shared.quota, name="quota")
app.command()(members)
ELSEWHERE: list[Callable[..., None]] = [audit, compare, cancel, pause, resume, requeue, clone]
ELSEWHERE += [shared.queue, shared.workers, shared.usage, shared.explain]
for command in ELSEWHERE:
    app.command()(command)

File = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="A job specification in YAML, or a list of them.")
]
Name = Annotated[str, typer.Argument(help="A job's number or id.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a setting: seed=1..5, train.epochs=3.")]


@app.command()
def up(
    home: Annotated[Path, typer.Option(help="Folder of everything that is kept.")] = Path(".sparring"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of api and dashboard.")] = 8000,
) -> None:
    """Run everything on this machine: embedded Postgres and Valkey, api, worker, dashboard."""
    from local.errors import ServerError
    from local.up import up as run_up

    try:
        run_up(home, port)
    except ServerError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(SERVER) from None


@app.command()
def submit(
    file: File,
    changes: Set = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the jobs to their end.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what the job would be; queue nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a job for each seed of a specification."""
    with exit_codes(), Client() as client:
        spec = changed(file, changes)
        if isinstance(spec, list):
            submit_list(client, spec, watch, dry_run, as_json)
            return
        if dry_run:
            plan(client.plan(spec), as_json)
            return
        group = client.submit_group(spec)
        if not as_json:
            for job in group.jobs:
                print(f"#{job.number} {job.name}, seed {job.seed}: {client.url}/jobs/{job.id}")
        if watch:
            follow(client, group, as_json)
        elif as_json:
            out({"group": group.id, "jobs": [job.model_dump() for job in group.jobs]})


def submit_list(client: Client, specs: list[Any], watch: bool, dry_run: bool, as_json: bool) -> None:
    """Queue the jobs of a list of specifications, all or none."""
    if dry_run:
        for spec in specs:
            plan(client.plan(spec), as_json)
        return
    made = client.submit_all(specs)
    for job in () if as_json else made:
        print(f"#{job['number']} {job['name']}, seed {job['seed']}: {client.url}/jobs/{job['id']}")
    if watch:
        jobs = [client.job(job["id"]) for job in made]
        follow(client, Group(jobs[0].group, jobs), as_json)
    elif as_json:
        out(made)


def follow(client: Client, group: Group, as_json: bool) -> None:
    """Watch jobs one after the other; leaves with 1 if one did not succeed."""
    ended: list[Job] = []
    for job in group.jobs:
        if not as_json:
            show.watch(client, job)
        ended.append(job.wait())
        if not as_json:
            show.outcome(client, ended[-1])
    if as_json:
        out([job.model_dump() for job in ended])
    if any(job.state != "succeeded" for job in ended):
        raise typer.Exit(FAILED)


def plan(found: dict[str, Any], as_json: bool) -> None:
    """Print a dry run."""
    if as_json:
        out(found)
        return
    seeds = ", ".join(map(str, found["seeds"]))
    print(f"Valid. {found['parameters']:,} parameters, {found['macs'] / 1e6:.1f} M MACs an image.")
    print(
        f"Work: {found['petaflop']:.3g} petaflop a seed; at least {found['memory_bytes'] / 2**20:.0f} MiB. Seeds: {seeds}."
    )


def changed(file: Path, changes: list[str] | None) -> str | dict[str, Any] | list[Any]:
    """A specification as text, or as values where settings are changed; a list of them always as values."""
    text = file.read_text()
    listed = text.lstrip().startswith(("-", "["))
    if not changes and not listed:
        return text
    spec: Any = read_yaml(text, many=listed)
    for change in changes or ():
        key, equals, value = change.partition("=")
        for one in spec if isinstance(spec, list) else [spec]:
            if not equals or not isinstance(one, dict):
                raise typer.BadParameter(f"{change!r} is not KEY=VALUE", param_hint="--set")
            change_one(one, key, value)
    return list(spec) if isinstance(spec, list) else dict(spec)


def change_one(spec: dict[str, Any], key: str, value: str) -> None:
    """Put one value in; seed=1..5 means seed 1 with 5 replicates."""
    first, dots, last = value.partition("..")
    if key == "seed" and dots and first.isdecimal() and last.isdecimal() and int(last) >= int(first):
        spec.update(seed=int(first), replicates=int(last) - int(first) + 1)
        return
    *path, name = key.split(".")
    for part in path:
        inner = spec.setdefault(part, {})
        spec[part] = {"name": inner} if isinstance(inner, str) else inner
        spec = spec[part]
    spec[name] = read_yaml(value)


@app.command()
def validate(file: File, as_json: AsJson = False) -> None:
    """Check a specification with the service; queue nothing."""
    with exit_codes():
        plan(Client().plan(file.read_text()), as_json)


@app.command("ls")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state.")] = None,
    project: Annotated[str | None, typer.Option(help="Only jobs of this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: AsJson = False,
) -> None:
    """The newest jobs."""
    filters = {key: value for key, value in {"state": state, "project": project}.items() if value}
    with exit_codes():
        jobs = Client().jobs(limit, **filters)
        out([job.model_dump() for job in jobs]) if as_json else show.listing(jobs)


@app.command("show")
def show_job(name: Name, as_json: AsJson = False) -> None:
    """A job and its results."""
    with exit_codes():
        client = Client()
        job = client.job(name)
        out(job.model_dump()) if as_json else show.outcome(client, job)


@app.command("eval")
def evaluate(
    network: Annotated[str, typer.Argument(help="A job's number or id, a model file, or the SHA-256 of one.")],
    protocol: Annotated[str, typer.Option(help="strict, or paper.")] = "strict",
    images: Annotated[int | None, typer.Option(min=1, help="So many test images, the first ones.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the evaluation to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a network that a job has left, as a job of its own: on that job's dataset, under its threat."""
    if protocol not in ("strict", "paper"):
        raise typer.BadParameter(f"{protocol!r} is neither strict nor paper", param_hint="--protocol")
    with exit_codes():
        client, file = Client(), Path(network)
        named = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else network
        job = client.evaluate(named, protocol, images)
        if not as_json:
            print(f"#{job.number} {job.name}: {client.url}/jobs/{job.id}")
        if watch:
            follow(client, Group(job.group, [job]), as_json)
        elif as_json:
            out(job.model_dump())


@app.command()
def verify(
    archive: Annotated[Path, typer.Argument(help="Adversarial images that a strict number rests on (.npz).")],
    model: Annotated[Path, typer.Argument(help="The network's file (.safetensors).")],
    draws: Annotated[int | None, typer.Option(min=1, help="Noise draws; as many as the archive's if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score stored adversarial images again, here, by forward passes alone: no attack of ours is run or even loaded.

    Leaves with 0 if network and archive agree, 1 if they do not, 3 if a file is not found, 4 if one cannot be read.
    """
    from sparring.local import verify as verify_here

    raise typer.Exit(verify_here(archive, model, draws, as_json))


@app.command()
def watch(name: Name, as_json: AsJson = False) -> None:
    """Follow a job to its end; leaves with 1 if it does not succeed."""
    with exit_codes():
        client = Client()
        job = client.job(name)
        if as_json:
            for event in client.events(job):
                print(json.dumps(event, default=str), flush=True)
        else:
            show.watch(client, job)
            show.outcome(client, client.job(job.id))
        if client.job(job.id).state != "succeeded":
            raise typer.Exit(FAILED)


@app.command()
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("-f", help="Go on until the job ends.")] = False,
    process: Annotated[
        bool, typer.Option("--process", help="What the newest attempt's process has printed instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The events of a job, a line each."""
    with exit_codes(), Client() as client:
        job = client.job(name)
        if process:
            printed = client.log(name)
            out({"log": printed}) if as_json else print(printed, end="")
            return
        events = client.events(job) if follow else _past(client, job)
        for event in events:
            line = json.dumps(event, default=str) if as_json else show.sentence(event)
            if line:
                print(line, flush=True)


def _past(client: Client, job: Job) -> Iterator[dict[str, Any]]:
    after = 0
    while page := client.request("GET", f"/jobs/{job.id}/events", params={"after": after})["items"]:
        for one in page:
            yield {**one["body"], "kind": one["kind"], "seq": one["seq"]}
        after = page[-1]["seq"]


@app.command()
def metrics(
    name: Name,
    series: Annotated[str | None, typer.Option(help="A step-by-step figure.")] = None,
    as_json: AsJson = False,
) -> None:
    """A job's figures, epoch by epoch."""
    with exit_codes():
        found = Client().metrics(name, **({"series": series} if series else {}))
    if as_json:
        out(found)
    for epoch in () if as_json else found["epochs"]:
        print(f"{epoch['epoch']:>5}  " + "  ".join(f"{key} {value:.5g}" for key, value in epoch["values"].items()))


@app.command()
@app.command()
def run(
    file: File,
    changes: Set = None,
    home: Path = Path("runs"),
    data_folder: Annotated[Path, typer.Option("--data", envvar="SPARRING_DATA", help="The data folder.")] = DATA,
    device: str = "cpu",
    as_json: AsJson = False,
) -> None:
    """Do a job here and now, without a service: prints events as they come, leaves the files below HOME."""
    from sparring.local import run_here

    with exit_codes():
        spec = changed(file, changes)
        if isinstance(spec, list):
            raise typer.BadParameter("holds a list of jobs, which a service can do: submit it", param_hint="FILE")
        sys.exit(run_here(spec, home, data_folder, device, as_json))


if __name__ == "__main__":
    app()
