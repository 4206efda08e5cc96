"""`sparring up`: starts everything, says where and with which token, keeps its data, and leaves nothing running."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from local import demo


def start(home: Path, *words: str) -> tuple["subprocess.Popen[str]", str, str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARRING_")}
    command = [sys.executable, "-m", "sparring.cli", "up", "--home", str(home), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    said = ""
    while "Ctrl-C stops it." not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    url = re.search(r"http://[\d.:]+", said)[0]
    token = re.search(r"spr_\w+", said)[0]
    return process, said, url, token


def stop(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def ours(home: Path) -> list[str]:
    """Command lines of living processes that know the home folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and entry.name != str(os.getpid()):
            try:
                text = (entry / "environ").read_text(errors="replace") + (entry / "cmdline").read_text(errors="replace")
                if str(home) in text or str(home) in str((entry / "cwd").readlink()):
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def a_free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def test_it_runs_keeps_its_data_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home, port = tmp_path / "home", a_free_port()
    process, _, url, token = start(home, "--port", port)
    headers = {"Authorization": f"Bearer {token}"}
    spec = {"dataset": "fashion_mnist_sample", "model": "lenet5", "name": "kept", "resources": {"gpus": 1}}
    assert httpx.post(f"{url}/api/v1/jobs", json=spec, headers=headers).status_code == 201
    assert url.endswith(f":{port}")
    assert "Stopped." in stop(process)
    assert ours(home) == []
    process, _, url, again = start(home, "--port", port)
    assert again == token
    assert [job["name"] for job in httpx.get(f"{url}/api/v1/jobs", headers=headers).json()["items"]] == ["kept"]
    stop(process)
    assert ours(home) == []


def test_a_port_that_is_taken_is_said_and_another_is_found(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process, said, url, _ = start(tmp_path / "home", "--port", str(port))
        assert f"Port {port} is taken; using " in said
        assert httpx.get(f"{url}/api/v1/healthz").status_code == 200
        stop(process)


def test_a_second_start_in_the_same_folder_is_refused(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    home = tmp_path / ".sparring"
    process, _, _, _ = start(home)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPARRING_")}
    second = subprocess.run(
        [sys.executable, "-m", "sparring.cli", "up", "--home", str(home)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert second.returncode == 5
    assert "is in use by process" in second.stderr
    for name in [name for name in os.environ if name.startswith("SPARRING_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    assert demo.main() == 5
    said = capsys.readouterr().err
    assert "is in use by process" in said
    assert "sparring submit presets/demo.yaml --watch" in said
    stop(process)


@pytest.mark.slow
def test_kill_9_of_the_launcher_leaves_nothing_running_and_the_next_start_works(tmp_path: Path) -> None:
    import time

    home = tmp_path / "home"
    process, _, _, token = start(home)
    process.kill()
    process.communicate()
    for _ in range(300):
        if not ours(home):
            break
        time.sleep(0.1)
    assert ours(home) == []
    process, _, _, again = start(home)
    assert again == token
    stop(process)
