"""Run a reader on hostile input, and count what became of it.

Every input must be answered, or refused by a `DeepCropError`; nothing else may be raised, and
nothing may take more than `LONGEST` seconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import signal
import time
import traceback
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


LONGEST = 10.0
"""Seconds that an input may take."""


@dataclass(frozen=True)
class Reader:
    """A reader of something from outside.

    Attributes
    ----------
    name : str
    prepare : callable
        Takes a folder; gives the strategy of inputs, and the function that reads one.
    share : int
        Inputs in the full run, relative to other readers.
    sample : int
        Inputs in the sample of `make test`.
    """

    name: str
    prepare: Callable[[Path], contextlib.AbstractContextManager[Prepared]]
    share: int = 10
    sample: int = 12


Prepared = "tuple[st.SearchStrategy[Any], Callable[[Any], Any]]"


@dataclass
class Counts:
    """What became of the inputs of a reader."""

    inputs: int = 0
    answered: int = 0
    refused: int = 0
    hangs: int = 0
    slowest: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)
    """Text of the traceback, and input, by the line where it was raised."""
    raised: int = 0


class Hang(BaseException):
    """An input takes too long."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(reader: Reader, folder: Path, examples: int) -> Counts:
    """Read many hostile inputs, the same in every run."""
    counts = Counts()
    logging.getLogger("deepcrop").addHandler(logging.NullHandler())
    with reader.prepare(folder) as (inputs, read):

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(inputs)
        def run(content: Any) -> None:
            _read_one(read, content, counts)

        run()
    return counts


def _read_one(read: Callable[[Any], Any], content: Any, counts: Counts) -> None:
    counts.inputs += 1
    started = time.monotonic()
    try:
        with (
            _time_limit(),
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            read(content)
        counts.answered += 1
    except DeepCropError as error:
        counts.refused += bool(str(error).strip())
    except Hang:
        counts.hangs += 1
        counts.failures.setdefault("hang", f"{content!r:.2000}")
    except Exception as error:
        counts.raised += 1
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "deepcrop" in f.filename]
        where = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
        key = f"{type(error).__name__} {where.filename.rsplit('/src/', 1)[-1]}:{where.lineno}"
        text = "".join(traceback.format_exception(error)[-6:])
        counts.failures.setdefault(key, f"{content!r:.1500}\n{text[-2500:]}")
    counts.slowest = max(counts.slowest, time.monotonic() - started)
    if counts.slowest > LONGEST and "slow" not in counts.failures and "hang" not in counts.failures:
        counts.hangs += 1
        counts.failures["slow"] = f"{content!r:.2000}"
