"""Names, signals, users, titles and daemons; with real processes."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from fastq import proc
from fastq.exceptions import ConfigError
from tests.deadline import wait_until

NAMES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/celery_names.json").read_text())


def _run(program: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False,
                          timeout=60, **options)


# --- names ---

@pytest.mark.parametrize(("text", "node", "filled"), NAMES["node_format"])
def test_a_path_is_filled_in_from_a_node_name_as_celery_does(text: str, node: str, filled: str) -> None:
    assert proc.expand_node(text, node) == filled


@pytest.mark.parametrize(("text", "host", "filled"), NAMES["host_format"])
def test_a_node_name_is_filled_in_from_the_host_as_celery_does(text: str, host: str, filled: str) -> None:
    assert proc.expand_host(text, host) == filled


def test_each_child_of_the_pool_gets_names_of_its_own() -> None:
    assert [proc.expand_node("%n%I.log %i", "w@h", index) for index in (None, 1, 2)] == [
        "w.log 0", "w-1.log 1", "w-2.log 2"]


def test_an_unknown_sign_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'%x\.log': there is no %x, only %I, %d, %h, %i, %n, %p and %%"):
        proc.expand_node("%x.log", "w@h")


def test_a_node_has_a_name_and_a_host() -> None:
    host = proc.host_name()
    assert proc.node_name() == proc.node_name("") == f"celery@{host}"
    assert proc.node_name("images@") == f"images@{host}"
    assert proc.node_name("images@%h") == f"images@{host}"
    assert proc.node_name("w%i@there", index=3) == "w3@there"
    assert proc.node_name("there") == "celery@there"
    assert proc.split_node("there") == (None, "there")


# --- signals ---

@pytest.mark.parametrize("name", ["TERM", "SIGTERM", "term", 15, "15"])
def test_a_signal_has_a_number_by_any_of_its_names(name: str | int) -> None:
    assert proc.signal_number(name) is signal.SIGTERM


def test_a_number_has_a_name_if_it_is_a_signal() -> None:
    assert proc.signal_name(signal.SIGKILL) == "KILL"
    assert proc.signal_name(4711) == "4711"


@pytest.mark.parametrize("name", ["TERN", "", 4711, "-1"])
def test_a_signal_that_is_none_is_refused(name: str | int) -> None:
    with pytest.raises(ConfigError, match=f"no signal is called {name!r}; there are ABRT, "):
        proc.signal_number(name)


# --- user, umask, title ---

def test_the_umask_is_octal_text_or_a_number() -> None:
    before = os.umask(0o022)
    try:
        for given, want in (("027", 0o027), (0o077, 0o077), (None, 0o077), ("22", 0o022)):
            proc.set_umask(given)
            assert os.umask(0o777) == want
            os.umask(want)
        with pytest.raises(ConfigError, match="'rwx' is no umask; wanted octal digits such as '022'"):
            proc.set_umask("rwx")
    finally:
        os.umask(before)


def test_users_and_groups_are_numbers_or_names() -> None:
    me = pwd.getpwuid(0)
    assert proc.user_id(me.pw_name) == proc.user_id("0") == proc.user_id(0) == 0
    assert proc.group_id("0") == 0
    with pytest.raises(ConfigError, match="there is no user 'nobody-of-this-name'"):
        proc.user_id("nobody-of-this-name")
    with pytest.raises(ConfigError, match="there is no group 'nobody-of-this-name'"):
        proc.group_id("nobody-of-this-name")


DROP = """
import json, os, sys
from fastq import proc
uid, gid = json.loads(sys.argv[1])
proc.drop_privileges(uid, gid)
print(json.dumps([os.getresuid(), os.getresgid(), sorted(os.getgroups())]))
"""
NOBODY = pwd.getpwnam("nobody")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize(("uid", "gid", "after"), [
    ("nobody", None, [[NOBODY.pw_uid] * 3, [NOBODY.pw_gid] * 3, [NOBODY.pw_gid]]),
    (NOBODY.pw_uid, 12345, [[NOBODY.pw_uid] * 3, [12345] * 3, [12345]]),
    (54321, 12345, [[54321] * 3, [12345] * 3, [12345]]),
    (None, 12345, [[0] * 3, [12345] * 3, None]),
])
def test_root_becomes_another_user_for_good(uid: Any, gid: Any, after: list[Any]) -> None:
    ran = _run(DROP, json.dumps([uid, gid]))
    assert ran.returncode == 0, ran.stderr
    users, groups, others = json.loads(ran.stdout)
    assert [users, groups] == after[:2]
    assert after[2] in (None, others)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another user")
def test_who_is_not_root_may_only_stay_who_he_is() -> None:
    program = DROP + "proc.drop_privileges(0)\n"
    ran = _run(program, json.dumps([NOBODY.pw_uid, None]))
    assert ran.stdout
    assert "ConfigError: only root may become user 0" in ran.stderr


def test_nothing_is_dropped_where_nothing_is_asked_for() -> None:
    before = os.getresuid(), os.getresgid(), os.getgroups()
    proc.drop_privileges()
    proc.drop_privileges(os.geteuid(), os.getegid())
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such title")
@pytest.mark.parametrize("hide", ["", "sys.modules['setproctitle'] = None;"])
def test_a_title_is_shown_with_setproctitle_and_without(hide: str) -> None:
    program = f"import sys; {hide} from fastq import proc; proc.set_title('[fastq: worker] w@h'); " \
              "print(open('/proc/self/comm').read().strip(), open('/proc/self/cmdline').read().strip(chr(0)), sep='|')"
    ran = _run(program)
    comm, _, line = ran.stdout.strip().partition("|")
    assert comm == "[fastq: worker]" or line == "[fastq: worker] w@h", ran.stderr


# --- the daemon ---

DAEMON = """
import json, os, sys, time
from fastq import proc
path, how = sys.argv[1:]
print("buffered once")
daemon = proc.daemonize(os.path.dirname(path), "027", wait_s=1.0 if how == "silent" else 30.0)
if how == "dies":
    os._exit(3)
if how == "fails":
    daemon.failed("cannot open the broker")
    os._exit(1)
while os.getppid() == os.getsid(0):
    time.sleep(0.001)  # the leader of the session is on its way out
stat = [os.getpid(), os.getppid(), os.getsid(0), os.getcwd(), os.umask(0o027)]
streams = [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]
with open(path + ".new", "w") as file:
    json.dump([stat, streams], file)
os.rename(path + ".new", path)
if how == "silent":
    while os.path.exists(path):
        time.sleep(0.01)
    os._exit(0)
daemon.ready()
daemon.ready()
while os.path.exists(path):
    time.sleep(0.01)
"""


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_daemon_leaves_session_folder_and_streams_and_its_starter_exits_when_it_is_ready(tmp_path: Path) -> None:
    path = tmp_path / "up"
    ran = _run(DAEMON, str(path), "ready")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "buffered once\n", "")
    (pid, parent, session, folder, umask), streams = json.loads(path.read_text())
    assert pid not in (session, os.getpid())
    assert session not in (os.getsid(0), parent)
    assert (folder, umask, streams) == (str(tmp_path), 0o027, ["/dev/null"] * 3)
    assert psutil.pid_exists(pid)
    path.unlink()
    wait_until(lambda: _gone(pid), what="the daemon's end")


@pytest.mark.parametrize(("how", "said"), [
    ("fails", "cannot open the broker\n"),
    ("dies", "the daemon died before it was up; see its log file\n"),
    ("silent", "the daemon has not said in 1 s whether it is up; see its log file\n"),
])
def test_the_starter_of_a_daemon_that_does_not_come_up_says_why_and_fails(tmp_path: Path, how: str, said: str) -> None:
    path = tmp_path / "up"
    ran = _run(DAEMON, str(path), how)
    assert (ran.returncode, ran.stderr) == (1, said)
    if how == "silent":
        (pid, *_), _ = json.loads(path.read_text())
        path.unlink()
        wait_until(lambda: _gone(pid), what="the daemon's end")


def test_a_daemon_that_cannot_enter_its_folder_says_so(tmp_path: Path) -> None:
    ran = _run(DAEMON, str(tmp_path / "none" / "up"), "ready")
    assert ran.returncode == 1
    assert "No such file or directory" in ran.stderr
    assert ran.stderr.count("\n") == 1
