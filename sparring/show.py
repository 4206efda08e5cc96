"""What people see in a terminal: a job's progress as it comes, and its results as a table."""

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from sparring.client import TRAINED, Client, Job, Score

console = Console(width=None if sys.stdout.isatty() else 140, markup=False, emoji=False, highlight=False)
"""What prints, exactly as it comes: names and messages are other people's words. A pipe has no width of its own."""


def watch(client: Client, job: Job) -> None:
    """Follow a job to its end: one line an epoch, attack or check, and below them a bar with the ETA."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[phase]:<8}", markup=False),
        BarColumn(30),
        TextColumn("{task.fields[text]}", markup=False),
        TextColumn("{task.fields[eta]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, phase=job.state, text="", eta="")
        for event in client.events(job):
            if event["kind"] == "progress":
                _advance(bar, task, event)
            elif line := sentence(event):
                console.print(line, style="bold" if event["kind"] == "state_changed" else None)


def _advance(bar: Progress, task: Any, event: dict[str, Any]) -> None:
    eta = f"about {span(event['eta'])} left" if event.get("eta") is not None else ""
    bar.update(task, completed=event["done"] / event["total"], phase=event["phase"], text=event["text"], eta=eta)


def span(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def sentence(event: dict[str, Any]) -> str | None:
    """An event in one line; None for those that only machines need."""
    match event["kind"]:
        case "state_changed":
            why = f" ({event['reason']})" if event.get("reason") else ""
            return f"{event['state']}{why}" + (f": {event['message']}" if event.get("message") else "")
        case "epoch_ended":
            return f"epoch {event['epoch']}/{event['epochs']}  {_figures(event['values'])}{'  best' if event['best'] else ''}"
        case "selected":
            return f"chose epoch {event['epoch']} by {event['metric']}"
        case "compacted":
            return (
                f"removed {event['channels_before'] - event['channels_after']} of {event['channels_before']} input channels; "
                f"parameters {event['parameters_before']:,} to {event['parameters_after']:,}"
            )
        case "scored":
            low, high = 100 * event["low"], 100 * event["high"]
            whose = f"{network}: " if (network := event.get("network", TRAINED)) != TRAINED else ""
            found = f"{100 * event['accuracy']:5.1f} %  ({low:.1f} to {high:.1f}, n {event['images']})"
            label = (
                event["label"] if event.get("protocol", "paper") == "paper" else f"{event['protocol']} {event['label']}"
            )
            return f"{whose}{label:<20} {found}"
        case "checked":
            return f"audit: {event['check']} {event['verdict']}: {event['words']}"
        case "exported":
            return f"exported {event['exporter']}: {_weighed(event)}"
        case "noticed":
            return f"note: {event['text']}"
    return None


def _figures(values: dict[str, float]) -> str:
    wanted = ("train_robust", "train_clean", "validation_clean", "channel_sparsity", "weight_sparsity")
    shown = [name for name in values if name in wanted or name.startswith("validation_pgd")]
    return "  ".join(f"{name.replace('_', ' ')} {100 * values[name]:.1f} %" for name in shown)


def _weighed(file: dict[str, Any]) -> str:
    """The bytes of a file, and what it took to save some. Files of earlier versions know their bytes alone."""
    words = f"{file['bytes']:,} bytes"
    if (plain := file.get("bytes_fp32", file["bytes"])) != file["bytes"]:
        words += f", {100 * file['bytes'] / plain:.1f} % of the same network in fp32"
        words += f"; a logit differs by at most {file['logits_difference']:.2g}"
    return words


def outcome(client: Client, job: Job) -> None:
    """The results of a job as a table for each protocol, its size, its audit, its files, and what happened if it failed."""
    scores = list(job.results.values())
    console.print(_paper(f"#{job.number} {job.name}: {job.state}", [one for one in scores if one.protocol == "paper"]))
    if strict := [one for one in scores if one.protocol == "strict"]:
        console.print(_strict(strict))
    if small := job.last.get("compacted"):
        console.print(_shrunk(small))
    if job.checks:
        console.print(f"Audit: {job.trust}.")
    _files(client, job)
    if job.message:
        console.print(f"{job.reason}: {job.message}")


def _paper(title: str, scores: list[Score]) -> Table:
    """What the papers' protocol found."""
    table = Table(title=title)
    for name in ("protocol", "attack", "eps", "steps", "images", "accuracy %", "95 % (images)"):
        table.add_column(name, justify="left" if name in ("protocol", "attack") else "right")
    for score in scores:
        table.add_row("paper", *_setting(score), *_accuracy(score))
    return table


def _strict(scores: list[Score]) -> Table:
    """What the strict protocol found; draws only where the network draws: for gradients, for choosing, for judging."""
    random = any(score.always is not None for score in scores)
    table = Table(title="strict: right clean and attacked, by the worst of all attacks image by image")
    draws = ("EOT", "draws", "always %") if random else ()
    for name in ("protocol", "attack", "eps", "steps", *draws, "images", "accuracy %", "95 % (images)"):
        table.add_column(name, justify="left" if name in ("protocol", "attack") else "right")
    for score in scores:
        always = f"{100 * score.always:.1f}" if score.always is not None else "–"
        drawn = (str(score.eot), f"{score.selection_draws} / {score.draws}", always) if random else ()
        name, eps, steps, images = _setting(score)
        table.add_row("strict", name, eps, steps, *drawn, images, *_accuracy(score))
    return table


def _setting(score: Score) -> tuple[str, str, str, str]:
    steps = f"{score.steps} × {score.restarts}" if score.restarts > 1 else str(score.steps or "–")
    return score.label, f"{score.eps:.4g}", steps, str(score.images)


def _accuracy(score: Score) -> tuple[str, str]:
    return f"{100 * score.accuracy:.1f}", f"{100 * score.low:.1f} – {100 * score.high:.1f}"


def _files(client: Client, job: Job) -> None:
    """The exported files; and of those that hold another network, what the attacks left."""
    for file in client.artifacts(job.id):
        if file["about"].get("kind") == "export":
            console.print(f"{file['name']}: {_weighed(file | file['about'])}")
    for protocol in ("paper", "strict"):
        _other_networks(job, protocol)


def _other_networks(job: Job, protocol: str) -> None:
    rows = [
        (file, key, one) for file, found in job.exported.items() for key, one in found.items() if key[0] == protocol
    ]
    if not rows:
        return
    table = Table(title="files that hold another network, judged as the trained one was")
    for name in ("file", "protocol", "attack", "images", "accuracy %", "95 % (images)", "trained %"):
        table.add_column(name, justify="left" if name in ("file", "protocol", "attack") else "right")
    for file_name, key, score in rows:
        trained = job.results.get(key)
        beside = f"{100 * trained.accuracy:.1f}" if trained else "–"
        table.add_row(file_name, *key, str(score.images), *_accuracy(score), beside)
    console.print(table)


def _shrunk(small: dict[str, Any]) -> str:
    before, after = small["parameters_before"], small["parameters_after"]
    channels, removed = small["channels_before"], small["channels_before"] - small["channels_after"]
    return (
        f"{removed} of {channels} input channels ({100 * removed / channels:.1f} %) were zero and are removed: "
        f"{before:,} to {after:,} parameters, MACs {small['macs_before'] / 1e6:.1f} M to {small['macs_after'] / 1e6:.1f} M; "
        f"logits differ by at most {small['logits_difference']:.1g}."
    )


def listing(jobs: list[Job]) -> None:
    """Jobs as a table."""
    table = Table()
    for name in ("#", "name", "state", "where", "sparsity %", "clean %", "robust %", "audit"):
        table.add_column(
            name, justify="right" if name.endswith("%") else "left", no_wrap=name in ("#", "name", "state")
        )
    for job in jobs:
        table.add_row(str(job.number), job.name, job.state, _where(job), *_headline(job), job.trust)
    console.print(table)


def _where(job: Job) -> str:
    if job.state == "running" and job.progress:
        return f"{job.progress['phase']}, {job.progress['text']}"
    return job.message or job.reason or ""


def _headline(job: Job) -> tuple[str, str, str]:
    last = job.last
    robust = [value for name, value in last.items() if name.startswith("validation_pgd")]
    figures = (last.get("channel_sparsity"), last.get("validation_clean"), robust[0] if robust else None)
    sparsity, clean, hard = (f"{100 * value:.1f}" if value is not None else "–" for value in figures)
    return sparsity, clean, hard
