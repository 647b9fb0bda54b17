"""Dead letters in a real file: looked at, put back, dropped; and never opened unless that is safe."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from fastq import transport
from fastq._ext.envelope import pack
from fastq.cli.letter import read_letter
from fastq.types import DeadLetter, Endings, Message
from tests.unit.cli.conftest import Cli

JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
PICKLE = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}


class Trap:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return Path.touch, (Path("sprung").absolute(),)


def content(task: str, body: bytes, properties: dict[str, str]) -> bytes:
    return pack(properties, {"task": task, "id": f"id-of-{task}"}, body)


@pytest.fixture
def dead(tmp_path: Path, proj: Path) -> None:
    """Three dead letters in ``proj.fastq.db``: two in ``celery``, one pickled one in ``mail``."""
    broker = transport.open(f"sqlite:///{tmp_path}/proj.fastq.db", {})
    body = json.dumps([[2, "three"], {"z": None}, {"callbacks": None}]).encode()
    messages = [
        Message("celery", content("proj.add", body, JSON)),
        Message("celery", content("proj.fail", b"not json", JSON)),
        Message("mail", content("proj.trap", pickle.dumps([[Trap()], {}, {}]), PICKLE)),
    ]
    broker.publish(messages)
    broker.attach("w@host", ["celery", "mail"])
    taken = broker.turn(Endings(), 10)
    tags = [tag for _, rows in taken for tag, *_ in rows]
    broker.turn(Endings(dead=[(tag, "poison: it killed 3 children") for tag in tags]), 0)
    broker.close()


def listed(cli: Cli, *words: str) -> dict[str, int]:
    """Return the ids of the dead letters that are listed, by task."""
    lines = cli("-A", "proj", "dead", "list", *words).out.splitlines()[1:]
    return {line.split()[2]: int(line.split()[0]) for line in lines}


def ready(cli: Cli) -> dict[str, int]:
    found = json.loads(cli("-A", "proj", "queues", "-j").out)
    return {name: stat["ready"] for name, stat in found.items()}


def test_the_list_tells_task_queue_deaths_and_reason(cli: Cli, dead: None):
    ran = cli("-A", "proj", "dead", "list")
    assert ran.code == 0
    assert ran.out.split()[:8] == ["id", "queue", "task", "task", "id", "deaths", "died", "reason"]
    assert len(ran.out.splitlines()) == 4 and ran.out.count("poison: it killed 3 children") == 3


def test_the_list_can_be_narrowed(cli: Cli, dead: None):
    assert set(listed(cli)) == {"proj.add", "proj.fail", "proj.trap"}
    assert set(listed(cli, "--queue", "mail")) == {"proj.trap"}
    assert set(listed(cli, "--task", "proj.add")) == {"proj.add"}
    assert len(listed(cli, "--limit", "1")) == 1


def test_a_letter_is_shown_with_headers_and_arguments(cli: Cli, dead: None):
    ran = cli("-A", "proj", "dead", "show", str(listed(cli)["proj.add"]))
    rows = dict(line.split(None, 1) for line in ran.out.splitlines() if line and not line.startswith("dead letter"))
    assert ran.code == 0
    assert rows["task"] == "proj.add" and rows["id"] == "id-of-proj.add" and rows["queue"] == "celery"
    assert rows["args"] == '[2, "three"]' and rows["kwargs"] == '{"z": null}'


def test_a_body_that_is_not_accepted_is_shown_unopened(cli: Cli, dead: None, tmp_path: Path):
    ran = cli("-A", "proj", "dead", "show", str(listed(cli)["proj.trap"]))
    assert ran.code == 0
    assert "not shown" in ran.out and "application/x-python-serialize" in ran.out
    assert not (tmp_path / "sprung").exists()


def test_a_body_that_the_app_accepts_is_opened(cli: Cli, dead: None, tmp_path: Path, proj: Path):
    proj.write_text(proj.read_text().replace('Fastq("proj")', 'Fastq("proj", accept_content=["json", "pickle"])'))
    assert cli("-A", "proj", "dead", "show", str(listed(cli)["proj.trap"])).code == 0
    assert (tmp_path / "sprung").exists()


def test_a_body_that_is_broken_is_told_as_such(cli: Cli, dead: None):
    ran = cli("-A", "proj", "dead", "show", str(listed(cli)["proj.fail"]))
    assert ran.code == 0 and "8 bytes, not shown: cannot decode" in ran.out


def test_content_that_makes_no_sense_is_still_a_letter():
    letter = read_letter(DeadLetter(1, "celery", "malformed", 0.0, 0, b"\xff\xff"))
    assert (letter.task, letter.task_id) == ("(unreadable)", "(unreadable)")
    assert any("2 bytes" in line or "body" in line for line in letter.lines(["json"]))


def test_replay_puts_letters_back(cli: Cli, dead: None):
    ids = listed(cli)
    ran = cli("-A", "proj", "dead", "replay", str(ids["proj.add"]), str(ids["proj.trap"]))
    assert (ran.code, ran.out) == (0, "replayed 2 dead letters\n")
    assert ready(cli) == {"celery": 1, "mail": 1}
    assert set(listed(cli)) == {"proj.fail"}


def test_replay_takes_a_task_or_all(cli: Cli, dead: None):
    assert cli("-A", "proj", "dead", "replay", "--task", "proj.add").out == "replayed 1 dead letters\n"
    assert cli("-A", "proj", "dead", "replay", "--all").out == "replayed 2 dead letters\n"
    assert cli("-A", "proj", "dead", "replay", "--all").out == "replayed 0 dead letters\n"
    assert cli("-A", "proj", "dead", "list").out == "no dead letters\n"


def test_drop_takes_ids_at_their_word_and_asks_about_all(cli: Cli, dead: None):
    assert cli("-A", "proj", "dead", "drop", str(listed(cli)["proj.add"])).out == "dropped 1 dead letters\n"
    refused = cli("-A", "proj", "dead", "drop", "--all")
    assert refused.code == 64 and "say -f if you mean it" in refused.line
    assert len(listed(cli)) == 2
    assert cli("-A", "proj", "dead", "drop", "--all", "-f").out == "dropped 2 dead letters\n"
    assert listed(cli) == {} and ready(cli) == {"celery": 0, "mail": 0}


@pytest.mark.parametrize("words, code, part", [
    (["show", "999"], 1, "no dead letter 999; 'fastq dead list' shows them"),
    (["replay", "998", "999"], 1, "no dead letter 998, 999"),
    (["replay"], 64, "say which ones: ids, --all, or --task NAME"),
    (["drop", "1", "--all"], 64, "say which ones: ids, --all, or --task NAME"),
    (["replay", "--task", "proj.ad"], 1, "no dead letter of task 'proj.ad'; did you mean 'proj.add'?"),
    (["list", "--queue", "mial"], 64, "no queue 'mial'; did you mean 'mail'?"),
    (["show", "one"], 64, "'one' is not a valid integer"),
])
def test_a_wrong_word_is_one_line_and_changes_nothing(cli: Cli, dead: None, words: list[str], code: int, part: str):
    ran = cli("-A", "proj", "dead", *words)
    assert (ran.code, ran.out) == (code, "") and part in ran.line
    assert len(listed(cli)) == 3


def test_nothing_in_a_letter_reaches_the_terminal_as_a_command():
    trick = "\x1b[2Jproj.add\x9b"
    body = json.dumps([[trick], {}, {}]).encode()
    letter = read_letter(DeadLetter(1, "celery", trick, 0.0, 0, content(trick, body, JSON)))
    assert all(line.isprintable() for line in letter.lines(["json"]))
    assert any("\\x1b[2Jproj.add" in line for line in letter.lines(["json"]))
