# SPDX-License-Identifier: MIT
"""What the solver's page shows is what the solver does."""

import doctest
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "solver.md"


def test_the_examples_on_the_solvers_page_run_as_printed() -> None:
    text = PAGE.read_text().replace("```python\n", "\n").replace("```\n", "\n")
    examples = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    told: list[str] = []
    result = doctest.DocTestRunner().run(examples, out=told.append)
    assert result.attempted >= 10
    assert result.failed == 0, "".join(told)


def test_the_first_example_takes_ten_lines_at_most() -> None:
    lines = PAGE.read_text().splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith(">>> "))
    end = lines.index("```", first)
    typed = [line for line in lines[first:end] if line.startswith((">>> ", "... "))]
    assert 0 < len(typed) <= 10
