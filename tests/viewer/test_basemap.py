"""The basemap: what is read of a PMTiles file, and what is refused."""

import pytest
from tests.helpers.pmtiles_file import pmtiles

from deepcrop.errors import DeepCropError
from deepcrop.viewer.basemap import read_basemap


def read(folder, content):
    path = folder / "base.pmtiles"
    path.write_bytes(content)
    return read_basemap(path)


def test_images_and_vector_tiles(tmp_path):
    assert read(tmp_path, pmtiles(bounds=(-93, 41, -92, 42))) == {
        "kind": "raster",
        "encoding": None,
        "minzoom": 0,
        "maxzoom": 0,
        "bounds": [-93, 41, -92, 42],
        "attribution": "© Made up",
        "layers": [],
    }
    layers = {"vector_layers": [{"id": "water"}, {"id": "roads"}, {"x": 1}, 7]}
    found = read(tmp_path, pmtiles(b"", layers, kind=1, compression=2, internal=1))
    assert (found["kind"], found["encoding"]) == ("vector", "mvt")
    assert (found["layers"], found["attribution"]) == (["water", "roads"], "")


GOOD = pmtiles()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no PMTiles file"),
        (b"SQLite format 3\0" + bytes(200), "no PMTiles file"),
        (GOOD[:100], "no PMTiles file"),
        (pmtiles(version=2), "version 2; expected version 3"),
        (GOOD[:-1], "its header says more"),
        (GOOD[:127] + b"\0" + GOOD[128:], "is damaged"),
        (pmtiles(internal=3), "compressed with brotli"),
        (pmtiles(internal=77), "compressed with 77"),
        (pmtiles(kind=0), "tiles of type 0"),
        (pmtiles(kind=1, compression=4), "tiles compressed with zstd"),
        (pmtiles(kind=1), "does not list its vector layers"),
        (pmtiles(metadata=[1]), "no JSON object"),
        (pmtiles(minzoom=4), "zooms are 4 to 0"),
        (pmtiles(bounds=(10, 0, -10, 5)), "its bounds are"),
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path, content, words):
    with pytest.raises(DeepCropError, match=words):
        read(tmp_path, content)


def test_a_packed_description_stays_bounded(tmp_path):
    with pytest.raises(DeepCropError, match="too large"):
        read(tmp_path, pmtiles(metadata={"attribution": " " * (9 * 2**20)}))
    with pytest.raises(DeepCropError, match="does not exist"):
        read_basemap(tmp_path / "none.pmtiles")
