import csv
import hashlib
import io

import numpy as np
import pytest

from deepcrop.errors import DeepCropError
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
    import os

    path = tmp_path / "cube.nc"
    path.write_text("one")
    first = fingerprint(path)
    assert fingerprint(path) == first
    os.utime(path, ns=(1, 1))
    assert fingerprint(path) != first
    store = tmp_path / "cube.zarr"  # of a Zarr store, that of its metadata
    store.mkdir()
    (store / "zarr.json").write_text("{}")
    assert fingerprint(store) == fingerprint(store / "zarr.json")


def test_a_content_hash_is_that_of_all_contents():
    assert content_hash([b"ab", b"", b"c"]) == hashlib.sha256(b"abc").hexdigest()
