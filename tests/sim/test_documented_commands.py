# SPDX-License-Identifier: MIT
"""Every `difftori` command that a page prints is one that the command line understands."""

import re
import shlex
from pathlib import Path

import pytest

from difftori_sim.cli.main import parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^(?:    |)(?:\.venv/bin/)?difftori ((?:.*\\\n)*.*)$", re.M)


def printed() -> list[str]:
    """Arguments of the commands in code blocks, without those that leave something out."""
    texts = [text for page in PAGES for text in COMMAND.findall(page.read_text())]
    joined = {" ".join(text.replace("\\\n", " ").split()) for text in texts}
    return sorted(text for text in joined if "..." not in text)


def test_pages_print_commands():
    assert len(printed()) > 20


@pytest.mark.parametrize("arguments", printed())
def test_a_printed_command_is_understood(arguments):
    words = shlex.split(arguments, comments=True)
    if words != ["--version"] and not {"-h", "--help"} & set(words):
        assert parse(words) is not None
