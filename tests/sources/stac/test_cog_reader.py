import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import planetary_computer.sas
import pytest
import rasterio
from tests.archive.server import Response, Server, file_response, json_response
from tests.archive.stac import Tokens, forget_tokens

from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import HttpClient, NotFound
from deepcrop.sources.stac.access import PlanetaryTokens
from deepcrop.sources.stac.cog_reader import CogReader

BLOB = "http://account.blob.core.windows.net/container"


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).integers(1, 5000, (1024, 1024), dtype=np.uint16)


@pytest.fixture(scope="module")
def path(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("cog") / "a.tif"
    profile = {"driver": "COG", "height": 1024, "width": 1024, "count": 1, "dtype": "uint16"}
    place = {"crs": "EPSG:32631", "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5600000)}
    with rasterio.open(path, "w", **profile, **place, blocksize=256, compress="DEFLATE") as file:
        file.write(values, 1)
    return path


@pytest.fixture
def server(path, monkeypatch):
    """A server of plain files under /data, and of Azure's blobs with a service of tokens."""
    tokens = Tokens()
    with Server() as server:
        server.tokens = tokens
        server.route("GET", "/data/.*tif", lambda request: file_response(path))

        def blob(request):
            refused = tokens.refusal(request, "container")
            return refused or (
                Response(b"<xml/>") if request.path.endswith("xml") else file_response(path)
            )

        server.route("GET", "/container/.*", blob)
        server.route(
            "GET", "/token/account/container",
            lambda request: json_response(tokens.issue("account", "container")),
        )  # fmt: skip
        monkeypatch.setenv("PC_SDK_SAS_URL", server.url + "/token")
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        forget_tokens()
        yield server
    forget_tokens()


def corner(path):
    with rasterio.open(path) as file:
        return file.read(1, window=((0, 700), (0, 700)))


def read(cogs, href):
    return cogs.read(href, "asset B08 of S2A_1", corner)


def test_only_what_is_needed_is_read(server, values):
    whole = read(CogReader(), server.url + "/data/a.tif")
    np.testing.assert_array_equal(whole, values[:700, :700])
    assert not [r for r in server.log if not r.path.endswith("a.tif")]  # no files beside it
    assert all("range" in r.headers for r in server.log if r.method == "GET")


@pytest.mark.parametrize("kind", ["429", "503", "500", "drop"])
@pytest.mark.parametrize("first", [0, 2])  # when the file is opened, or amid its pixels
def test_bursts_of_failure_are_lived_through(server, values, kind, first):
    count = iter(range(1000))
    answer = server.answer

    def with_burst(request):
        if next(count) == first:
            server.fail("a.tif", kind, times=7)
        return answer(request)

    server.answer = with_burst
    found = read(CogReader(tries=4, pause=0.01), f"{server.url}/data/{kind}{first}/a.tif")
    np.testing.assert_array_equal(found, values[:700, :700])
    assert not any(fault.times for fault in server.faults)


def test_a_server_is_left_alone_as_long_as_it_asks(server, values):
    """GDAL itself, within a try, asks again sooner."""
    cogs, href = CogReader(tries=2, pause=0.01), server.url + "/data/{}/a.tif"
    server.fail("/soon/", "429", times=4, after=1)  # three tries of GDAL's, and why it failed
    begin = time.monotonic()
    np.testing.assert_array_equal(read(cogs, href.format("soon")), values[:700, :700])
    assert time.monotonic() - begin >= 1
    server.fail("/late/", "503", times=99, after=3600)
    with pytest.raises(ArchiveError, match=r"503.*asks for a pause of 3600 s"):
        read(CogReader(tries=5, pause=0.01), href.format("late"))
    assert len(server.asked("/late/")) <= 7  # one try of GDAL's only


def test_errors_say_what_and_why_and_hold_no_signature(server):
    cogs = CogReader(PlanetaryTokens(), tries=2, pause=0.01)
    url = BLOB + "/{}/a.tif"
    server.fail("/lost/", "404", times=99)
    with pytest.raises(SceneError, match=r"asset B08 of S2A_1 .*/lost/a.tif.*no such file") as lost:
        read(cogs, url.format("lost"))
    server.fail("/cut/", "truncate", times=99)
    with pytest.raises(SceneError, match=r"asset B08 of S2A_1 .*/cut/a.tif.*cut short") as cut:
        read(cogs, url.format("cut"))
    server.fail("/busy/", "503", times=99)
    with pytest.raises(ArchiveError, match=r"asset B08 of S2A_1 .*/busy/a.tif.*503") as busy:
        read(cogs, url.format("busy"))
    server.fail("/secret/", "403", times=99)
    with pytest.raises(
        ArchiveError, match=r"asset B08 of S2A_1 .*/secret/a.tif.*refused"
    ) as secret:
        read(cogs, url.format("secret"))
    for error in (lost, cut, busy, secret):
        assert "sig" not in str(error.value)
        assert error.value.__cause__ is None
    assert len(server.asked("/lost/")) < 5  # it is not looked for again


@pytest.mark.parametrize("uses", [13, 16, 19, 22, 25])
def test_a_token_that_ends_meanwhile_hides_no_fault_of_the_file(server, uses):
    """Whichever request of the two attempts, of 13 each, meets the expired token."""
    server.fail("/cut/", "truncate", times=99)
    server.tokens.uses = uses
    with pytest.raises(SceneError, match="cut short"):
        read(CogReader(PlanetaryTokens(), tries=2, pause=0.01), BLOB + "/cut/a.tif")


@pytest.mark.parametrize("fault", ["503", "404", "truncate"])
def test_a_failure_is_not_remembered(server, values, fault):
    cogs, href = CogReader(tries=2, pause=0.01), f"{server.url}/data/{fault}/a.tif"
    server.fail("a.tif", fault, times=99)
    with pytest.raises((ArchiveError, SceneError)):
        read(cogs, href)
    server.faults.clear()
    np.testing.assert_array_equal(read(cogs, href), values[:700, :700])


def test_no_server():
    with Server() as server:
        url = server.url + "/a.tif"
    with pytest.raises(ArchiveError, match="no answer"):
        read(CogReader(tries=2, pause=0.01), url)


def test_signatures_are_in_no_log(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.fail("a.tif", "503", times=3)
    server.fail("cut.tif", "truncate", times=99)
    cogs = CogReader(PlanetaryTokens(), tries=3, pause=0.01)
    read(cogs, BLOB + "/a.tif")
    with pytest.raises(SceneError):
        read(cogs, BLOB + "/cut.tif")
    signatures = list(server.tokens.issued)
    assert signatures
    for form in (signatures[0][:-1], signatures[0].replace("=", "%3D")):
        assert form not in caplog.text
    assert "sig=…" in caplog.text


def test_one_token_serves_many_threads_until_it_ends(server, values):
    cogs = CogReader(PlanetaryTokens(), tries=4, pause=0.01)
    together = threading.Barrier(6)

    def work(k):
        together.wait()
        return read(cogs, f"{BLOB}/{k}/a.tif")

    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(work, range(6)):
            np.testing.assert_array_equal(found, values[:700, :700])
    assert len(server.asked("/token/")) == 1
    server.tokens.revoke()  # long before its announced end
    np.testing.assert_array_equal(read(cogs, f"{BLOB}/new/a.tif"), values[:700, :700])
    assert len(server.asked("/token/")) == 2


def test_token_that_ends_amid_a_file(server, values):
    issue, server.tokens.uses = server.tokens.issue, 3

    def only_the_first_is_short(*place):
        token = issue(*place)
        server.tokens.uses = None
        return token

    server.tokens.issue = only_the_first_is_short
    found = read(CogReader(PlanetaryTokens(), tries=4, pause=0.01), f"{BLOB}/amid/a.tif")
    np.testing.assert_array_equal(found, values[:700, :700])
    assert len(server.asked("/token/")) == 2


def test_token_is_renewed_before_it_ends(server):
    server.tokens.lifetime = 59  # planetary-computer renews a minute before the end
    cogs = CogReader(PlanetaryTokens(), pause=0.01)
    read(cogs, BLOB + "/1/a.tif")
    read(cogs, BLOB + "/2/a.tif")
    assert len(server.asked("/token/")) >= 2


def test_no_token_service(server, monkeypatch):
    cogs = CogReader(PlanetaryTokens(), tries=2, pause=0.01)
    monkeypatch.setenv("PC_SDK_SAS_URL", server.url + "/nowhere")
    forget_tokens()
    with pytest.raises(ArchiveError, match=r"nowhere gives no token .*404.*SUBSCRIPTION_KEY"):
        read(cogs, BLOB + "/a.tif")
    server.route("GET", "/odd/.*", lambda request: json_response({"token": "sig=x"}))
    monkeypatch.setenv("PC_SDK_SAS_URL", server.url + "/odd")
    forget_tokens()
    with pytest.raises(ArchiveError, match="odd gives no token") as error:
        read(cogs, BLOB + "/a.tif")
    assert "sig=x" not in str(error.value)


def test_text_beside_the_images(server):
    cogs = CogReader(PlanetaryTokens(), tries=2, pause=0.01)
    with HttpClient(tries=2, pause=0.01) as client:
        assert cogs.text(BLOB + "/iw-vv.xml", client) == "<xml/>"
        server.tokens.revoke()
        assert cogs.text(BLOB + "/iw-vv.xml", client) == "<xml/>"
        assert len(server.asked("/token/")) == 2
        server.fail("iw-vv.xml", "404")
        with pytest.raises(NotFound):
            cogs.text(BLOB + "/iw-vv.xml", client)
    assert planetary_computer.sas.TOKEN_CACHE


def test_only_the_format_of_the_archive_is_opened(server, path):
    """A VRT could hold any file of this computer."""
    vrt = f"""<VRTDataset rasterXSize='9' rasterYSize='9'><VRTRasterBand dataType='UInt16' band='1'>
    <SimpleSource><SourceFilename>{path}</SourceFilename></SimpleSource></VRTRasterBand>
    </VRTDataset>"""
    server.route("GET", "/vrt/B04.tif", lambda request: Response(vrt.encode()))
    cogs = CogReader(tries=1)
    with pytest.raises(SceneError, match=r"is no GTiff, it begins b'<VRTDataset rast'"):
        cogs.read(server.url + "/vrt/B04.tif", "B04", lambda p: rasterio.open(p).read(1))
    for href in (f"file://{path}", str(path), f"/vsizip/{path}", "s3://bucket/a.tif"):
        with pytest.raises(SceneError, match="is no web address"):
            cogs.read(href, "B04", lambda p: rasterio.open(p).read(1))
