"""Read and check the specification of `deepcrop ingest`, a YAML file.

Every mistake is a :class:`~deepcrop.errors.SpecError` that begins with the path of the key, for
example ``optical.bands.red``. ``docs/ingest.md`` describes the keys for users.
"""

from __future__ import annotations

import re
import reprlib
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pyproj import CRS
from pyproj.exceptions import CRSError

from deepcrop.errors import SpecError
from deepcrop.storage.documents import parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

ALL_BANDS = "*"
"""Key of ``files`` that stands for every band, if one glob is given for all of them."""


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
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        mistakes = [_describe(e) for e in error.errors()]
        start = "" if len(mistakes) == 1 else f"{len(mistakes)} mistakes:\n  - "
        raise SpecError(start + "\n  - ".join(mistakes)) from None


def _mistake(key: str, text: str) -> PydanticCustomError:
    """Make the error of a mistake at ``key`` of the section that is being checked."""
    # pydantic fills braces in the template, so the text itself is passed as a value.
    return PydanticCustomError("spec", "{text}", {"text": text, "key": key})


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


def _known_crs(text: str) -> str:
    text = f"EPSG:{text}" if text.isdigit() else text
    try:
        CRS.from_user_input(text)
    except CRSError:
        raise _mistake(
            "", f"{text!r} is not a reference system; write an EPSG code, for example EPSG:32631"
        ) from None
    return text


def _known_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise _mistake("", f"{text!r} is not a regular expression: {error}") from None
    return text


Crs = Annotated[str, AfterValidator(_known_crs)]
Globs = Annotated[
    dict[str, str], BeforeValidator(lambda v: {ALL_BANDS: v} if isinstance(v, str) else v)
]


class _Section(BaseModel):
    """A mapping in the specification; unknown keys are rejected."""

    # Numbers become text if a name is expected: `red: 3` is band 3 of a GeoTIFF.
    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, data: Any) -> Any:
        """Reject unknown keys and list the known ones, which `extra="forbid"` does not."""
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise _mistake(str(key), f"unknown key; the keys here are: {known}")
        return data


class Time(_Section):
    """Location of the dates: a time coordinate, or the file names."""

    coordinate: str | None = None
    pattern: Annotated[str, AfterValidator(_known_pattern)] | None = None
    format: str | None = None

    @model_validator(mode="after")
    def _coordinate_or_pattern(self) -> Time:
        given = tuple(v is not None for v in (self.coordinate, self.pattern, self.format))
        if given not in ((True, False, False), (False, True, True)):
            raise _mistake(
                "",
                "give either the name of a time coordinate, or 'pattern' and 'format' that find "
                "the date in the file name",
            )
        return self

    def from_file_name(self, path: Path, section: str) -> np.datetime64:
        """Read the date in a file name.

        Raises
        ------
        SpecError
            If the name has no such date.
        """
        found = re.search(self.pattern or "", path.name)
        if found is None:
            raise SpecError(
                f"{section}.time.pattern: {self.pattern!r} finds nothing in the file name "
                f"'{path.name}'; correct the pattern, or narrow the glob of 'files'."
            )
        text = found.group(1 if found.re.groups else 0)
        try:
            moment = datetime.strptime(text or "", self.format or "")
        except ValueError:
            raise SpecError(
                f"{section}.time.format: {text!r} (from '{path.name}') is not a date of the form "
                f"{self.format!r}; the codes are those of Python's strptime, as %Y%m%d."
            ) from None
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(moment, "ns")


TimeKey = Annotated[Time, BeforeValidator(lambda v: {"coordinate": v} if isinstance(v, str) else v)]


class Mask(_Section):
    """A class raster; pixels whose class is not kept become no data."""

    files: str
    variable: str
    keep: list[int] | None = Field(None, min_length=1)
    drop: list[int] | None = Field(None, min_length=1)
    nodata: float | None = None

    @model_validator(mode="after")
    def _keep_or_drop(self) -> Mask:
        if (self.keep is None) == (self.drop is None):
            raise _mistake("", "give either 'keep' or 'drop', a list of classes")
        return self


class OpticalMask(Mask):
    """A mask that the cube can store as its scene classification."""

    store_as: Literal["scl"] | None = None


class OpticalBands(_Section):
    """Variable name, or band number in a GeoTIFF, of each reflectance."""

    blue: str
    green: str
    red: str
    nir: str
    rededge3: str | None = None


class SarBands(_Section):
    """Variable name, or band number in a GeoTIFF, of each polarisation."""

    vv: str
    vh: str


class _Series(_Section):
    """Keys that optical and radar time series have in common."""

    source: str
    files: Globs
    scale: float = Field(1.0, allow_inf_nan=False)
    offset: float = Field(0.0, allow_inf_nan=False)
    nodata: float | None  # required, since a no-data value of 0 would become dark ground
    time: TimeKey
    crs: Crs | None = None
    bands: _Section

    def names(self) -> dict[str, str]:
        """Map each band of the cube to its variable in the files."""
        return self.bands.model_dump(exclude_none=True)

    @model_validator(mode="after")
    def _files_of_bands(self) -> _Series:
        if self.scale == 0:
            raise _mistake("scale", "must not be 0")
        bands = self.names()
        for band in self.files:
            if band != ALL_BANDS and band not in bands:
                raise _mistake(
                    f"files.{band}", f"is not among the bands of this section: {', '.join(bands)}"
                )
        for band in bands:
            if band not in self.files and ALL_BANDS not in self.files:
                raise _mistake(f"files.{band}", "is missing; every band needs its files")
        return self


class Optical(_Series):
    """Reflectance: ``value = DN * scale + offset``."""

    offset_decision: str
    bands: OpticalBands
    masks: list[OpticalMask] = []

    @model_validator(mode="after")
    def _one_scl(self) -> Optical:
        if sum(mask.store_as is not None for mask in self.masks) > 1:
            raise _mistake("masks", "only one mask can be stored as scl")
        return self


class Sar(_Series):
    """Backscatter: ``DN * scale + offset`` is decibels or linear power."""

    units: Literal["dB", "power"]
    radiometry: Literal["sigma0", "sigma0 from gamma0, approximate"]
    bands: SarBands
    masks: list[Mask] = []
    relative_orbit: str | None = None


class Landcover(_Section):
    """A raster of crop classes without time."""

    source: str | None = None
    files: str
    variable: str
    classes: dict[Annotated[int, Field(ge=1, le=65535)], str]
    nodata: float | None = None
    crs: Crs | None = None


class Grid(_Section):
    """The grid of the cube; what is not given is taken from the first source."""

    crs: Crs | None = None
    bounds: tuple[float, float, float, float] | None = None


class Period(_Section):
    """First and last day to include."""

    start: date | None = None
    end: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Period:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise _mistake("", f"start {self.start} is after end {self.end}")
        return self


class Spec(_Section):
    """A whole specification."""

    name: str
    folder: str = "."
    grid: Grid = Grid()
    time: Period = Period()
    optical: Optical | None = None
    sar: Sar | None = None
    landcover: Landcover | None = None

    @model_validator(mode="after")
    def _has_series(self) -> Spec:
        if self.optical is None and self.sar is None:
            raise _mistake("", "there is neither 'optical' nor 'sar'; give at least one")
        return self
