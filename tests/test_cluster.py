"""Maps on real Dask workers: the same bytes, also when a worker or the scheduler is killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from tests.small_maps import saved_cube, small_tiles

from deepcrop import mapping
from deepcrop.errors import DeepCropError

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def _small_tiles():
    with small_tiles(8):
        yield


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    return saved_cube(tmp_path_factory)


def files(result):
    """All that was written, but for what names folders, times and processes."""
    other = ("deepcrop.json", "manifest.jsonl")
    return {p.name: p.read_bytes() for p in result.path.iterdir() if p.name not in other}


@pytest.fixture(scope="module")
def alone(cube, tmp_path_factory):
    return mapping.map_region(cube, 2018, tmp_path_factory.mktemp("alone") / "maps")


def when_begun(folder, act):
    """Do something as soon as a tile is made."""

    def wait():
        manifest = folder / mapping.MANIFEST
        for _ in range(6000):
            if manifest.exists():
                act()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_workers_give_the_same_bytes_and_one_that_is_killed_costs_only_its_tiles(
    cube, alone, tmp_path
):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local, set_as_default=False) as client,
    ):
        workers = client.run(os.getpid)
        victim = next(iter(workers.values()))
        thread = when_begun(tmp_path / "maps.part", lambda: os.kill(victim, signal.SIGKILL))
        result = mapping.map_region(cube, 2018, tmp_path / "maps", address=local.scheduler_address)
        thread.join()
        assert victim not in client.run(os.getpid).values()
    assert files(result) == files(alone)
    lines = (result.path / mapping.MANIFEST).read_text().splitlines()
    assert len(lines) == 3 * 4
    assert not any(f'"process": "{socket.gethostname()}:{os.getpid()}"' in line for line in lines)


def test_a_lost_scheduler_loses_nothing(cube, alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    work = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    place = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with contextlib.ExitStack() as running:
        processes = [
            running.enter_context(subprocess.Popen(command, cwd=tmp_path, **quiet))
            for command in ([*dask, *place], [*work, "--no-dashboard", "--death-timeout", "20"])
        ]
        thread = when_begun(tmp_path / "maps.part", processes[0].kill)
        try:
            with pytest.raises(DeepCropError, match=r"scheduler is lost.*the same command"):
                mapping.map_region(cube, 2018, tmp_path / "maps", address=address)
        finally:
            thread.join()
            for process in processes:
                process.kill()
    assert not (tmp_path / "maps").exists()
    made = (tmp_path / "maps.part" / mapping.MANIFEST).read_text().split("\n")[1:]
    assert 1 <= len(made) < 12
    result = mapping.map_region(cube, 2018, tmp_path / "maps", resume=True)
    assert files(result) == files(alone)
    assert set(made) < set((result.path / mapping.MANIFEST).read_text().splitlines())


def test_nobody_at_the_address(cube, tmp_path):
    with pytest.raises(DeepCropError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        mapping.map_region(cube, 2018, tmp_path / "maps", address="tcp://127.0.0.1:1")
    with pytest.raises(DeepCropError, match="--workers 0: expected 1 or more"):
        mapping.map_region(cube, 2018, tmp_path / "maps", workers=0)
