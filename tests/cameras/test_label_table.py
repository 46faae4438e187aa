import csv
import importlib
import json

import matplotlib.image
import pytest
from tests.helpers.camera_files import season_file
from tests.helpers.command_line import run

from deepcrop.cameras.crop_table import read_crops
from deepcrop.cameras.label_table import COLUMNS, label_files, label_rows
from deepcrop.cameras.labels import label_series
from deepcrop.errors import DeepCropError
from deepcrop.sources.phenocam.summary_files import (
    ACKNOWLEDGEMENT,
    ACKNOWLEDGEMENT_FILE,
    CITATION,
    SITE_PAGE,
    read_series,
)


def test_crop_table(tmp_path):
    path = tmp_path / "crops.csv"
    path.write_text(
        "site,year,ct\na,2019,other\na,2019,corn\nb,2019,other\nc,2020,soybeans\nc,2020,corn\n"
        "c,2020,soybean\n"
    )
    crops = read_crops(path)
    assert crops == {("a", 2019): "corn", ("b", 2019): "other", ("c", 2020): "corn/soybean"}
    path.write_text("site,year\na,2019\n")
    with pytest.raises(DeepCropError, match=r"crops\.csv: no column ct"):
        read_crops(path)
    path.write_text("site,year,ct\na,last,corn\n")
    with pytest.raises(DeepCropError, match="line 2: year is 'last'"):
        read_crops(path)


def test_a_date_before_new_year_is_written_as_such(tmp_path):
    path = season_file(tmp_path, ups=[340.0], downs=[480.0], last=700)
    row = next(r for r in label_rows(label_series(read_series(path))) if r["season"])
    assert row["year"] == 2020
    assert row["sos50_day"] < 0
    assert row["sos50_date"].isoformat() == "2019-12-07"


@pytest.mark.parametrize(
    "options", [{"shape": {"high": 0.335}}, {"drop": [(125, 177)]}, {"first": 154}]
)
def test_every_year_has_a_row(tmp_path, options):
    result = label_series(read_series(season_file(tmp_path, **options)))
    assert {r["year"] for r in label_rows(result)} == {year.year for year in result.years}


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_record_and_figures(tmp_path):
    files = [season_file(tmp_path), season_file(tmp_path, name="other", drop=[(140, 162)])]
    out = tmp_path / "labels.csv"
    run = label_files(files, out, plots=tmp_path / "figures")
    assert not run.failures
    rows = read(out)
    assert tuple(rows[0]) == COLUMNS
    [good] = [r for r in rows if r["site"] == "field" and r["year"] == "2019"]
    assert good["verdict"] == "accepted"
    assert good["sos50_date"] == "2019-05-31"
    assert float(good["sos50_low"]) < float(good["sos50_day"]) < float(good["sos50_high"])
    bare = next(r for r in rows if not r["season"])
    assert bare["why"].startswith("no season")
    assert bare["sos20_date"] == bare["amplitude"] == ""
    record = json.loads((tmp_path / "labels.csv.json").read_text())
    assert record["citation"] == CITATION
    told = record["acknowledgement"]
    assert told.count(ACKNOWLEDGEMENT) == 1
    for name in ("field", "other"):
        assert f"\n{name}: see {SITE_PAGE.format(site=name)}\n" in told
    assert record["files"] == [path.name for path in files]
    for name in ("field_AG_1000", "other_AG_1000"):
        picture = matplotlib.image.imread(tmp_path / f"figures/{name}.png")
        assert picture.std() > 0.05
    assert not list(tmp_path.glob(".*"))  # nothing half-written


@pytest.mark.parametrize("beside", [True, False])
def test_what_the_sites_ask_to_be_said_goes_with_their_labels(tmp_path, beside):
    """From the file that `deepcrop fetch` puts beside the series, or beside their folder."""
    folder = tmp_path / "series"
    folder.mkdir()
    files = [season_file(folder), season_file(folder, name="other")]
    text = f"{ACKNOWLEDGEMENT}\n\nfield: We thank the farmer.\n\n{CITATION}\n"
    (files[0].parent if beside else tmp_path).joinpath(ACKNOWLEDGEMENT_FILE).write_text(text)
    label_files(files, tmp_path / "labels.csv")
    told = json.loads((tmp_path / "labels.csv.json").read_text())["acknowledgement"]
    assert told.startswith(text)
    assert f"other: see {SITE_PAGE.format(site='other')}" in told


def test_nothing_is_overwritten_unasked(tmp_path):
    file, out = season_file(tmp_path), tmp_path / "labels.csv"
    label_files([file], out, plots=tmp_path)
    before = out.read_bytes()
    with pytest.raises(DeepCropError, match="exists"):
        label_files([file], out)
    assert out.read_bytes() == before
    again = label_files([file], tmp_path / "more.csv", plots=tmp_path)
    assert "field_AG_1000.png exists" in again.failures[0]
    assert read(tmp_path / "more.csv")  # the labels themselves are there
    assert not label_files([file], out, plots=tmp_path, overwrite=True).failures


def test_the_same_camera_twice_is_refused(tmp_path):
    file = season_file(tmp_path)
    run = label_files([file, file], tmp_path / "labels.csv")
    assert len(run.labels) == 1
    assert "field_AG_1000 was read from" in run.failures[0]


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    out = tmp_path / "labels.parquet"
    label_files([season_file(tmp_path)], out)
    table = parquet.read_table(out)
    assert tuple(table.column_names) == COLUMNS
    assert table.schema.metadata[b"citation"].decode() == CITATION
    row = next(row for row in table.to_pylist() if row["year"] == 2019)
    assert row["sos50_date"].isoformat() == "2019-05-31"
    assert row["crop"] is None


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(DeepCropError, match=r"deepcrop\[labels\]"):
        label_files([season_file(tmp_path)], tmp_path / "labels.parquet")
    with pytest.raises(DeepCropError, match=r"\.csv or \.parquet"):
        label_files([season_file(tmp_path)], tmp_path / "labels.txt")


def test_command_line(tmp_path):
    good, bad = season_file(tmp_path), tmp_path / "bad_3day.csv"
    bad.write_text("# nothing\n")

    assert "deepcrop labels" in run("labels", "--help").stdout
    out = tmp_path / "labels.csv"
    result = run("labels", bad, good, "--out", out)
    assert result.returncode == 2
    assert "1 of 2 files failed" in result.stderr
    assert "bad_3day.csv" in result.stderr
    assert "1 cameras, 1 seasons" in result.stdout
    assert len(read(out)) == 3  # what could be read is there
    result = run("labels", good, "--out", tmp_path / "x.csv", "--column", "ndvi")
    assert result.returncode == 2
    assert "expected gcc_90" in result.stderr
