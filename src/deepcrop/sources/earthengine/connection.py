"""Connect the earthengine library, send its requests, and say what a refusal means."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from deepcrop._version import __version__
from deepcrop.sources.archive import ArchiveError

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "https://earthengine-highvolume.googleapis.com"
"""Earth Engine's endpoint for many small requests by programs; the environment variable
DEEPCROP_EARTH_ENGINE sets another address."""

T = TypeVar("T")

_TIMEOUT = 180.0  # seconds without an answer

_ACCOUNT = (
    "Register a project at https://console.cloud.google.com/earth-engine, run 'earthengine "
    "authenticate' once (or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
    "account), and name the project in GOOGLE_CLOUD_PROJECT or by 'earthengine set_project'."
)


def connect(address: str, project: str | None) -> None:
    """Connect the earthengine library.

    `ee.Initialize` would also fetch the list of algorithms, and deprecated assets from another
    server; reading stored pixels needs neither.
    """
    try:
        import ee
        from google.auth.credentials import AnonymousCredentials
    except ImportError:
        raise ArchiveError(
            "Google Earth Engine needs 'pip install deepcrop[earthengine]'."
        ) from None
    host = urlsplit(address).hostname or ""
    credentials: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    if host.endswith(".googleapis.com"):
        label = "Earth Engine's credentials"
        credentials = send_request(ee.data.get_persistent_credentials, label, _no_account)
    project = project or os.environ.get("GOOGLE_CLOUD_PROJECT") or credentials.quota_project_id
    if not project:
        raise ArchiveError(f"Earth Engine needs a Google Cloud project. {_ACCOUNT}")

    def initialize() -> None:
        ee.data.setUserAgent(f"deepcrop/{__version__}")
        ee.data.initialize(credentials, cloud_api_base_url=address, project=project)
        ee.data.setDeadline(_TIMEOUT * 1000)

    send_request(initialize, f"Earth Engine at {address}", ArchiveError)


def _no_account(_: str) -> ArchiveError:
    return ArchiveError(f"There are no valid credentials for Earth Engine. {_ACCOUNT}")


def send_request(send: Callable[[], T], label: str, failure: Callable[[str], Exception]) -> T:
    """Send a request; the library itself retries after 429, 5xx and broken connections.

    Parameters
    ----------
    send : callable
        Sends the request.
    label : str
        Name of the request, for messages.
    failure : callable
        Makes the exception from the message, if only this request has failed.

    Raises
    ------
    ArchiveError
        If Earth Engine cannot be reached, refuses, or the quota is used up.
    """
    from ee import EEException
    from google.auth.exceptions import GoogleAuthError
    from googleapiclient.errors import Error as ClientError  # type: ignore[import-untyped]

    try:
        return send()
    except (EEException, ClientError) as error:
        # The library keeps only the server's message; the status is in the original error.
        source = error if isinstance(error, ClientError) else error.__context__
        status = getattr(getattr(source, "resp", None), "status", None)
        raise _refusal(label, status, _reason(error), failure) from None
    except GoogleAuthError as error:
        raise ArchiveError(
            f"{label}: the credentials are not accepted ({type(error).__name__}). {_ACCOUNT}"
        ) from None
    except OSError as error:
        raise ArchiveError(
            f"{label}: no answer ({type(error).__name__}). Check the connection, or try again "
            "later."
        ) from None
    except (ValueError, EOFError):  # JSON, or an array, that ends too early
        raise failure(f"{label}: the answer is damaged. Try again later.") from None


def _reason(error: Exception) -> str:
    reason = (getattr(error, "reason", None) or str(error)).strip()
    return reason[:300] or "no reason given"  # a reason may quote a whole answer


def _refusal(
    label: str, status: int | None, reason: str, failure: Callable[[str], Exception]
) -> Exception:
    text = f"{label}: {reason}"
    if status in (401, 403):
        return ArchiveError(f"{text} (status {status}). {_ACCOUNT}")
    if status == 429:
        return ArchiveError(
            f"{text} (status 429). The quota of the project is used up, or too many requests run "
            "at once: try again later, or with fewer threads."
        )
    if status == 503:
        return ArchiveError(f"{text} (status 503). Try again later.")
    return failure(text if status is None else f"{text} (status {status}).")
