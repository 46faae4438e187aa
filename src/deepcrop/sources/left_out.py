"""Name the products that a search leaves out, because they are not described as expected.

One odd product of thousands costs that product and not the search. It is named in the log, and to
whoever collects the names to list them where the result is described.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

_log = logging.getLogger(__name__)

_names: ContextVar[list[str] | None] = ContextVar("names of products that were left out")


def collect_left_out() -> list[str]:
    """Return a list that receives what later searches of this thread leave out."""
    names: list[str] = []
    _names.set(names)
    return names


def leave_out(text: str) -> None:
    """Name a product that is left out, and why, in one sentence."""
    _log.warning("%s", text)
    names = _names.get(None)
    if names is not None and text not in names:  # two sensors may share a search
        names.append(text)
