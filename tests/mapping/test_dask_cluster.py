"""Maps on real Dask workers: the same bytes, also when a worker or the scheduler is killed."""

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_few_layers, map_without_pictures
from tests.helpers.small_maps import saved_cube, small_tiles

from deepcrop.cube import contract
from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.mapping import dask_cluster
from deepcrop.mapping import tiles as map_tiles
from deepcrop.mapping.dask_cluster import ClusterOptions, _no_slip_of_dask, cluster
from deepcrop.mapping.region import Staging
from deepcrop.mapping.work_store import MANIFEST
from deepcrop.storage.staging import JOURNAL

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.slow,  # starts real Dask workers and kills them
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
    paths = [p for p in result.path.rglob("*") if p.is_file() and p.name not in other]
    return {str(p.relative_to(result.path)): p.read_bytes() for p in paths}


@pytest.fixture(scope="module")
def alone(cube, tmp_path_factory):
    return map_few_layers(cube, 2018, tmp_path_factory.mktemp("alone") / "maps")


def made_tiles(folder):
    """Lines of the tiles that an unfinished map's journal holds."""
    journal = folder / JOURNAL
    if not journal.exists():
        return []
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    return [json.dumps(e["about"]) for e in entries if e.get("done", "").startswith("tile")]


def when_begun(folder, act):
    """Do something as soon as a tile is made."""

    def wait():
        for _ in range(6000):
            if made_tiles(folder):
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
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local, set_as_default=False) as client,
    ):
        workers = client.run(os.getpid)
        victim = next(iter(workers.values()))
        thread = when_begun(tmp_path / "maps.part", lambda: os.kill(victim, signal.SIGKILL))
        result = map_few_layers(cube, 2018, tmp_path / "maps", address=local.scheduler_address)
        thread.join()
        assert victim not in client.run(os.getpid).values()
    assert files(result) == files(alone)
    lines = (result.path / MANIFEST).read_text().splitlines()
    assert len(lines) == 3 * 4
    assert not any(f'"process": "{socket.gethostname()}:{os.getpid()}"' in line for line in lines)


@pytest.mark.slow
def test_both_methods_give_the_same_bytes_on_a_worker(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(contract, "CHUNK", 16)
    cube = tmp_path / "cube.zarr"
    save_cube(season_cube(10, 20), cube)  # two tiles
    from tests.helpers.weights_files import tiny, write_weights

    weights = write_weights(tmp_path / "random.safetensors", tiny())
    options = {"method": "both", "weights": weights}
    alone = map_without_pictures(cube, 2018, tmp_path / "alone", **options)
    result = map_without_pictures(cube, 2018, tmp_path / "maps", workers=1, **options)
    assert files(result) == files(alone)
    dated = alone.summary["maps"]["deepcrop"]["layers"].values()
    assert any(layer["detected"] for layer in dated)


@pytest.fixture(scope="module")
def here():
    """Address of a worker that is a thread of this process, so that its tiles can be made fail."""
    from distributed import LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=False, **options) as local:
        yield local.scheduler_address


@pytest.mark.slow
def test_a_tile_that_fails_on_a_worker_is_tried_again_then_named(
    cube, alone, here, tmp_path, monkeypatch
):
    tries, real = [], map_tiles.compute_tile
    once, always = (0, 8), (8, 0)

    def place(args):
        return tuple(part.start for part in args[2])

    def fail(*args):
        tries.append(place(args))
        if tries[-1] == always or (tries[-1] == once and tries.count(once) < 3):
            raise ValueError("these pixels are odd")
        return real(*args)

    monkeypatch.setattr(map_tiles, "compute_tile", fail)
    words = r"1 of 12 tiles failed 3 times each:\n  rows 8 to 15, columns 0 to 7: .*odd\nAll others"
    with pytest.raises(DeepCropError, match=words):
        map_few_layers(cube, 2018, tmp_path / "maps", address=here)
    assert (tries.count(once), tries.count(always), len(set(tries))) == (3, 3, 12)
    del tries[:]
    monkeypatch.setattr(map_tiles, "compute_tile", lambda *a: tries.append(place(a)) or real(*a))
    result = map_few_layers(cube, 2018, tmp_path / "maps", address=here)
    assert tries == [always]
    assert files(result) == files(alone)


def test_a_full_disk_and_a_local_error_are_no_lost_scheduler(cube, here, tmp_path, monkeypatch):
    full, real = [], Staging.finish

    def write(work, core, *args):
        full.append((core[0].start, core[1].start))
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(map_tiles, "write_tile", write)
        with pytest.raises(OSError, match="No space left"):
            map_few_layers(cube, 2018, tmp_path / "maps", address=here)
        assert len(full) == len(set(full))  # no tile twice

    def finish(stage, item, about=None):
        if item.startswith("tile"):
            raise PermissionError(errno.EACCES, "Permission denied")
        real(stage, item, about)

    monkeypatch.setattr(Staging, "finish", finish)
    with pytest.raises(PermissionError, match="Permission denied"):
        map_few_layers(cube, 2018, tmp_path / "maps", address=here)


def test_a_scheduler_without_workers_is_named(caplog):
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty:
        address = empty.scheduler_address
        with cluster(ClusterOptions(address)):
            pass
    assert f"No workers yet at {address}" in caplog.text


SLOW = """
import time
from functools import partial
from deepcrop import cli
from deepcrop.cube import contract
from deepcrop.mapping import region, tiles

contract.CHUNK = 8
region.write_map = partial(region.write_map, pictures=False)
write = tiles.write_tile
tiles.write_tile = lambda *args: time.sleep(0.3) or write(*args)
if __name__ == "__main__":
    cli.main()
"""
"""The command with small tiles that take their time; workers run all but the last line."""


@pytest.mark.parametrize("workers", [[], pytest.param(["--workers", "2"], marks=pytest.mark.slow)])
def test_ctrl_c_keeps_what_is_done(cube, alone, tmp_path, workers):
    """A terminal interrupts every process of the command, workers too."""
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "slow.py", "map", cube, "--year", "2018", "--out", "maps", *workers]
    command += ["--fractions", "0.5", "--seasons", "1"]  # as `map_few_layers`
    # A test run in the background ignores Ctrl-C, and what it starts would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    thread = when_begun(tmp_path / "maps.part", lambda: os.killpg(running.pid, signal.SIGINT))
    said = running.communicate(timeout=120)[1]
    thread.join()
    assert running.returncode not in (0, 2), said
    assert "Interrupted. maps.part keeps what is done; the same command goes on." in said
    assert "Traceback" not in said, said
    made = made_tiles(tmp_path / "maps.part")
    assert 1 <= len(made) < 12
    result = map_few_layers(cube, 2018, tmp_path / "maps")
    assert files(result) == files(alone)
    assert set(made) < set((result.path / MANIFEST).read_text().splitlines())


@pytest.mark.slow
def test_ctrl_c_while_a_tile_is_let_go_is_not_lost(cube, alone, tmp_path, monkeypatch):
    """Python drops what is raised in a finalizer, which is where Dask lets go of a tile."""
    from distributed import Future

    release, pressed = Future.release, []

    def interrupted(self):
        if not pressed and self.status == "finished":
            pressed.append(self.key)
            raise KeyboardInterrupt
        release(self)

    monkeypatch.setattr(Future, "release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        map_few_layers(cube, 2018, tmp_path / "maps", workers=1)
    assert len(pressed) == 1
    result = map_few_layers(cube, 2018, tmp_path / "maps")
    assert files(result) == files(alone)


def test_ctrl_c_before_dask_waits_leaves_no_traceback(monkeypatch, caplog):
    """Pressed after a call and before the loop has begun it, it makes Dask trip."""
    from distributed.utils import LoopRunner, sync

    async def answer():
        return 1

    def interrupted(self, timeout=None):
        monkeypatch.undo()
        raise KeyboardInterrupt

    runner = LoopRunner(loop=None, asynchronous=False)
    runner.start()
    log = logging.getLogger("tornado.application")
    kept = log.filters[:]
    try:
        for quiet in (False, True):
            log.filters = [_no_slip_of_dask] if quiet else []
            caplog.clear()
            begun = threading.Event()
            runner.loop.add_callback(lambda begun=begun: (begun.set(), time.sleep(0.3)))
            begun.wait()
            monkeypatch.setattr(threading.Event, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                sync(runner.loop, answer)
            assert sync(runner.loop, answer) == 1  # what was queued before has run
            assert bool(caplog.records) != quiet
            log.error("Exception in callback %r", "another")
            assert caplog.records
    finally:
        log.filters = kept
        runner.stop()


@pytest.mark.slow
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
                map_few_layers(cube, 2018, tmp_path / "maps", address=address)
        finally:
            thread.join()
            for process in processes:
                process.kill()
    assert not (tmp_path / "maps").exists()
    made = made_tiles(tmp_path / "maps.part")
    assert 1 <= len(made) < 12
    result = map_few_layers(cube, 2018, tmp_path / "maps")
    assert files(result) == files(alone)
    assert set(made) < set((result.path / MANIFEST).read_text().splitlines())


@pytest.mark.slow
def test_workers_that_never_come_back_end_the_command(cube, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "_RESTART_TIME", 8.0)
    ended = threading.Event()

    def kill_workers():
        """Each as soon as it is there, once a tile is made."""
        while not ended.is_set():
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "resource_tracker" not in " ".join(process.cmdline()):
                        process.kill()
            time.sleep(0.02)

    thread = when_begun(tmp_path / "maps.part", kill_workers)
    try:
        with pytest.raises(DeepCropError, match=r"worker processes are lost.*is kept"):
            map_few_layers(cube, 2018, tmp_path / "maps", workers=2)
    finally:
        ended.set()
        thread.join()
    assert 1 <= len(made_tiles(tmp_path / "maps.part")) < 12
    result = map_few_layers(cube, 2018, tmp_path / "maps")
    assert files(result) == files(alone)


def test_an_answer_that_died_with_its_worker_is_given_by_the_next(monkeypatch):
    """Otherwise the command would wait for it for ever, whether or not there is a next."""
    monkeypatch.setattr(dask_cluster, "_ANSWER", 0.2)
    with cluster(ClusterOptions(workers=1)) as client:
        future = client.submit(os.getpid, pure=False)
        while not future.done():
            time.sleep(0.02)
        (first,) = client.run(os.getpid).values()
        os.kill(first, signal.SIGKILL)
        answers = [dask_cluster._answer(future)]
        assert answers == [None]
        end = time.monotonic() + 60
        while answers[-1] is None and time.monotonic() < end:
            answers.append(dask_cluster._answer(future))
        assert answers[-1] not in (None, first)


def test_an_error_of_a_tile_is_no_lost_answer():
    def late():
        raise TimeoutError("the disk does not answer")

    with cluster(ClusterOptions(workers=1)) as client:
        future = client.submit(late, pure=False)
        with pytest.raises(TimeoutError, match="the disk does not answer"):
            dask_cluster._answer(future)


def test_workers_that_cannot_start_are_said(monkeypatch):
    def dying(*arguments, **options):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr("distributed.LocalCluster", dying)
    with (
        pytest.raises(DeepCropError, match=r"could not be started \(Nanny failed"),
        cluster(ClusterOptions(workers=1)),
    ):
        pass


@pytest.mark.slow
def test_nobody_at_the_address(cube, tmp_path):
    with pytest.raises(DeepCropError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        map_few_layers(cube, 2018, tmp_path / "maps", address="tcp://127.0.0.1:1")
    with pytest.raises(DeepCropError, match="workers is 0; expected 1 or more"):
        map_few_layers(cube, 2018, tmp_path / "maps", workers=0)
