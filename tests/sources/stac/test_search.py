import gzip
import time
from datetime import date

import pytest
from tests.archive.server import Response, Server, json_response

from deepcrop.grid import make_grid
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.stac import search as search_module
from deepcrop.sources.stac.search import bounds_in_degrees, search_items

BOX = make_grid((500000, 4600000, 500600, 4600500), 32615)
CQL2_JSON = "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json"
DATES = date(2018, 7, 1), date(2018, 7, 3)


class Api:
    """A STAC API with items a, b, c, a page each; ``classes`` are its conformance classes.

    ``others`` are classes with their whole address.
    """

    def __init__(self, server, classes=(), others=()):
        self.server = server
        classes = ("core", "item-search", *classes)
        root = {
            "type": "Catalog", "id": "x", "description": "x", "stac_version": "1.0.0",
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{name}" for name in classes]
            + list(others),
            "links": [
                {"rel": "search", "href": self.url + "/search", "method": "POST",
                 "type": "application/geo+json"},
            ],
        }  # fmt: skip
        server.route("GET", "/stac/?", lambda request: json_response(root))
        server.route("POST", "/stac/search", self.page)

    @property
    def url(self):
        return self.server.url + "/stac"

    def page(self, request):
        asked = request.json()
        k = asked.get("token", 0)
        items = [{"type": "Feature", "id": "abc"[k]}]
        body = asked | {"token": k + 1}
        link = {"rel": "next", "href": self.url + "/search", "method": "POST", "body": body}
        links = [link] if k < 2 else []
        return json_response({"type": "FeatureCollection", "features": items, "links": links})

    def asked(self):
        return [request.json() for request in self.server.asked("/search")]


@pytest.fixture
def server():
    with Server() as server:
        yield server


def search(api, box=BOX, **options):
    return search_items(api.url, ["s2"], box, *DATES, **{"tries": 4, "pause": 0.01} | options)


def test_all_pages_each_item_once(server):
    api = Api(server)
    assert [item["id"] for item in search(api)] == ["a", "b", "c"]
    asked = api.asked()
    assert len(asked) == 3
    assert asked[0]["collections"] == ["s2"]
    assert asked[0]["datetime"] == "2018-07-01T00:00:00Z/2018-07-03T23:59:59Z"
    assert "query" not in asked[0]
    assert "filter" not in asked[0]


@pytest.mark.parametrize("fault", ["429", "503", "500", "drop"])
@pytest.mark.parametrize("where", ["/stac$", "search"])
def test_busy_servers_and_broken_connections(server, fault, where):
    api = Api(server)
    server.fail(where, fault, times=3)
    assert len(search(api)) == 3
    assert not server.faults[0].times


def test_a_server_is_left_alone_as_long_as_it_asks(server):
    api = Api(server)
    server.fail("search", "429", after=1)
    begin = time.monotonic()
    assert len(search(api)) == 3
    assert time.monotonic() - begin >= 1
    server.fail("search", "429", times=99, after=3600)
    asked = len(server.log)
    with pytest.raises(ArchiveError, match="status 429"):
        search(api)
    assert len(server.log) == asked + 2  # the root, and one search


def test_patience_ends(server):
    api = Api(server)
    server.fail("search", "503", times=99)
    with pytest.raises(ArchiveError, match=r"/stac does not serve a search of 's2' \(status 503\)"):
        search(api, tries=2)
    server.faults.clear()
    server.fail("search", "drop", times=99)
    with pytest.raises(ArchiveError, match="APIError"):
        search(api, tries=2)
    server.faults.clear()
    before = len(server.log)
    server.fail("search", "403", times=99)
    with pytest.raises(ArchiveError, match="status 403"):
        search(api)
    assert len(server.log) == before + 2  # a refusal is not asked for again


def test_what_is_no_stac_api(server):
    server.route("GET", "/page", lambda request: Response(b"<html>"))
    server.route("GET", "/json", lambda request: json_response({"hello": 1}))
    collection = {"type": "Collection", "id": "x", "stac_version": "1.0.0", "links": []}
    server.route("GET", "/collection", lambda request: json_response(collection))
    for path in ("/page", "/json", "/collection", "/nothing"):
        with pytest.raises(ArchiveError, match=f"{path} does not serve"):
            search_items(server.url + path, ["s2"], BOX, *DATES, tries=2, pause=0.01)
    with Server() as gone:
        url = gone.url
    with pytest.raises(ArchiveError, match=r"is not reached: no connection.*deepcrop doctor"):
        search_items(url, ["s2"], BOX, *DATES, tries=2, pause=0.01)


def test_cloud_filter_only_where_the_server_knows_it(server):
    api = Api(server, ["item-search#query", "item-search#filter"])
    search(api, max_cloud=60)
    assert api.asked()[0]["query"] == {"eo:cloud_cover": {"lte": 60}}
    with Server() as other:
        api = Api(other, ["item-search#filter"], [CQL2_JSON])
        search(api, max_cloud=60)
        asked = api.asked()[0]
        assert asked["filter"] == {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 60]}
        assert asked["filter-lang"] == "cql2-json"
    for classes in ([], ["item-search#filter"]):  # it may know the language in another form only
        with Server() as other:
            api = Api(other, classes, [CQL2_JSON.replace("json", "text")])
            search(api, max_cloud=60)
            assert not {"query", "filter"} & set(api.asked()[0])


def test_bounds_hold_the_whole_grid():
    ((west, south, east, north),) = bounds_in_degrees(BOX)
    assert west == pytest.approx(-93, abs=1e-9)
    assert 0.005 < east - west < 0.009
    assert south < north < south + 0.005
    far = make_grid((200000, 6600000, 300000, 6700000), 32615)  # meridians lean there
    ((west, *_),) = bounds_in_degrees(far)
    corners = far.extent.to_crs("EPSG:4326").boundingbox
    assert west <= corners.left + 1e-9


@pytest.mark.parametrize("epsg", [32660, 32701])
def test_bounds_are_split_at_the_date_line(server, epsg):
    """A grid on Taveuni in Fiji, in the UTM zones from either side."""
    x = {32660: 815000, 32701: 170000}[epsg]
    y = {32660: -1860000, 32701: 8140000}[epsg]
    box = make_grid((x, y, x + 30000, y + 5000), epsg)
    first, second = bounds_in_degrees(box)
    assert 179.5 < first[0] < first[2] == 180
    assert -180 == second[0] < second[2] < -179.5
    assert first[1] == second[1]
    api = Api(server)
    assert len(search(api, box)) == 3  # three items, though both halves give them
    assert [tuple(body["bbox"]) for body in api.asked()[::3]] == [first, second]


# What no API should answer


@pytest.fixture
def odd_api():
    """Serve an API with given answers; return a function that searches it."""
    with Server() as server:
        api = Api(server)

        def search(answer):
            server.routes = [route for route in server.routes if route[0] == "GET"]
            server.route("POST", "/stac/search", answer)
            return search_items(api.url, ["s2"], BOX, *DATES, tries=2, pause=0.001)

        yield search


def page(*items, links=()):
    return json_response({"type": "FeatureCollection", "features": items, "links": list(links)})


def test_odd_items_do_not_end_the_search(odd_api):
    assert odd_api(lambda _: page({"id": "a"}, {"no": "id"}, 3, {"id": []}))[0] == {"id": "a"}


@pytest.mark.parametrize("item", [{"id": "a"}, 3.5, {"no": "id"}])
def test_pages_that_never_end_are_an_error(odd_api, item):
    def answer(request):
        link = {"rel": "next", "href": request.headers["host"], "method": "POST", "body": {}}
        link["href"] = f"http://{link['href']}/stac/search"
        return page(item, links=[link])

    with pytest.raises(ArchiveError, match="does not end, page 2 repeats"):
        odd_api(answer)


@pytest.mark.parametrize("href", ["/etc/passwd", "file:///etc/passwd", "javascript:alert(1)"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_next_page_is_a_web_address(odd_api, href, method):
    link = {"rel": "next", "href": href, "method": method}
    with pytest.raises(ArchiveError):
        odd_api(lambda _: page({"id": "a"}, links=[link]))


def test_pages_are_bounded_in_size_once_decompressed(odd_api, monkeypatch):
    monkeypatch.setattr(search_module, "LARGEST_ANSWER", 2**20)
    bomb = gzip.compress(b" " * 2**26)
    with pytest.raises(ArchiveError, match="has more than 1 MB"):
        odd_api(lambda _: Response(bomb, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ArchiveError, match="compressed twice"):
        odd_api(lambda _: Response(b"", headers={"Content-Encoding": "gzip, gzip"}))


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[]", b"3", b'{"features": 3}', b"\xff", b""])
def test_a_page_that_is_no_page(odd_api, body):
    with pytest.raises(ArchiveError, match="does not serve a search"):
        odd_api(lambda _: Response(body))
