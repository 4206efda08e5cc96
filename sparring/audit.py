"""`sparring audit`: a verdict on a network that Sparring did not train, without a service and without a specification."""

from pathlib import Path
from typing import Annotated

import typer

from sparring.documents import read_yaml
from sparring.exits import AsJson, exit_codes
from sparring.local import DATA, audit_here

Attacks = Annotated[
    list[str] | None,
    typer.Option(
        "--attack", help="An attack by name, or {name: pgd, steps: 50}; may be repeated. Usual ones if left out."
    ),
]


def audit(
    network: Annotated[str, typer.Argument(help="mymodel.py:net, net.safetensors or net.onnx.")],
    data: Annotated[str, typer.Option(help="The dataset: cifar10, mnist ...")],
    eps: Annotated[str, typer.Option(help="Radius of the attacks, in pixels of [0, 1].")] = "8/255",
    norm: Annotated[str, typer.Option(help="linf or l2.")] = "linf",
    images: Annotated[int, typer.Option(min=1, help="The first so many test images.")] = 1000,
    attacks: Attacks = None,
    model: Annotated[
        str | None, typer.Option(help="Architecture of a plain state dict: {name: resnet, depth: 20}.")
    ] = None,
    root: Annotated[Path, typer.Option(envvar="SPARRING_DATA", help="The data folder.")] = DATA,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    device: str = "cpu",
    keep: Annotated[Path | None, typer.Option(help="Keep the adversarial images in this folder.")] = None,
    full: Annotated[bool, typer.Option("--full", help="The full audit, which takes longer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge a network of your own: accuracies, the checks, and the verdict. It runs the Python file that you name.

    Leaves with 0 if the audit passed or has warnings; 1 if it failed or there can be no badge; 3 if network or data are not
    there; 4 if they are not valid.
    """
    with exit_codes():
        asked = {
            "data": data,
            "eps": eps,
            "norm": norm,
            "images": images,
            "attacks": [read_yaml(text) for text in attacks] if attacks else None,
            "model": read_yaml(model) if model else None,
            "root": root,
            "seed": seed,
            "device": device,
            "keep": keep,
            "audit": "full" if full else "quick",
        }
        raise typer.Exit(audit_here(network, as_json, **asked))
