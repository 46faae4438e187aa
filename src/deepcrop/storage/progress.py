"""Progress bar with time left, and Ctrl-C."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def is_interruption(error: BaseException) -> bool:
    """Whether an error is Ctrl-C; within a compiled function Ctrl-C raises a SystemError."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


def progress_bar() -> Progress:
    """Progress bar with counts and the time left, as all long commands show it (on stderr)."""
    from rich.console import Console

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("time left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
