import gzip
import json
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from tests.archive.server import Response, Server, json_response

from deepcrop._version import __version__
from deepcrop.sources import http
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.http import HttpClient, NotFound, redact_url


@pytest.fixture
def server():
    with Server() as server:
        server.route("GET", "/data/file.csv", lambda request: Response(server.content))
        server.route("GET", "/api", lambda request: json_response({"asked": request.query}))
        server.route("GET", "/page", lambda request: Response(b"<html>no JSON</html>"))
        server.content = b"a,b\n1,2\n" * 5000
        yield server


@pytest.fixture
def web(tmp_path):
    with HttpClient(tmp_path / "cache", pause=0.01) as web:
        yield web


def cached_files(web):
    return [path for path in web.cache.rglob("*") if path.is_file()]


def test_json_and_text_say_who_asks(server):
    with HttpClient() as web:
        answer = web.json(server.url + "/api?a=1", b="x y", c=2)
        assert web.text(server.url + "/data/file.csv").startswith("a,b")
    assert answer == {"asked": {"a": ["1"], "b": ["x y"], "c": ["2"]}}
    assert server.log[0].headers["user-agent"] == f"deepcrop/{__version__}"


def test_cache_asks_whether_it_is_current(server, web):
    url = server.url + "/data/file.csv"
    path = web.file(url)
    assert path.read_bytes() == server.content
    assert path.name.startswith("data_file.")
    assert path.suffix == ".csv"
    assert web.file(url) == path
    assert "if-none-match" not in server.log[0].headers
    assert "if-none-match" in server.log[1].headers  # answered 304, without a body
    server.content = b"new"
    assert web.bytes(url) == b"new"
    assert len(cached_files(web)) == 2  # the file and what is known of it


def test_cache_is_used_by_the_next_program_but_not_if_damaged(server, web):
    path = web.file(server.url + "/data/file.csv")
    with HttpClient(web.cache) as later:
        later.file(server.url + "/data/file.csv")
        assert "if-none-match" in server.log[-1].headers
        path.write_bytes(server.content[:100])
        assert later.bytes(server.url + "/data/file.csv") == server.content
        assert "if-none-match" not in server.log[-1].headers


def test_last_modified_where_there_is_no_etag(web):
    seen = []

    def answer(request):
        seen.append(request.headers.get("if-modified-since"))
        if seen[-1]:
            return Response(b"", 304)
        return Response(b"old", headers={"Last-Modified": "Mon, 1 Jan 2024"})

    with Server() as server:
        server.route("GET", "/f", answer)
        for _ in range(2):
            assert web.bytes(server.url + "/f") == b"old"
    assert seen == [None, "Mon, 1 Jan 2024"]


@pytest.mark.parametrize("kind", ["429", "500", "502", "503", "504", "drop"])
def test_busy_servers_and_broken_connections_are_tried_again(server, web, kind):
    server.fail("file.csv", kind, times=3)
    assert web.bytes(server.url + "/data/file.csv") == server.content
    assert len(server.log) == 4
    assert not [path for path in cached_files(web) if "part" in path.name]


def test_patience_ends_with_a_clear_error(server, tmp_path):
    url = server.url + "/data/file.csv?site=mead2&token=SECRET"
    with HttpClient(tmp_path, tries=2, pause=0.01) as web:
        server.fail("file.csv", "503", times=2)
        with pytest.raises(ArchiveError, match=r"site=mead2.*status 503.*later") as error:
            web.bytes(url)
        assert "SECRET" not in str(error.value)
        server.fail("file.csv", "drop", times=2)
        with pytest.raises(ArchiveError, match="no complete answer") as error:
            web.bytes(url)
        assert "SECRET" not in str(error.value)
        assert cached_files(web) == []
        server.fail("file.csv", "403")
        with pytest.raises(ArchiveError, match=r"refused.*credentials"):
            web.bytes(url)
        server.fail("file.csv", "400")
        with pytest.raises(ArchiveError, match="status 400"):
            web.bytes(url)
    assert len(server.log) == 6  # refusals are not tried again


def test_no_server_and_no_address():
    with Server() as server:
        url = server.url
    with HttpClient(tries=2, pause=0.01) as web, pytest.raises(ArchiveError, match="not reached"):
        web.json(url)
    with HttpClient() as web:
        for wrong in ("ftp://example.org/x", "phenocam", "http:///x", "http://here:port/"):
            with pytest.raises(ArchiveError, match="address"):
                web.json(wrong)


def test_retry_after_is_honoured(web):
    times = []

    def answer(request, wait):
        times.append(time.monotonic())
        if len(times) > 1:
            return Response(b"here")
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        return Response(b"", 429, {"Retry-After": until if wait == "date" else wait})

    with Server() as server:
        server.route("GET", "/(?P<wait>.*)", answer)
        for wait, least in (("1", 1.0), ("date", 0.9), ("not a date", 0.0)):
            times.clear()
            assert web.bytes(server.url + "/" + wait) == b"here"
            assert least <= times[1] - times[0] < least + 2.5
        times.clear()
        with pytest.raises(ArchiveError, match="asks for a pause of 3600 s"):
            web.bytes(server.url + "/3600")
        assert len(times) == 1


def test_not_found_and_not_json(server, web):
    with pytest.raises(NotFound, match=r"/nothing.*404"):
        web.bytes(server.url + "/nothing")
    with pytest.raises(ArchiveError, match=r"not JSON.*<html>"):
        web.json(server.url + "/page")
    server.content = b"\xff\xd8\xff"
    with pytest.raises(ArchiveError, match="not text"):
        web.text(server.url + "/data/file.csv")
    assert len(server.log) == 3


def test_redirects_are_followed_and_paced(server):
    server.route("GET", "/old", lambda request: Response(b"", 302, {"Location": "/data/file.csv"}))
    with HttpClient(interval=0.2) as web:
        start = time.monotonic()
        assert web.bytes(server.url + "/old") == server.content
        assert time.monotonic() - start >= 0.2


def test_one_request_per_interval_from_all_threads(server, tmp_path):
    with HttpClient(tmp_path, interval=0.1) as web:
        start = time.monotonic()
        threads = [
            threading.Thread(target=web.json, args=(server.url + f"/api?thread={k}",))
            for k in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - start >= 0.4
    assert len(server.log) == 5


def test_threads_share_one_file(server, web):
    url, got = server.url + "/data/file.csv", []
    threads = [threading.Thread(target=lambda: got.append(web.bytes(url))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [server.content] * 8
    assert sum("if-none-match" not in request.headers for request in server.log) == 1


def test_secrets_are_neither_shown_nor_stored(server, web):
    assert redact_url("https://user:pw@a.org/f.tif?sig=abc&b=1&X-Amz-Security-Token=q#x") == (
        "https://a.org/f.tif?sig=…&b=1&X-Amz-Security-Token=…"
    )
    first = web.file(server.url + "/data/file.csv?sig=abc&b=1")
    again = web.file(server.url + "/data/file.csv?sig=other&b=1")
    assert first == again
    assert first != web.file(server.url + "/data/file.csv?sig=abc&b=2")
    record = json.loads(first.with_name(first.name + ".json").read_text())
    assert record["url"].endswith("/data/file.csv?sig=…&b=1")
    for path in cached_files(web):
        assert "abc" not in path.name
        assert b"abc" not in path.read_bytes()


def test_a_file_needs_a_cache(server):
    with HttpClient() as web, pytest.raises(ValueError, match="cache"):
        web.file(server.url + "/data/file.csv")


# What no server should send


@pytest.fixture
def odd(server):
    """Fetch JSON from a server with given answers."""

    def fetch(body=b"[]", status=200, headers=None):
        server.routes.clear()
        server.route("GET", "/odd", lambda request: Response(body, status, headers or {}))
        with HttpClient(tries=2, pause=0.001) as client:
            return client.json(server.url + "/odd")

    return fetch


@pytest.mark.parametrize(
    "wait", ["²", "Fri, 31 Dec 9999 23:59:59 -1200", "-5", "1e3", "9" * 5000, "soon"]
)
def test_an_odd_retry_after_is_none(odd, wait):
    with pytest.raises(ArchiveError, match=r"busy or broken \(status 503\)\. Try again"):
        odd(status=503, headers={"Retry-After": wait})


@pytest.mark.parametrize(
    "place", ["javascript:alert(1)", "file:///etc/passwd", "ftp://127.0.0.1/a", "http://[", "/odd"]
)
def test_redirects_lead_to_web_addresses(odd, server, place):
    with pytest.raises(ArchiveError, match=r"/odd: (it redirects|no complete)|is not reached"):
        odd(status=302, headers={"Location": place})


def test_deep_json_is_an_error_of_the_archive(odd):
    with pytest.raises(ArchiveError, match="is not JSON but begins"):
        odd(b"[" * 100_000)


def test_answers_are_bounded_in_size_once_decompressed(odd, server, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "LARGEST_ANSWER", 2**20)
    bomb = gzip.compress(b" " * 2**26)
    assert len(bomb) < 2**17
    tracemalloc.start()
    with pytest.raises(ArchiveError, match="has more than 1 MB"):
        odd(bomb, headers={"Content-Encoding": "gzip"})
    with (
        HttpClient(tmp_path, tries=1) as client,
        pytest.raises(ArchiveError, match="has more than 1 MB"),
    ):
        client.file(server.url + "/odd")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert odd(gzip.compress(b'{"a": 1}'), headers={"Content-Encoding": "gzip"}) == {"a": 1}


def test_what_is_compressed_in_another_way_or_cut_is_an_error(odd):
    with pytest.raises(ArchiveError, match="compressed as 'gzip, gzip'"):
        odd(b"[]", headers={"Content-Encoding": "gzip, gzip"})
    with pytest.raises(ArchiveError, match="ends too early"):
        odd(gzip.compress(b"[1, 2, 3]")[:-12], headers={"Content-Encoding": "gzip"})


def test_a_cached_file_stays_in_its_folder(tmp_path):
    with HttpClient(tmp_path / "cache", tries=1) as client, pytest.raises(ArchiveError):
        client.file("http://../a")
    assert list(tmp_path.rglob("*")) == []


def test_after_too_many_requests_all_threads_keep_a_distance(server):
    server.fail("file.csv", "429")
    with HttpClient(pause=0.01) as web, ThreadPoolExecutor(4) as pool:
        web.text(server.url + "/data/file.csv")
        begin = len(server.log)
        list(pool.map(lambda _: web.text(server.url + "/data/file.csv"), range(4)))
    times = sorted(request.time for request in server.log[begin:])
    assert min(b - a for a, b in pairwise(times)) > 0.15
