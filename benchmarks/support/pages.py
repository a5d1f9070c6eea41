# SPDX-License-Identifier: MIT
"""What benchmarks keep, as JSON lines, and the tables made of it, between marks in documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"


def read(path: Path) -> list[dict[str, Any]]:
    """The lines that are there already; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def kept(path: Path) -> list[dict[str, Any]]:
    """The lines that a study has kept.

    Raises:
        SystemExit: There are none.
    """
    found = read(path)
    if not found:
        raise SystemExit(f"{path} has no lines yet: run this study without --render first")
    return found


def put(page: Path, name: str, text: str) -> None:
    """`text` stands between the marks `name` of a page, instead of what stood there.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    whole = page.read_text()
    if whole.count(begin) != 1 or end not in whole.split(begin)[1]:
        raise ValueError(f"{page} has no marks '{begin}' and '{end}', once each and in this order")
    head, rest = whole.split(begin)
    page.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{rest.split(end, 1)[1]}")
