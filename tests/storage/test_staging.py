import contextlib
import json
import shutil
import subprocess
import sys

import pytest
from tests.helpers.kills import killed_at

from deepcrop._version import __version__
from deepcrop.errors import DeepCropError
from deepcrop.storage.files import atomic_file
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import RECORD, part_path, refuse_early, staging

SETTINGS = {"year": 2018, "bands": ("vv", "vh")}


class Broken(Exception):
    pass


def run(target, items="abcd", settings=SETTINGS, stop_at=None, error=Broken, **options):
    """Write one file per item; return the items that were written this time."""
    written = []
    with staging(target, settings, **options) as stage:
        for item in items:
            if item in stage.done:
                continue
            if item == stop_at:
                raise error
            (stage.path / item).write_text(item)
            stage.finish(item)
            written.append(item)
    return written


@pytest.fixture
def target(tmp_path):
    return tmp_path / "maps"


@pytest.fixture
def interrupted(target):
    with pytest.raises(Broken):
        run(target, stop_at="c")
    return target


def contents(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_directory_holds_the_items_and_the_record(target):
    assert run(target) == list("abcd")
    assert contents(target) == ["a", "b", "c", "d", RECORD]
    assert contents(target.parent) == ["maps"]
    record = json.loads((target / RECORD).read_text())
    assert record == {
        "software": f"deepcrop {__version__}",
        "year": 2018,
        "bands": ["vv", "vh"],
        "files": ["a", "b", "c", "d"],
    }


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_leaves_no_target_and_goes_on(target, error):
    with pytest.raises(error):
        run(target, stop_at="c", error=error)
    assert not target.exists()
    assert contents(target.parent) == ["maps.part"]
    assert run(target) == ["c", "d"]
    assert contents(target) == ["a", "b", "c", "d", RECORD]
    assert not part_path(target).exists()


def test_ctrl_c_within_compiled_code_is_ctrl_c(target, caplog):
    error = SystemError("a compiled function returned a result with an exception set")
    error.__cause__ = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(target, stop_at="c", error=error)
    assert "the same command goes on" in caplog.text
    assert run(target) == ["c", "d"]
    with pytest.raises(SystemError):  # any other stays what it is
        run(target.with_name("other"), stop_at="c", error=SystemError)


def test_a_run_interrupted_twice_goes_on(interrupted):
    with pytest.raises(Broken):
        run(interrupted, stop_at="d")
    assert run(interrupted) == ["d"]


def test_other_settings_start_afresh(interrupted, caplog):
    (part_path(interrupted) / "stale").touch()
    assert run(interrupted, settings=SETTINGS | {"year": 2019}) == list("abcd")
    assert "begun with other settings or another version; starting anew." in caplog.text
    assert "stale" not in contents(interrupted)


def test_another_version_starts_afresh(interrupted, monkeypatch):
    monkeypatch.setattr("deepcrop.storage.staging.__version__", "99")
    assert run(interrupted) == list("abcd")


def test_files_that_a_killed_run_was_writing_are_removed(interrupted):
    folder = part_path(interrupted) / "units"
    folder.mkdir()
    for name in (".plan.3916.part.json", "0.partial", ".my.part.txt"):
        (folder / name).touch()
    assert run(interrupted) == ["c", "d"]
    assert contents(interrupted / "units") == [".my.part.txt"]  # not ours


def test_without_resuming_a_leftover_is_discarded(interrupted):
    assert run(interrupted, resume=False) == list("abcd")


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_an_item_whose_journal_line_is_cut_is_done_again(interrupted, cut):
    journal = part_path(interrupted) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().rstrip(b"\n")[:-cut])
    (part_path(interrupted) / "b").unlink()
    with pytest.raises(Broken):
        run(interrupted, stop_at="c")  # does b again; its line must not join the cut one
    assert run(interrupted) == ["c", "d"]
    assert contents(interrupted) == ["a", "b", "c", "d", RECORD]


def test_a_line_written_after_a_missing_newline_counts(interrupted):
    journal = part_path(interrupted) / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().rstrip(b"\n"))
    with pytest.raises(Broken):
        run(interrupted, stop_at="d")
    assert run(interrupted) == ["d"]


def test_a_line_of_another_journal_does_not_count_and_one_that_occurs_twice_does(interrupted):
    other = interrupted.with_name("other")
    with pytest.raises(Broken):
        run(other, settings=SETTINGS | {"year": 2019}, stop_at="d")
    journal = part_path(interrupted) / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    foreign = (part_path(other) / "journal.jsonl").read_bytes().splitlines()
    journal.write_bytes(b"\n".join([*lines, lines[-1], foreign[-1], *foreign]))
    with pytest.raises(Broken):
        run(interrupted, stop_at="d")
    assert run(interrupted) == ["d"]
    assert (part_path(other) / "c").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\n", b"[1]\n", b'{"done": "a"}\n'])
def test_an_unreadable_journal_starts_afresh(interrupted, content):
    (part_path(interrupted) / "journal.jsonl").write_bytes(content)
    assert run(interrupted) == list("abcd")


def test_an_existing_target_is_refused(target):
    run(target)
    with pytest.raises(DeepCropError, match=r"maps exists.*--overwrite"):
        run(target)


def test_overwriting_replaces_the_whole_directory(target):
    run(target, items="aboz")
    (target / "a.aux.xml").touch()  # statistics that GDAL keeps beside a raster
    run(target / "report")
    assert run(target, overwrite=True) == list("abcd")
    assert contents(target) == ["a", "b", "c", "d", RECORD]
    assert contents(target.parent) == ["maps"]


def test_files_that_somebody_put_into_a_finished_directory_are_not_lost(target):
    run(target)
    (target / "project.qgz").write_text("mine")
    with pytest.raises(DeepCropError, match=r"holds 1 files that deepcrop did not.*project\.qgz"):
        run(target, overwrite=True)
    assert contents(target) == ["a", "b", "c", "d", RECORD, "project.qgz"]


def test_what_takes_the_name_meanwhile_stays(target):
    def take(kind, **options):
        with staging(target, SETTINGS, **options) as stage:
            (stage.path / "new").touch()
            if kind == "file":
                target.write_text("mine")
            else:
                target.mkdir()
                if kind == "folder":
                    (target / "thesis").write_text("mine")

    for kind in ("folder", "empty folder", "file"):
        for overwrite in (False, True):
            with pytest.raises(DeepCropError, match=r"maps appeared while.*complete in .*\.part"):
                take(kind, overwrite=overwrite)
            kept = target.rename(target.with_name("kept"))
            if kind == "folder":
                assert contents(kept) == ["thesis"]
            else:
                assert kept.is_dir() == (kind == "empty folder")
            with staging(target, SETTINGS) as stage:
                assert stage.complete
            assert contents(target) == [RECORD, "new"]
            for path in (kept, target):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_an_unrelated_old_part_stays(target):
    run(target, items="a")
    for name in ("maps.old.part", "maps.old1.part"):
        target.with_name(name).mkdir()
        (target.with_name(name) / "mine").touch()
    assert run(target, overwrite=True) == list("abcd")
    assert contents(target.parent) == ["maps", "maps.old.part", "maps.old1.part"]
    assert contents(target.with_name("maps.old1.part")) == ["mine"]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["swaps names", "cannot swap names"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_at_every_file_operation(target, monkeypatch, system, overwrite):
    if system == "cannot swap names":
        monkeypatch.setattr("deepcrop.storage.files._renameat2", lambda *arguments: None)

    def make(name="new", overwrite=overwrite):
        with staging(target, SETTINGS | {"name": name}, overwrite, scratch=("work",)) as stage:
            if not stage.complete:
                (stage.path / "work").mkdir(exist_ok=True)
                (stage.path / "work" / "store").touch()
                stage.finish("layout")
                (stage.path / name).touch()

    count = 1
    while True:
        if overwrite:
            make("old")
        killed = killed_at(count, make)
        if overwrite and system == "swaps names":
            assert target.exists()  # the old or the new
        with contextlib.suppress(DeepCropError):  # it exists: the kill came after the end
            make()
        assert contents(target) == [RECORD, "new"]
        assert contents(target.parent) == ["maps"]
        shutil.rmtree(target)
        if not killed:
            break
        count += 1
    assert count > (18 if overwrite else 13)


def test_a_failed_overwrite_keeps_the_old(target):
    run(target, items="a")
    with pytest.raises(Broken):
        run(target, stop_at="c", overwrite=True)
    assert contents(target) == ["a", RECORD]


def test_a_zarr_store_is_recognised_by_its_attributes(target):
    def store(software):
        with staging(target, {}, overwrite=True) as stage:
            attributes = {"attributes": {"software": software}}
            (stage.path / "zarr.json").write_text(json.dumps(attributes))

    store("deepcrop 0.0")
    store("another program")
    assert contents(target) == ["zarr.json"]  # no record: Zarr readers warn of foreign files
    with pytest.raises(DeepCropError, match="not made by deepcrop"):
        store("deepcrop 0.0")


@pytest.mark.parametrize("name", ["notes.txt", "zarr.json"])
def test_what_deepcrop_did_not_make_is_not_overwritten(target, name):
    target.mkdir()
    (target / name).write_text("mine")
    with pytest.raises(DeepCropError, match="not made by deepcrop"):
        run(target, overwrite=True)
    assert (target / name).read_text() == "mine"


@pytest.mark.parametrize("content", ["[]", '{"attributes": null}', '{"attributes": []}'])
def test_an_odd_zarr_json_is_not_ours(target, content):
    target.mkdir()
    (target / "zarr.json").write_text(content)
    with pytest.raises(DeepCropError, match="not made by deepcrop"):
        run(target, overwrite=True)


def test_a_file_is_not_overwritten_by_a_directory(target):
    target.write_text("mine")
    with pytest.raises(DeepCropError, match="not made by deepcrop"):
        run(target, overwrite=True)


def test_a_part_folder_that_deepcrop_did_not_make_is_not_discarded(target):
    part_path(target).mkdir()
    (part_path(target) / "thesis.txt").write_text("mine")
    with pytest.raises(DeepCropError, match=r"maps\.part.*not made by deepcrop"):
        run(target)
    assert contents(part_path(target)) == ["thesis.txt"]


def test_an_empty_part_folder_is_used(target):
    part_path(target).mkdir()  # killed before the journal was there
    assert run(target) == list("abcd")


def test_a_missing_parent_folder_is_named(tmp_path):
    with pytest.raises(DeepCropError, match=r"nowhere does not exist; make it first"):
        run(tmp_path / "nowhere" / "maps")


def test_a_relative_target_is_made_here(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    run(Path("maps"))
    assert contents(tmp_path) == ["maps"]


def test_an_atomic_file_appears_when_complete(tmp_path):
    target = tmp_path / "map.tif"
    with atomic_file(target) as part:
        part.write_text("new")
        assert part.suffix == ".tif"  # writers choose the format by it
        assert not target.exists()
    assert target.read_text() == "new"
    assert contents(tmp_path) == ["map.tif"]


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_a_failed_atomic_file_leaves_nothing_new(tmp_path, error):
    target = tmp_path / "map.tif"
    target.write_text("old")

    def write():
        with atomic_file(target) as part:
            part.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert contents(tmp_path) == ["map.tif"]
    assert target.read_text() == "old"


def test_an_atomic_file_needs_its_folder(tmp_path):
    with (
        pytest.raises(DeepCropError, match="nowhere does not exist"),
        atomic_file(tmp_path / "nowhere" / "map.tif"),
    ):
        pass


def test_an_atomic_file_does_not_replace_a_folder(tmp_path):
    with pytest.raises(DeepCropError, match="is a folder"), atomic_file(tmp_path):
        pass


def test_a_killed_run_goes_on(target):
    code = f"""
import os, pathlib
from deepcrop.storage.staging import staging
with staging(pathlib.Path({str(target)!r}), {SETTINGS!r}) as stage:
    stage.finish("a")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode != 0
    assert not target.exists()
    assert run(target) == ["b", "c", "d"]


def test_two_runs_of_one_target_refuse_each_other(target):
    with staging(target, SETTINGS) as stage:
        stage.finish("a")
        for settings in (SETTINGS, SETTINGS | {"year": 2019}):
            with pytest.raises(DeepCropError, match=r"Another run is writing .*maps\.part; wait"):
                run(target, settings=settings)
        assert stage.path.exists()  # the second run discards nothing
        assert run(target.with_name("other")) == list("abcd")
    assert contents(target.parent) == ["maps", "other"]  # no lock file stays


def test_a_run_in_another_process_refuses_this_one_until_it_dies(target):
    code = f"""
import pathlib, time
from deepcrop.storage.staging import staging
with staging(pathlib.Path({str(target)!r}), {SETTINGS!r}) as stage:
    stage.finish("a")
    print("begun", flush=True)
    time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(DeepCropError, match="Another run is writing"):
            run(target)
    finally:
        other.kill()
        other.communicate()
    # The system has released the lock; the lock file that the killed run left over locks nothing.
    assert contents(target.parent) == ["maps.part", "maps.part.lock"]
    assert run(target) == ["b", "c", "d"]
    assert contents(target) == ["b", "c", "d", RECORD]
    assert contents(target.parent) == ["maps"]


def test_an_interrupted_run_keeps_no_lock_file(interrupted):
    assert contents(interrupted.parent) == ["maps.part"]


def test_an_early_refusal_removes_the_lock_file_of_a_killed_process(target):
    """It died after its last step but one: all that is left of its run is that file."""
    with staging(target, {}) as stage:
        stage.finish("all")
    lock = target.with_name(target.name + ".part.lock")
    lock.touch()
    with pytest.raises(DeepCropError, match="exists"):
        refuse_early(target, overwrite=False)
    assert not lock.exists()


def test_progress_is_shown_on_stderr(capsys):
    with progress_bar() as progress:
        progress.update(progress.add_task("tiles", total=2), completed=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err
