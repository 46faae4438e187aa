import csv
import hashlib
import io
import os

import numpy as np
import pytest

from deepcrop.errors import DeepCropError
from deepcrop.storage import files
from deepcrop.storage.files import content_hash, csv_text, fingerprint, write_csv

HEADER = ("site", "day", "why")
ROWS = [("field, north", 12.5, None), ('a "name"', np.float32(0.25), "two\nlines"), ("é", 3, "")]


def test_a_table_is_written_as_the_csv_module_writes_it(tmp_path):
    expected = io.StringIO(newline="")
    csv.writer(expected, lineterminator="\n").writerows([HEADER, *ROWS])
    write_csv(tmp_path / "table.csv", HEADER, iter(ROWS))
    assert (tmp_path / "table.csv").read_bytes() == expected.getvalue().encode("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [list(HEADER), *([str(c) if c is not None else "" for c in r] for r in ROWS)]


def test_simulated_data_say_so_in_the_first_line():
    assert csv_text(["a"], [[1]], simulated=True) == "# SIMULATED DATA\na\n1\n"
    assert csv_text(["a"], [[1]]) == "a\n1\n"


def test_the_end_of_lines_can_be_chosen(tmp_path):
    write_csv(tmp_path / "table.csv", ["a", "b"], [[1, 2]], line_end="\r\n")
    assert (tmp_path / "table.csv").read_bytes() == b"a,b\r\n1,2\r\n"


def test_a_table_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.csv"
    write_csv(path, ["a"], [[1]])

    def rows():
        yield [2]
        raise KeyError

    with pytest.raises(KeyError):
        write_csv(path, ["a"], rows())
    assert path.read_text() == "a\n1\n"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]
    with pytest.raises(DeepCropError, match="nowhere does not exist"):
        write_csv(tmp_path / "nowhere" / "table.csv", ["a"], [])


def test_a_fingerprint_changes_with_each_writing(tmp_path):
    path = tmp_path / "cube.nc"
    path.write_text("one")
    os.utime(path, ns=(1, 1))
    first = fingerprint(path)
    path.write_text("two")
    os.utime(path, ns=(1, 1))  # as a copy that keeps the time
    assert fingerprint(path) != first
    path.write_text("one")
    assert fingerprint(path) == first


def test_a_fingerprint_of_a_large_file_takes_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SMALL", 2)
    path = tmp_path / "cube.nc"
    path.write_text("one")
    first = fingerprint(path)
    os.utime(path, ns=(1, 1))
    assert fingerprint(path) != first


def test_a_fingerprint_sees_every_chunk_of_a_store_and_the_sidecars_of_a_file(tmp_path):
    store = tmp_path / "cube.zarr"
    chunk = store / "optical" / "nir" / "c" / "0"
    chunk.parent.mkdir(parents=True)
    for file in (store / "zarr.json", store / "optical" / "zarr.json", chunk):
        file.write_text("{}")
        first = fingerprint(store)
        file.write_text("[]")  # as long as before
        os.utime(file, ns=(1, 1))
        assert fingerprint(store) != first
    parcels = tmp_path / "parcels.shp"
    parcels.write_text("shapes")
    first = fingerprint(parcels)
    (tmp_path / "parcels.txt").write_text("my notes")
    assert fingerprint(parcels) == first
    (tmp_path / "parcels.dbf").write_text("names")
    assert fingerprint(parcels) != first


def test_a_content_hash_is_that_of_all_contents():
    assert content_hash([b"ab", b"", b"c"]) == hashlib.sha256(b"abc").hexdigest()
