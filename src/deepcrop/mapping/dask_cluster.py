"""Tiles on a Dask cluster: the same function as on one computer, submitted tile by tile.

Workers must see the cube and the folder of the map under the same paths. A worker that dies costs
the tiles it was at, which others make again. If the scheduler is lost, what is done is kept and
the same command goes on.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from deepcrop.errors import DeepCropError
from deepcrop.mapping.tiles import TRIES, Failure, is_disk_full, make_tile

if TYPE_CHECKING:  # Dask is there only for those who use it
    from collections.abc import Callable, Iterator

    from distributed import Client, Future

    from deepcrop.mapping.options import TileJob
    from deepcrop.mapping.work_store import WorkStore

logger = logging.getLogger(__name__)

_RESTART_TIME = 60.0
"""Seconds within which a lost worker of this command must be back."""

_LOOK = 0.1
"""Seconds between two looks for a tile that is done."""

_ANSWER = 10.0
"""Seconds to wait for the answer of a worker that has made its tile; it may have died since."""

_KEEP_WORKING = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run by local workers: Ctrl-C reaches them too, but the command answers it, and ends them."""


@dataclass(frozen=True)
class ClusterOptions:
    """Where tiles are made, if not in this process.

    Attributes
    ----------
    address : str or None
        Of a Dask scheduler, for example ``tcp://10.0.0.1:8786``.
    workers : int or None
        Processes to start on this computer where there is no address.
    """

    address: str | None = None
    workers: int | None = None

    @property
    def used(self) -> bool:
        """Whether Dask makes the tiles."""
        return self.address is not None or self.workers is not None

    def check(self) -> None:
        """Raise `DeepCropError` unless Dask is installed and the number of workers is possible."""
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise DeepCropError(f"This needs 'pip install deepcrop[cluster]' ({error}).") from None
        if self.address is None and (not self.workers or self.workers < 1):
            raise DeepCropError(f"workers is {self.workers}; expected 1 or more.")


@contextlib.contextmanager
def cluster(options: ClusterOptions) -> Iterator[Client]:
    """Connect to a scheduler, or start workers on this computer, one core each.

    Raises
    ------
    DeepCropError
        If Dask is not installed, or no scheduler answers.
    """
    options.check()
    address = options.address
    from distributed import Client, LocalCluster

    logging.getLogger("tornado.application").addFilter(_no_slip_of_dask)
    if address is not None:
        try:
            client = Client(address, timeout="10s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise DeepCropError(
                f"No Dask scheduler answers at {address} ({error}). Start one with 'dask "
                "scheduler', or give a number of workers to start here."
            ) from None
        with client:
            if not client.scheduler_info()["workers"]:
                logger.warning("No workers yet at %s; tiles wait for the first.", address)
            yield client
        return
    try:
        local = LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            preload=_KEEP_WORKING,
            dashboard_address=":0",  # any free port: without one Dask still takes 8787, and warns
        )
    except (OSError, RuntimeError, TimeoutError) as error:
        raise _no_workers(f"could not be started ({error})") from error
    with local, Client(local, set_as_default=False) as client:
        yield client


def _no_slip_of_dask(record: logging.LogRecord) -> bool:
    """Keep quiet about what Dask trips over when a Ctrl-C meets it about to wait for an answer.

    It cancels what it has not begun yet (`distributed.utils.sync`): a traceback, and no harm.
    """
    slip = record.exc_info is not None and record.exc_info[0] is NameError
    return not (slip and "sync.<locals>.cancel" in record.getMessage())


def make_tiles_on(
    client: Client,
    job: TileJob,
    work: WorkStore,
    cores: list[tuple[slice, slice]],
    done: Callable[[dict[str, Any]], None],
) -> list[Failure]:
    """Make tiles on a cluster; otherwise as `deepcrop.mapping.tiles.make_tiles`.

    Raises
    ------
    DeepCropError
        If the scheduler is lost, or all workers that this command started are.
    OSError
        If the disk is full, or may not be written.
    """
    from concurrent.futures import CancelledError

    from distributed import as_completed

    where = {}
    for core in cores:
        future = client.submit(_on_worker, job, work, core, pure=False, retries=TRIES - 1)
        where[future] = core
    failures = []
    finished = as_completed(list(where), loop=client.loop)
    seen = time.monotonic()  # when a worker was there last
    while where:
        if finished.queue.empty():  # not blocked for ever: there may be nobody left who answers
            if client.status != "running":
                raise _lost()
            if _has_workers(client):
                seen = time.monotonic()
            elif client.cluster is not None and time.monotonic() - seen > _RESTART_TIME:
                raise _no_workers(f"are lost, and none came back within {_RESTART_TIME:.0f} s")
            time.sleep(_LOOK)
            continue
        try:
            future = next(finished)
        except (OSError, RuntimeError, CancelledError) as error:
            raise _lost() from error
        try:
            line = _answer(future)
        except Exception as error:
            if isinstance(error, CancelledError) or client.status != "running":
                raise _lost() from error
            failures.append(Failure(where.pop(future), f"{type(error).__name__}: {error}"))
            future.release()
            continue
        if line is None:
            finished.add(future)
            continue
        del where[future]
        future.release()  # left to its finalizer, a Ctrl-C in there would be lost
        if isinstance(line, OSError):
            raise line
        done(line)  # its own errors are of this computer's disk
    return failures


def _answer(future: Future[Any]) -> dict[str, Any] | OSError | None:
    """Get the answer of a worker that has made its tile.

    None if the worker died with it; Dask makes the tile again when there is another.
    """
    try:
        return cast("dict[str, Any] | OSError", future.result(timeout=_ANSWER))
    except TimeoutError:
        if future.status == "error":  # raised by the tile
            raise
        return None


def _has_workers(client: Client) -> bool:
    return bool(client.scheduler_info()["workers"])


def _no_workers(what: str) -> DeepCropError:
    return DeepCropError(
        f"The worker processes {what}. What is done is kept, and the same command goes on: give it "
        "fewer workers if memory ran out, or none."
    )


def _lost() -> DeepCropError:
    return DeepCropError(
        "The Dask scheduler is lost. What is done is kept: start a scheduler, and the same command "
        "(with its address) goes on."
    )


def _on_worker(
    job: TileJob, work: WorkStore, core: tuple[slice, slice]
) -> dict[str, Any] | OSError:
    """Make a tile on one core: a worker has as many threads as it is to use cores.

    That the disk is full is returned, not raised, as Dask would try again.
    """
    import numba

    numba.set_num_threads(1)
    if any(method.name != "curve" for method in job.methods):
        import torch

        torch.set_num_threads(1)
    try:
        return make_tile(job, work, core)
    except OSError as error:
        if is_disk_full(error):
            return error
        raise
