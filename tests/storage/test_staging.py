import json
import subprocess
import sys

import pytest

from deepcrop._version import __version__
from deepcrop.errors import DeepCropError
from deepcrop.storage.files import atomic_file
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import RECORD, part_path, staging

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
    assert record == {"software": f"deepcrop {__version__}", "year": 2018, "bands": ["vv", "vh"]}


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


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\n", b"[1]\n", b'{"done": "a"}\n'])
def test_an_unreadable_journal_starts_afresh(interrupted, content):
    (part_path(interrupted) / "journal.jsonl").write_bytes(content)
    assert run(interrupted) == list("abcd")


def test_an_existing_target_is_refused(target):
    run(target)
    with pytest.raises(DeepCropError, match=r"maps exists.*--overwrite"):
        run(target)


def test_overwriting_replaces_the_whole_directory(target):
    run(target)
    (target / "old").touch()
    assert run(target, overwrite=True) == list("abcd")
    assert contents(target) == ["a", "b", "c", "d", RECORD]
    assert contents(target.parent) == ["maps"]


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


def test_progress_is_shown_on_stderr(capsys):
    with progress_bar() as progress:
        progress.update(progress.add_task("tiles", total=2), completed=2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err
