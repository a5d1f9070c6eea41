# SPDX-License-Identifier: MIT
"""Tables in documents: each stands between two marks, and is written there by its benchmark."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


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
