"""Damage valid files and documents, and make odd ones: hypothesis strategies."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from hypothesis import strategies as st

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.5, -0.0, 1e7, 1e308, -1e308, 10**30, 10**400, 2**63, 2**31,
    float("nan"), float("inf"), float("-inf"), "", " ", "\0", "a", "0", "-1", "nan", "1e999", "²",
    "\ud800", "\u202e", "é" * 300, "x" * 5000, "9" * 5000, "../../etc/passwd", "/etc/passwd",
    "file:///etc/passwd", "/vsizip//vsicurl/http://127.0.0.1:1/a.zip", "javascript:alert(1)",
    "http://127.0.0.1:1/", "http://[", "2018-13-45", "9999-12-31T23:59:59-12:00", "0001-01-01",
    "2018-06-01T10:00:00Z", "EPSG:4326", "EPSG:0", "EPSG:32631", "[red]", "[/]", "$\\frac$",
    [], {}, [[]], [None], {"a": {}}, [1, 2], [1e7] * 4, ["a"] * 3, {"type": "Polygon"},
    [[[0, 0], [1e7, 1e7], [0, 1], [0, 0]]], list(range(200)),
)  # fmt: skip
"""Values that broke this or another program before."""

ODD_BYTES: tuple[bytes, ...] = (
    b"", b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\n", b",", b'"', b"'", b"[", b"{",
    b"[" * 3000, b"{" * 3000, b"<" * 3000, b"<a>" * 3000, b"&lol;", b"-", b"-1", b"0", b"1e999",
    b"NaN", b"nan", b"NA", b"-9999", b"99999999999999999999", b"9" * 5000, b"\xed\xa0\x80", b":",
    b"*a", b"&a ", b"!!python/object/apply:os.system ['true']", b"!!binary ", b"? ", b"<<: ",
    b"2018-13-45", b"0x7fffffff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0" * 64, b"%00",
    b"<!DOCTYPE a [<!ENTITY b 'bbbbbbbb'>]>", b"../", b"#", b";", b"\t", b" ", b"\\", b"../../x",
)  # fmt: skip


def _places_at_random(draw: st.DrawFn) -> random.Random:
    """Places all over a file: hypothesis itself prefers its beginning."""
    return random.Random(draw(st.integers(0, 2**32 - 1)))


@st.composite
def damaged_bytes(draw: st.DrawFn, *valid: bytes) -> bytes:
    """One of some valid files, with a few places changed, cut, doubled or replaced."""
    content = bytearray(draw(st.sampled_from(valid)))
    places = _places_at_random(draw)
    for _ in range(draw(st.integers(1, 4))):
        place = places.randrange(max(len(content), 1))
        length = draw(st.sampled_from((1, 1, 2, 4, 8, 40, 400)))
        change = draw(st.sampled_from(("set", "set", "odd", "odd", "cut", "double", "end", "swap")))
        if change == "set":
            content[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif change == "odd":
            content[place : place + draw(st.sampled_from((0, 1, length)))] = draw(
                st.sampled_from(ODD_BYTES)
            )
        elif change == "cut":
            del content[place : place + length]
        elif change == "double":
            content[place:place] = content[place : place + length]
        elif change == "end":
            del content[place:]
        else:
            other = places.randrange(max(len(content), 1))
            content[place : place + 8], content[other : other + 8] = (
                content[other : other + 8],
                content[place : place + 8],
            )
    return bytes(content)


@st.composite
def damaged_text(draw: st.DrawFn, *valid: str) -> bytes:
    """A text file with lines dropped, doubled, moved or with words replaced; or damaged bytes."""
    text = draw(st.sampled_from(valid))
    if draw(st.booleans()):
        return draw(damaged_bytes(text.encode()))
    lines = text.splitlines()
    places = _places_at_random(draw)
    for _ in range(draw(st.integers(1, 3))):
        place = places.randrange(max(len(lines), 1))
        change = draw(st.sampled_from(("drop", "double", "word", "word", "word", "move", "indent")))
        if not lines:
            break
        if change == "drop":
            del lines[place]
        elif change == "double":
            lines.insert(place, lines[place])
        elif change == "move":
            lines.insert(places.randrange(len(lines)), lines.pop(place))
        elif change == "indent":
            lines[place] = "  " + lines[place]
        else:
            words = lines[place].replace(",", " , ").replace(":", " : ").split(" ")
            words[places.randrange(len(words))] = str(draw(st.sampled_from(ODD_VALUES)))[:5000]
            lines[place] = " ".join(words).replace(" , ", ",").replace(" : ", ":")
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = (
        list(value.items()) if isinstance(value, dict)
        else list(enumerate(value)) if isinstance(value, list) else []
    )  # fmt: skip
    return [path] + [p for key, child in children for p in _places(child, (*path, key))]


@st.composite
def damaged_document(draw: st.DrawFn, *valid: Any) -> Any:
    """A JSON document with a few values replaced by odd ones, dropped, renamed or doubled."""
    document = copy.deepcopy(draw(st.sampled_from(valid)))
    at_random = _places_at_random(draw)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        places = _places(document)
        path = places[at_random.randrange(len(places))]
        odd = copy.deepcopy(draw(st.sampled_from(ODD_VALUES)))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return odd
            continue
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        change = draw(st.sampled_from(("set", "set", "set", "drop", "rename", "wrap", "double")))
        if change == "set" or (isinstance(parent, list) and change == "rename"):
            parent[path[-1]] = odd
        elif change == "drop":
            del parent[path[-1]]
        elif change == "rename":
            parent[str(odd)[:50]] = parent.pop(path[-1])
        elif change == "wrap":
            parent[path[-1]] = draw(st.sampled_from(([parent[path[-1]]], {"x": parent[path[-1]]})))
        elif isinstance(parent, list):
            parent.insert(path[-1], copy.deepcopy(parent[path[-1]]))
    return document


def damaged_json(*valid: Any) -> st.SearchStrategy[bytes]:
    """A JSON file: with odd values, or damaged as bytes."""
    whole = tuple(json.dumps(document).encode() for document in valid)
    return st.one_of(
        damaged_document(*valid).map(lambda d: json.dumps(d).encode()),
        damaged_document(*valid).map(lambda d: json.dumps(d).encode()),
        damaged_bytes(*whole),
    )
