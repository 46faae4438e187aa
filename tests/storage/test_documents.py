"""YAML and JSON of others: what is absurd is refused at once, with its place."""

import time
from itertools import pairwise

import pytest

from deepcrop.storage.documents import LARGEST_YAML, parse_json, parse_yaml


def read(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return parse_yaml(path)


def test_aliases_and_merged_keys_are_read(tmp_path):
    text = "a: &a {x: 1, y: [2, 3]}\nb: *a\nc: {<<: *a, x: 9}\nwhen: 2018-06-01\n"
    found = read(tmp_path, text)
    assert found["b"] == {"x": 1, "y": [2, 3]}
    assert found["c"] == {"x": 9, "y": [2, 3]}
    assert str(found["when"]) == "2018-06-01"
    assert read(tmp_path, "") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 2018-13-45", r"line 1, column 4: '2018-13-45' cannot be read \(month"),
        ("a: [1, 2\n", "line 2, column 1: expected ',' or ']'"),
        ("a: 1\nb: {c: 1, c: 2}", "line 2, column 11: the key 'c' occurs twice"),
        ("a: !!python/object/apply:os.system [true]", "line 1, column 4: could not determine"),
        ("a: &a [1, *a]", "contains itself"),
        ("a: " + "[" * 60 + "]" * 60, "more than 50 levels"),
        ("[" * 5000, "line 1, column 51: more than 50 levels"),
        ("a: " + "{" * 100_000, "more than 50 levels"),
        ("- " * 5000 + "a", "nested too deeply|more than 50 levels"),
        ("a: \0", "not allowed"),
        ("a: !!int " + "9" * 5000, "line 1, column 4: '999"),
        (b"a: \xff", "codec"),
        ("? [a]\n: 1", "unhashable"),
        ("#" * (LARGEST_YAML + 1), "longer than 500 kB"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, text, words):
    with pytest.raises(ValueError, match=words) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_short_file_does_not_become_a_huge_structure(tmp_path):
    names = "abcdefgh"
    bomb = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(names)]
    started = time.monotonic()
    with pytest.raises(ValueError, match="more than 20000 values, counting each alias"):
        read(tmp_path, "\n".join(bomb))
    assert time.monotonic() - started < 1


def test_deep_json_is_no_crash():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
