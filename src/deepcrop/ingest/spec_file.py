"""Read and check the specification of `deepcrop ingest`, a YAML file.

Every mistake is a :class:`~deepcrop.errors.SpecError` that begins with the path of the key, for
example ``optical.bands.red``.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from deepcrop.errors import SpecError
from deepcrop.ingest.spec import Spec
from deepcrop.storage.documents import parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails


def load_spec(path: Path) -> Spec:
    """Read a specification and check it.

    Raises
    ------
    SpecError
        With each key that is wrong; the caller adds the name of the file.
    """
    try:
        data = parse_yaml(path)
    except OSError as error:
        raise SpecError(
            f"cannot be read ({error.strerror}); expected a YAML specification."
        ) from error
    except ValueError as error:
        raise SpecError(f"is not valid YAML: {error}.") from None
    if not isinstance(data, dict):
        raise SpecError("is empty or not a mapping; expected keys such as 'name' and 'optical'.")
    _reject_booleans(data, ())
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        mistakes = [_describe(e) for e in error.errors()]
        start = "" if len(mistakes) == 1 else f"{len(mistakes)} mistakes:\n  - "
        raise SpecError(start + "\n  - ".join(mistakes)) from None


def _reject_booleans(value: Any, keys: tuple[str, ...]) -> None:
    """Reject true and false, which no key takes; they would count as the numbers 1 and 0."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(key, bool) or isinstance(part, bool):
            found = str(key if isinstance(key, bool) else part).lower()
            raise SpecError(
                f"{'.'.join((*keys, str(key).lower()))}: found {found}; no key is or takes true or "
                "false. YAML reads yes, no, on and off as these: quote words, write numbers as "
                "numbers."
            )
        if isinstance(part, dict | list):
            _reject_booleans(part, (*keys, str(key)))


def _describe(error: ErrorDetails) -> str:
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    if error["type"] == "spec":
        parts += [error["ctx"]["key"]] if error["ctx"]["key"] else []
        text = error["msg"]
    elif error["type"] == "missing":
        text = "is missing"
    else:
        text = f"{error['msg'][0].lower()}{error['msg'][1:]}; found {reprlib.repr(error['input'])}"
    return f"{'.'.join(parts)}: {text}." if parts else f"{text}."
