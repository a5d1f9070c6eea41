# SPDX-License-Identifier: MIT
"""The tree of commands: what there is, what helps, what bad words are answered with."""

import dataclasses
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from tyro.conf import Positional

from difftori_sim.cli.main import TREE, main, new_spelling, parse

ROOT = Path(__file__).resolve().parents[2]


def exit_status(words) -> int:
    """What the process ends with, whoever says so."""
    try:
        return main(list(words))
    except SystemExit as ended:
        return int(str(ended.code))


@pytest.mark.parametrize(
    "words",
    [
        ("demos", "record", "--task", "fold", "--out", "x.npz"),
        ("bag", "record", "--task", "fold", "--out", "x.mcap"),
    ],
)
def test_unknown_task_on_the_command_line_is_refused_with_the_known_ones(capsys, words):
    assert exit_status(words) == 2
    message = " ".join(capsys.readouterr().err.split())
    for part in ("fold", "pick_cube", "push_cube"):
        assert part in message


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("demos", "record", "--suite", "atari", "--task", "pong"), ("atari", "metaworld", "dmc")),
        (("evaluate", "--clock", "sun"), ("sun", "--clock", "lockstep", "wall")),
        (("evaluate", "--backend", "abacus"), ("abacus", "onnx", "eager")),
        (("demo", "--episodes", "few"), ("few", "--episodes")),
        (("demo", "--epsodes", "3"), ("--epsodes", "--episodes")),
        (("demos", "record"), ("--task",)),
        (("dance",), ("dance", "demo", "evaluate", "replay")),
        (("demos", "dance"), ("dance", "record", "import", "show")),
        ((), ("demo", "evaluate")),
        (("evaluate", "--task", "push"), ("wanted --suite SUITE beside --task push, got none",)),
        (("evaluate", "--suite", "dmc"), ("wanted --task TASK beside --suite dmc, got none",)),
        (
            ("evaluate", "--suite", "dmc", "--task", "cup-catch", "--through", "ros"),
            ("--through means nothing beside --suite",),
        ),
        (("bag", "record", "--out", "x"), ("wanted either --checkpoint or --task, got neither",)),
        (("demos", "import", "bag", "--out", "x"), ("wanted at least one bag, got none",)),
        (("train", "imitation"), ("wanted --demos and --out and --name, or --task, got neither",)),
    ],
)
def test_words_that_make_no_sense_are_refused_by_what_was_wanted_and_is_known(
    capsys, words, parts
):
    assert exit_status(words) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (("record", "--task", "pick_cube"), "difftori demos record"),
        (("collect", "--suite", "metaworld"), "difftori demos record --suite SUITE"),
        (("collect", "--from-bag", "x"), "difftori demos import bag"),
        (("collect", "--from-hdf5", "x"), "difftori demos import hdf5"),
        (("train", "--demos", "x.npz"), "difftori train imitation"),
        (("train", "--method", "tdmpc"), "difftori train rl"),
        (("bag", "--checkpoint", "x"), "difftori bag record"),
    ],
)
def test_a_command_of_version_0_3_is_answered_with_the_new_one(capsys, words, now):
    assert exit_status(words) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"difftori: 'difftori {words[0]}' is now difftori ")
    assert now in sentence


def leaves(tree=TREE, words=()) -> list[tuple[tuple[str, ...], type]]:
    """Every command: the words that call it, and its class."""
    found = []
    for word, node in tree.items():
        if isinstance(node, tuple):
            found += leaves(node[1], (*words, word))
        else:
            found.append(((*words, word), node))
    return found


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*leaf, id="-".join(leaf[0])) for leaf in leaves()]
)
def test_help_of_a_command_lists_all_its_options_with_their_defaults(
    capsys, monkeypatch, words, command
):
    monkeypatch.setenv("COLUMNS", "200")
    assert exit_status((*words, "--help")) == 0
    text = capsys.readouterr().out
    assert "usage: difftori " + " ".join(words) in text
    hints = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):
        if get_args(Positional[int])[1] in get_args(hints[field.name]):
            continue
        option = field.name.replace("_", "-")
        assert re.search(rf"--(no-)?{option}\b", text), option
        if isinstance(field.default, float | str) and field.default:
            assert f"(default: {field.default})" in " ".join(text.split())


def test_groups_of_commands_list_what_is_in_them(capsys):
    for words in ((), ("demos",), ("demos", "import"), ("train",), ("bag",)):
        assert exit_status((*words, "--help")) == 0
        text = capsys.readouterr().out
        for path, _ in leaves():
            if path[: len(words)] == words:
                assert path[len(words)] in text


def test_the_tree_is_read_without_anything_that_is_slow_to_load():
    heavy = "torch scipy pinocchio rclpy mani_skill sapien gymnasium mujoco matplotlib tqdm"
    code = (
        "import sys; from difftori_sim.cli.main import parse; "
        "parse(['train', 'rl', '--suite', 'dmc', '--task', 'x', '--out', 'o']); "
        f"print(*set('{heavy}'.split()) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_starter_of_a_robots_nodes_does_not_need_what_reads_this_tree():
    code = "import sys, difftori_ros.bringup.main; print('tyro' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_version_is_told_with_the_commit_of_the_checkout(capsys, monkeypatch):
    assert main(["--version"]) == 0
    told = capsys.readouterr().out
    number = metadata.version("difftori_ros")
    if (ROOT / ".git").exists():
        git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        found = re.fullmatch(rf"difftori {number} \(commit ([0-9a-f]+)(-dirty)?\)\n", told)
        assert found is not None, told
        assert commit.startswith(found[1])
    monkeypatch.setattr("difftori_sim.cli.main.__file__", "/nowhere/sim/cli/main.py")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"difftori {number}\n"


def printed_commands() -> list[tuple[str, str]]:
    """Every `difftori ...` of README and docs: the page, and the words after the name."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text().replace("\\\n", " ")
        lines = re.findall(r"^\s*(?:\S*/)?difftori +([^`\n]+)$", text, re.MULTILINE)
        inline = re.findall(r"`(?:\S*/)?difftori ([^`\n]+)`", text)
        found += [(page.name, line) for line in [*lines, *inline]]
    return found


def test_commands_printed_in_readme_and_docs_are_read_as_they_stand(capsys):
    commands, paths = printed_commands(), [path for path, _ in leaves()]
    groups = {path[:k] for path in paths for k in range(1, len(path))}
    assert len(commands) >= 40
    for page, line in commands:
        words = tuple(shlex.split(line.translate(str.maketrans("", "", "[]")), comments=True))
        if words in (*paths, *groups):  # it is named, not called
            words = (*words, "--help")
        if words == ("--version",):
            continue
        words = tuple("dmc" if word == "SUITE" else word for word in words)
        assert new_spelling(words) is None, f"{page}: difftori {line}"
        try:
            parse(words)
        except SystemExit as ended:
            status = ended.code
        else:
            status = 0
        told = " ".join(capsys.readouterr().err.split())
        assert status == 0, f"{page}: difftori {line}: {told}"
