# SPDX-License-Identifier: MIT
"""Every code that can stand on a status has a sentence, and both are in the reference."""

from pathlib import Path

from difftori_ros.types import Reason

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "topics.md"


def test_reference_lists_every_code_with_its_sentence():
    rows = PAGE.read_text().split("| code | sentence |\n|---|---|\n")[1].splitlines()
    assert rows == [f"| `{reason.name}` | {reason.value} |" for reason in Reason]


def test_no_two_codes_say_the_same():
    sentences = [reason.value for reason in Reason.__members__.values()]
    assert len(Reason.__members__) == len(list(Reason))
    assert len(set(sentences)) == len(sentences)
