"""Make addresses at which the files of an archive can be read: open, with a token, or signed.

An item of a STAC archive names its files by addresses that not everybody may read. `Access` turns
such an address into one that can be requested now. Tokens, keys and signatures are made just before
reading; they are never part of an item, of a plan on disk, or of an error message.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit

import planetary_computer
import planetary_computer.sas
from planetary_computer.settings import Settings

from deepcrop.errors import MALFORMED
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import Refused, redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY, SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
"""Environment variables with the keys of an S3 storage, as GDAL and Amazon's tools name them."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")

S3_LIFETIME = timedelta(hours=2)
"""Time for which a signed address is valid, from the full hour at which it is dated."""


class Access(Protocol):
    """How the files of an archive are read; any number of threads may use it."""

    @property
    def gdal(self) -> Mapping[str, Any]:
        """Options of GDAL that reading needs."""
        ...

    @property
    def advice(self) -> str:
        """What to do if the server refuses a file, as a sentence."""
        ...

    @property
    def bytes_for_length(self) -> int:
        """Bytes that arrive when GDAL asks for the length of a file; 0 if it asks with HEAD."""
        ...

    def headers(self, address: str) -> dict[str, str]:
        """Headers that a request of an address needs."""
        ...

    def check(self) -> None:
        """Check that everything is there to make an address.

        Raises
        ------
        ArchiveError
            If keys or tokens are missing; the message says where to get them.
        """
        ...

    def address(self, href: str, tries: int, pause: float) -> str:
        """Make the web address of a file that can be requested now.

        Parameters
        ----------
        href : str
            Address in the item.
        tries, pause : int, float
            Number of attempts of a request for a token, and seconds before the second.

        Raises
        ------
        SceneError
            If the item names no file that this archive could serve.
        ArchiveError
            If no address can be made.
        """
        ...

    def forget(self, address: str) -> bool:
        """Drop what made an address that was refused; whether another attempt makes sense."""
        ...


def web_address(href: str) -> str:
    """Return an address as it is if it leads to the web; GDAL would also read local files.

    Raises
    ------
    SceneError
        If it is no web address.
    """
    if urlsplit(href).scheme not in ("http", "https"):
        raise SceneError(f"'{redact_url(href)}' is no web address.")
    return href


@dataclass(frozen=True)
class OpenAccess:
    """Files that everybody may read."""

    gdal: Mapping[str, Any] = field(default_factory=dict)
    advice: str = "Check whether the archive asks for a key."
    bytes_for_length: int = 0

    def headers(self, _address: str) -> dict[str, str]:
        """Return none."""
        return {}

    def check(self) -> None:
        """Nothing is needed."""

    def address(self, href: str, _tries: int, _pause: float) -> str:
        """Return the address as it is."""
        return web_address(href)

    def forget(self, _address: str) -> bool:
        """Return False: nothing made the address, so another attempt is refused, too."""
        return False


@dataclass(frozen=True)
class PlanetaryTokens:
    """Files in Azure blob storage, with tokens from Planetary Computer.

    The token service is the one that planetary-computer uses (``PC_SDK_SAS_URL``); tokens are
    renewed a minute before they expire, and when the storage refuses one.
    """

    gdal: Mapping[str, Any] = field(default_factory=dict)
    advice: str = "Check whether the archive asks for a key."
    bytes_for_length: int = 0
    _lock: threading.Lock = field(repr=False, compare=False, default_factory=threading.Lock)

    def headers(self, _address: str) -> dict[str, str]:
        """Return none: the token is part of the address."""
        return {}

    def check(self) -> None:
        """Nothing is needed: the service gives tokens to everybody, if it does."""

    def address(self, href: str, tries: int, pause: float) -> str:
        """Add a token to an address; the same token serves for about an hour.

        Raises
        ------
        ArchiveError
            If the token service does not answer, or gives no token.
        """
        place = _blob(web_address(href))
        try:
            with self._lock:  # one request for a token, however many threads need it
                if place is not None:
                    planetary_computer.sas.get_token(*place, tries, pause / 2)
                return str(planetary_computer.sign(href))
        # Errors of requests are OSErrors; an answer without a token is a ValueError.
        except (OSError, *MALFORMED) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            kind = Refused if status in (401, 403) else ArchiveError
            raise kind(
                f"{Settings.get().sas_url} gives no token to read {redact_url(href)} "
                f"({type(error).__name__}{f', status {status}' if status else ''}). Try again "
                "later; if it refuses, set a key in PC_SDK_SUBSCRIPTION_KEY."
            ) from None

    def forget(self, address: str) -> bool:
        """Drop the token of an address, unless another thread has renewed it already."""
        cache = planetary_computer.sas.TOKEN_CACHE
        with self._lock:
            for url, token in list(cache.items()):
                if address.endswith(token.token):
                    del cache[url]
        return True


@dataclass(frozen=True)
class S3Keys:
    """Files in an S3 storage, with the user's keys from the environment.

    Addresses are signed for one file, one method (GET) and two hours (Signature Version 4 in the
    query), so that GDAL and other clients read them without knowing the keys. Within an hour the
    same file has the same address, so that GDAL finds again what it has read of it.

    Attributes
    ----------
    endpoint : str
        Web address of the storage; the bucket is the first part of the path.
    archive : str
        Name of the archive, for messages.
    source : str
        Where the user gets keys, as an instruction.
    region : str
        Region that is part of the signature.
    """

    endpoint: str
    archive: str
    source: str
    region: str = "default"

    @property
    def gdal(self) -> Mapping[str, Any]:
        """A signature is valid for GET only, so GDAL must not ask with HEAD."""
        return {"CPL_VSIL_CURL_USE_HEAD": "NO"}

    @property
    def bytes_for_length(self) -> int:
        """GDAL asks for the whole file and hangs up at the first bytes: what is on the way then."""
        return 32768  # measured on the loopback, of a file of 40 MB

    @property
    def advice(self) -> str:
        """Keys that are refused have expired, or belong to another storage."""
        return (
            f"The storage does not accept the keys in {KEY} and {SECRET}: they are mistyped, "
            f"expired, or of another S3 service. {self.source}"
        )

    def headers(self, _address: str) -> dict[str, str]:
        """Return none: the signature is part of the address."""
        return {}

    def check(self) -> None:
        """Check that both keys are set.

        Raises
        ------
        ArchiveError
            If one is missing.
        """
        missing = [name for name in (KEY, SECRET) if not os.environ.get(name, "").strip()]
        if missing:
            raise ArchiveError(
                f"{self.archive} gives its files to holders of keys only, and "
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set. "
                f"{self.source}"
            )

    def address(self, href: str, _tries: int, _pause: float) -> str:
        """Sign the address of a file, ``s3://bucket/key``.

        Raises
        ------
        SceneError
            If the item names a file anywhere else.
        ArchiveError
            If a key is missing.
        """
        parts = urlsplit(href)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise SceneError(f"'{redact_url(href)}' is no file of an S3 storage (s3://…).")
        self.check()
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        return presign(
            f"{self.endpoint}/{parts.netloc}{parts.path}",
            os.environ[KEY].strip(),
            os.environ[SECRET].strip(),
            self.region,
            now,
            S3_LIFETIME,
        )

    def forget(self, _address: str) -> bool:
        """Return False: the same keys would be refused again."""
        return False


@dataclass(frozen=True)
class BearerToken:
    """Files and an API for holders of a token, which is sent in the header ``Authorization``.

    Attributes
    ----------
    variable : str
        Environment variable with the token.
    hosts : tuple of str
        Hosts that get the token; files elsewhere are read without it.
    archive : str
        Name of the archive, for messages.
    """

    variable: str
    hosts: tuple[str, ...]
    archive: str
    gdal: Mapping[str, Any] = field(default_factory=dict)
    bytes_for_length: int = 0

    @property
    def advice(self) -> str:
        """A token that is refused has expired, or is not sent to this host."""
        return (
            f"{self.archive} sends the token in {self.variable} to {', '.join(self.hosts)} only: "
            "renew it, or add the host to token_hosts."
        )

    def headers(self, address: str) -> dict[str, str]:
        """Return the token for the hosts that may have it."""
        self.check()
        if urlsplit(address).netloc not in self.hosts:
            return {}
        return {"Authorization": f"Bearer {os.environ[self.variable].strip()}"}

    def check(self) -> None:
        """Check that there is a token.

        Raises
        ------
        ArchiveError
            If it is missing, or has characters that no token has.
        """
        token = os.environ.get(self.variable, "").strip()
        if not token:
            raise ArchiveError(
                f"{self.archive} names a token in {self.variable}, which is not set. Set it to the "
                "token of your account."
            )
        if not _TOKEN.fullmatch(token):
            raise ArchiveError(
                f"The token in {self.variable} has characters that no token has (letters, digits "
                "and -._~+/= are allowed)."
            )

    def address(self, href: str, _tries: int, _pause: float) -> str:
        """Return the address as it is."""
        return web_address(href)

    def forget(self, _address: str) -> bool:
        """Return False: the same token would be refused again."""
        return False


def presign(
    url: str, key: str, secret: str, region: str, moment: datetime, lifetime: timedelta
) -> str:
    """Sign the address of an S3 object for GET requests (AWS Signature Version 4, in the query).

    Parameters
    ----------
    url : str
        Address of the object, with the key as it is, not percent-encoded.
    key, secret : str
        Access key and secret key.
    region : str
        Region of the storage.
    moment : datetime
        Start of validity, UTC.
    lifetime : timedelta
        Time for which the address is valid.
    """
    parts = urlsplit(url)
    path = quote(parts.path, safe="/-_.~")
    stamp = f"{moment:%Y%m%dT%H%M%SZ}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    query = urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{key}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(int(lifetime.total_seconds())),
            "X-Amz-SignedHeaders": "host",
        },
        quote_via=quote,
        safe="",
    )
    request = f"GET\n{path}\n{query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    signed = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode()
    chain = f"AWS4{secret}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        chain = hmac.digest(chain, part.encode(), "sha256")
    signature = hmac.digest(chain, signed, "sha256").hex()
    return f"{parts.scheme}://{parts.netloc}{path}?{query}&X-Amz-Signature={signature}"


def _blob(href: str) -> tuple[str, str] | None:
    """Split an address in Azure blob storage into account and container; None for others."""
    parts = urlsplit(href)
    host, path = parts.netloc, parts.path.strip("/").split("/")
    if not host.endswith(planetary_computer.sas.BLOB_STORAGE_DOMAIN):
        return None
    return host.split(".")[0], path[0]
