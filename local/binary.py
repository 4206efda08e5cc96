"""Find the server programs that two PyPI packages carry, without importing these packages."""

import os
import platform
import shutil
import stat
from importlib.util import find_spec
from pathlib import Path

from local.errors import ServerError


def runnable(program: str, trees: list[str], place: Path, advice: str) -> Path:
    """Where a package's file can be run by the server's account, `program` and `trees` being paths in site-packages.

    That is where it is installed; or, where a closed folder keeps root's server account out, a copy of its `trees` in
    `place`: on rented machines everything is in root's closed home.
    """
    path = find(program, advice)
    if os.geteuid() != 0 or is_open(path):
        return path
    for tree in trees:
        shutil.copytree(path.parents[program.count("/")] / tree, place / tree)
    for copy in (place, *place.rglob("*")):
        copy.chmod(0o755)
    return place / program


def find(program: str, advice: str) -> Path:
    """Where a package's file is. The package's own Python is not asked: it starts servers that are open to all."""
    package = program.split("/", 1)[0]
    spec = find_spec(package)
    path = Path(spec.origin).parents[1] / program if spec and spec.origin else None
    if platform.system() == "Linux" and path is not None and path.is_file():
        return path
    missing = path or f"the package {package}"
    machine = f"{platform.system()} {platform.machine()}"
    raise ServerError(f"no embedded server for this machine ({machine}): {missing} is not there; {advice}")


def is_open(path: Path) -> bool:
    """Whether every user may walk to a program and run it."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))
