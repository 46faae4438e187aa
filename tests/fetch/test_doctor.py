import json
import os
import socket
import threading
import time
import tomllib
from pathlib import Path

import certifi
import numpy as np
import pytest
from tests.archive import cropland as crop_bed
from tests.archive import earthengine as ee_bed
from tests.archive import ground_range
from tests.archive import phenocam as camera_bed
from tests.archive import stac as stac_bed
from tests.archive.server import Response, Server, json_response

from deepcrop._version import __version__
from deepcrop.cube.contract import grid_of
from deepcrop.fetch import doctor
from deepcrop.fetch.doctor import Finding, Service


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No credentials, keys, proxies or certificates of whoever runs the tests."""
    for name in list(os.environ):
        credentials = ("GOOGLE_", "CLOUDSDK_", "PC_SDK_", "AWS_", "EARTHDATA_")
        if name.lower().endswith("_proxy") or name.startswith(credentials):
            monkeypatch.delenv(name)
    for names in doctor._CERTIFICATES.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    stac_bed.forget_tokens()
    yield
    stac_bed.forget_tokens()


def by_name(findings):
    assert len({finding.subject for finding in findings}) == len(findings)
    assert all(finding.state in doctor.STATES for finding in findings)
    assert all(bool(finding.advice) == (finding.state != "ok") for finding in findings)
    return {finding.subject: finding for finding in findings}


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


# Archives ----------------------------------------------------------------------------------------


def test_each_archive_by_its_own_reason():
    def endless(request):
        time.sleep(0.4)
        return Response(b"x" * 5000)

    def slow(request):
        time.sleep(3)
        return Response(b'"stac_version"')

    with Server() as server:
        server.route("GET", "/good", lambda request: json_response({"stac_version": "1.0.0"}))
        server.route("GET", "/slow", slow)
        server.route("GET", "/login", lambda request: Response(b"<html>sign in</html>"))
        server.fail("/busy", "503", times=9)
        server.fail("/guarded", "403", times=9)
        server.fail("/broken", "drop", times=9)
        server.route("GET", "/broken", endless)

        def service(name, url=None):
            return Service(name, url or f"{server.url}/{name}?sig=SECRET", '"stac_version"', "")

        names = ["good", "busy", "slow", "login", "guarded", "broken", "nothing"]
        services = [
            *map(service, names),
            service("refused", f"http://127.0.0.1:{closed_port()}/"),
            service("bad", "http://user:SECRET@host:port/"),
            service("bare", "example.org/stac"),
        ]
        start = time.monotonic()
        found = by_name(doctor.ask_services(services, timeout=1.0))
        assert time.monotonic() - start < 2.5  # all at once
        assert len(server.asked("/busy")) == 1
    assert list(found) == [service.name for service in services]
    assert found.pop("good").detail.startswith("answers in 0.")
    assert {finding.state for finding in found.values()} == {"failed"}
    assert "status 503" in found["busy"].detail
    assert "try again later" in found["busy"].advice
    assert "no answer in 1 s" in found["slow"].detail
    assert "not as this service does" in found["login"].detail
    assert "login page" in found["login"].advice
    assert "status 403" in found["guarded"].detail
    assert "status 404" in found["nothing"].detail
    assert "RemoteProtocolError" in found["broken"].detail
    assert "ConnectError" in found["refused"].detail
    assert "firewall" in found["refused"].advice
    assert "not a web address" in found["bad"].detail
    assert "UnsupportedProtocol" in found["bare"].detail
    assert "SECRET" not in str(found)


def test_an_answer_that_drips_is_given_up():
    def drip():
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            yield listener.getsockname()[1]
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(15):
                    time.sleep(0.1)
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

    server = drip()
    port = next(server)
    thread = threading.Thread(target=lambda: next(server, None), daemon=True)
    thread.start()
    start = time.monotonic()
    (found,) = doctor.ask_services(
        [Service("drip", f"http://127.0.0.1:{port}/", "never", "")], timeout=0.5
    )
    assert time.monotonic() - start < 1.2
    assert "no answer in 0.5 s" in found.detail
    thread.join()


def test_all_archives_of_the_test_bed_answer(cube, tmp_path, monkeypatch):
    with Server() as server:
        bed = stac_bed.serve_region(server, tmp_path, cube, ())
        for name, value in bed.environment().items():
            monkeypatch.setenv(name, value)
        crop_bed.serve(server, crop_bed.write_raster(tmp_path / "cdl.tif", grid_of(cube)))
        monkeypatch.setenv("DEEPCROP_PC", bed.pc)
        monkeypatch.setenv("DEEPCROP_CDSE", bed.cdse)
        monkeypatch.setenv("DEEPCROP_EARTH_SEARCH", bed.es + "/")
        monkeypatch.setenv("DEEPCROP_NASA", bed.es_v0)
        monkeypatch.setenv("DEEPCROP_CROPSCAPE", server.url + "/cropscape")
        monkeypatch.setenv("DEEPCROP_PHENOCAM", camera_bed.serve(server, tmp_path))
        monkeypatch.setenv("DEEPCROP_EARTH_ENGINE", server.url)
        server.route("GET", r"/\$discovery/rest", lambda _: json_response(ee_bed.discovery("")))
        found = by_name(doctor.ask_services(doctor.services(), timeout=5))
    assert len(found) == 9
    assert {finding.state for finding in found.values()} == {"ok"}, found
    token = next(iter(bed.tokens.issued))
    assert token not in str(found)


def test_addresses_are_those_of_the_sources():
    urls = [service.url for service in doctor.services()]
    assert urls[0] == "https://phenocam.nau.edu/api/cameras/?limit=1"
    assert "https://planetarycomputer.microsoft.com/api/stac/v1" in urls
    for collection in ("sentinel-2-l2a", "sentinel-1-rtc"):
        url = f"https://planetarycomputer.microsoft.com/api/sas/v1/token/{collection}"
        assert url in urls
    crops = "https://nassgeodata.gmu.edu/axis2/services/CDLService/GetCDLValue?year=2010&x="
    assert any(url.startswith(crops) for url in urls)


def test_a_proxy_that_cannot_be_used_does_not_tell_its_password(monkeypatch):
    monkeypatch.setenv("https_proxy", "gopher://user:SECRET@127.0.0.1:1")
    found = doctor.ask_services(doctor.services(), timeout=1)
    assert {finding.state for finding in found} == {"failed"}
    assert "https_proxy" in found[0].advice
    proxy = by_name(doctor.network())["proxy"]
    assert proxy == Finding("proxy", "ok", "named in https_proxy")
    assert "SECRET" not in str(found)


# Installation and machine ------------------------------------------------------------------------


def test_packages_are_compared_with_what_is_required():
    found = by_name(
        doctor.packages(
            [
                "numpy>=2.0,<3",
                "rasterio>=1.4",
                "httpx>=0.27; extra == 'dask'",
                "pyarrow>=999; extra == 'labels'",
                "no-such-package-here>=1; extra == 'safe'",
                "pytest>=8; extra == 'dev'",
            ]
        )
    )
    assert found["packages"].state == "ok"
    assert found["packages"].detail == "all 2 that are required"
    assert found["extra dask"].detail.startswith("maps as lazy Dask arrays: httpx 0.")
    assert found["extra labels"].state == "missing"
    assert "needed is >=999" in found["extra labels"].detail
    assert found["extra safe"].detail == "no-such-package-here is not installed"
    assert "pip install 'deepcrop[safe]'" in found["extra safe"].advice
    assert found["extra earthengine"].state == "missing"
    assert "extra dev" not in found


def test_every_extra_is_checked():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"docs", "dev"}  # not for users
    assert set(doctor.EXTRAS) == extras
    found = by_name(doctor.packages([]))
    assert {name for name in found if name.startswith("extra ")} == {f"extra {e}" for e in extras}


def test_versions_are_those_of_a_bug_report(monkeypatch):
    requirements = ["numpy>=2.0,<3", "httpx", "no-such-package-here; extra == 'viewer'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: requirements)
    found = doctor.versions()
    assert list(found)[:5] == ["deepcrop", "Python", "platform", "numpy", "httpx"]
    assert found["deepcrop"] == __version__
    assert found["numpy"] == np.__version__
    assert found["no-such-package-here"] == "not installed"
    for library in ("GDAL", "PROJ", "GEOS", "netCDF-C", "HDF5"):
        assert found[library][0].isdigit()


def test_a_core_package_that_is_too_old_or_missing():
    found = by_name(doctor.packages(["numpy>=999", "no-such-package-here", "httpx"]))["packages"]
    assert found.state == "failed"
    assert "numpy is 2." in found.detail
    assert "no-such-package-here is not installed" in found.detail


def test_machine(tmp_path, monkeypatch):
    found = by_name(doctor.machine(tmp_path))
    assert found["kernels"].state == "ok"
    assert "threads" in found["kernels"].detail
    assert "GB free in" in found["disk"].detail
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    (tmp_path / "a.nbi").touch()
    assert "1 compiled kernels kept" in by_name(doctor.machine(tmp_path))["kernels"].detail
    monkeypatch.setattr(doctor, "MIN_DISK", 1e18)
    monkeypatch.setattr(doctor, "MIN_MEMORY", 1e18)
    found = by_name(doctor.machine(tmp_path))
    assert found["disk"].state == "failed"
    assert found.get("memory", found["disk"]).state == "failed"
    assert by_name(doctor.machine(tmp_path / "nothing"))["disk"].state == "failed"


# Credentials -------------------------------------------------------------------------------------


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_no_credentials():
    found = by_name(doctor.credentials())
    assert found["Earth Engine credentials"].state == "missing"
    assert "earthengine authenticate" in found["Earth Engine credentials"].advice
    assert found["Earth Engine project"].state == "missing"
    assert "GOOGLE_CLOUD_PROJECT" in found["Earth Engine project"].advice
    assert found["Planetary Computer key"].detail.startswith("none; needed only if")
    assert found["Copernicus Data Space keys"].state == "missing"
    assert "s3keysmanager.dataspace.copernicus.eu" in found["Copernicus Data Space keys"].advice


def test_the_geoid_for_radar_of_the_copernicus_data_space(tmp_path):
    found = doctor.copernicus_radar()
    if found.state == "ok":
        pytest.skip("PROJ of this machine has the grid")
    assert "projsync --file us_nga_egm08_25.tif" in found.advice
    with ground_range.geoid(tmp_path):
        assert doctor.copernicus_radar().state == "ok"


def test_credentials_are_found_and_not_shown(tmp_path, monkeypatch):
    path = tmp_path / ".config" / "earthengine" / "credentials"
    write(path, {"refresh_token": "SECRET", "client_secret": "SECRET", "project": "my-project"})
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "SECRET")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SECRET")
    half = by_name(doctor.credentials())["Copernicus Data Space keys"]
    assert (half.state, half.detail) == ("failed", "AWS_SECRET_ACCESS_KEY is not set, the other is")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    assert "urs.earthdata" in by_name(doctor.credentials())["NASA Earthdata token"].advice
    monkeypatch.setenv("EARTHDATA_TOKEN", "'SECRET'")
    quoted = by_name(doctor.credentials())["NASA Earthdata token"]
    assert quoted.state == "failed"
    assert "characters that no token has" in quoted.detail
    assert "SECRET" not in str(quoted)
    monkeypatch.setenv("EARTHDATA_TOKEN", "SECRET")
    found = by_name(doctor.credentials())
    assert {finding.state for finding in found.values()} == {"ok"}
    assert "authenticate" in found["Earth Engine credentials"].detail
    assert found["Earth Engine project"].detail == "my-project"
    assert found["Planetary Computer key"].detail == "set"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "other-project")
    assert by_name(doctor.credentials())["Earth Engine project"].detail == "other-project"
    assert "SECRET" not in str(found)


def test_key_files_and_defaults_of_google(tmp_path, monkeypatch):
    key = tmp_path / "key.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    found = by_name(doctor.credentials())["Earth Engine credentials"]
    assert found.state == "failed"
    assert str(key) in found.detail
    write(key, {"type": "service_account", "private_key": "SECRET"})
    found = by_name(doctor.credentials())["Earth Engine credentials"]
    assert found == Finding(found.subject, "ok", "the key file in GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    path = tmp_path / ".config" / "gcloud" / "application_default_credentials.json"
    write(path, {"refresh_token": "SECRET", "quota_project_id": "my-project"})
    found = by_name(doctor.credentials())
    assert "gcloud" in found["Earth Engine credentials"].detail
    assert found["Earth Engine project"].detail == "my-project"
    path.write_text("not JSON")
    assert by_name(doctor.credentials())["Earth Engine credentials"].state == "missing"


def test_certificates(tmp_path, monkeypatch):
    def look():
        return by_name(doctor.network())["certificates"]

    monkeypatch.setenv("GDAL_CURL_CA_BUNDLE", certifi.where())  # as rasterio does
    assert look().detail == "those of the libraries"
    company = tmp_path / "company.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(company))
    assert look().detail == f"no such file: SSL_CERT_FILE={company}"
    company.touch()
    assert look().state == "missing"
    assert look().detail == ("httpx uses SSL_CERT_FILE, requests uses its own, GDAL uses its own")
    monkeypatch.setenv("CURL_CA_BUNDLE", str(company))
    monkeypatch.setenv("GDAL_CURL_CA_BUNDLE", str(company))
    assert look().state == "ok"
    assert look().detail == "named in CURL_CA_BUNDLE, GDAL_CURL_CA_BUNDLE, SSL_CERT_FILE"


def test_everything_at_once(tmp_path, monkeypatch):
    refused = f"http://127.0.0.1:{closed_port()}"
    for name in ("PHENOCAM", "PC", "CDSE", "EARTH_SEARCH", "NASA", "CROPSCAPE", "EARTH_ENGINE"):
        monkeypatch.setenv(f"DEEPCROP_{name}", refused)
    monkeypatch.setenv("PC_SDK_SAS_URL", refused)
    found = by_name(doctor.examine(tmp_path, timeout=2))
    assert list(found)[:2] == ["Python", "deepcrop"]
    for service in doctor.services():
        assert found[service.name].state == "failed"
        assert service.variable in found[service.name].advice
