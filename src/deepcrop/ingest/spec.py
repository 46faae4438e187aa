"""Keys of the specification of `deepcrop ingest`, and which values they take.

``docs/ingest.md`` describes the keys for users.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pyproj import CRS
from pyproj.exceptions import CRSError

from deepcrop.grid.buffers import LARGEST_BUFFER

ALL_BANDS = "*"
"""Key of ``files`` that stands for every band, if one glob is given for all of them."""


def _mistake(key: str, text: str) -> PydanticCustomError:
    """Make the error of a mistake at ``key`` of the section that is being checked."""
    # pydantic fills braces in the template, so the text itself is passed as a value.
    return PydanticCustomError("spec", "{text}", {"text": text, "key": key})


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


def _as_numbers(value: Any) -> Any:
    """Make a list of one or several no-data values; None is none."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _no_infinity(numbers: tuple[float, ...]) -> tuple[float, ...]:
    if any(math.isinf(number) for number in numbers):
        raise _mistake(
            "",
            "holds a number that is infinite or larger than any that a file can hold; NaN and "
            "infinity always mean no data, so write the finite fill value, or null if none",
        )
    return numbers


NoData = Annotated[tuple[float, ...], BeforeValidator(_as_numbers), AfterValidator(_no_infinity)]
"""The stored numbers that mean no data."""


def _as_dated(value: Any) -> Any:
    """Make a list of dated offsets of one number."""
    return value if isinstance(value, list | tuple) else [{"value": value}]


Crs = Annotated[str, AfterValidator(_known_crs)]
PixelCoordinates = Literal["centre", "corner"]
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
            names = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in names:
                    known = ", ".join(names)
                    raise _mistake(str(key), f"unknown key; the keys here are: {known}")
        return data


YEARS = 1970, 2100
"""First and last year of satellite images; other dates are misread numbers."""


def _moment(value: Any) -> datetime:
    """Read a date, maybe with a time of day, as YAML gives it or as text in ISO 8601."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # UTC, as everywhere
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise _mistake("", f"{value!r} is not a date such as 2018-05-04") from None
    if not YEARS[0] <= moment.year <= YEARS[1]:
        raise _mistake(
            "",
            f"{moment.date()} is not from {YEARS[0]} to {YEARS[1]}, as satellite images are; "
            "correct it, or leave it out",
        )
    return moment


def _day(value: Any) -> Any:
    """Read a day; a number would count as seconds since 1970."""
    if value is None:
        return None
    moment = _moment(value)
    if moment != datetime(moment.year, moment.month, moment.day):
        raise _mistake("", f"{value!r} has a time of day; expected a day such as 2018-05-04")
    return moment.date()


Day = Annotated[date, BeforeValidator(_day)]


class Time(_Section):
    """Location of the dates: a coordinate, names of files, folders or bands, or a list."""

    coordinate: str | None = None
    pattern: Annotated[str, AfterValidator(_known_pattern)] | None = None
    format: str | None = None
    dates: list[Annotated[datetime, BeforeValidator(_moment)]] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one_form(self) -> Time:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if given not in ({"coordinate"}, {"pattern", "format"}, {"dates"}):
            raise _mistake(
                "",
                "give either the name of a time coordinate, or 'pattern' and 'format' that find "
                "the date in the name of the file, of a folder or of a band, or the list 'dates'",
            )
        if self.dates is not None and len(set(self.dates)) < len(self.dates):
            raise _mistake("dates", "a date occurs twice; each band needs its own")
        return self


TimeKey = Annotated[Time, BeforeValidator(lambda v: {"coordinate": v} if isinstance(v, str) else v)]


class Variable(_Section):
    """Variable of a NetCDF or Zarr file, or band number of a GeoTIFF.

    ``name`` may begin with the groups of the file, as ``measurements/r10m/b04``; ``select`` chooses
    a label in each dimension besides time, y and x.
    """

    name: str
    select: dict[str, str] = {}


VariableKey = Annotated[
    Variable,
    BeforeValidator(lambda v: v if isinstance(v, dict | Variable) else {"name": v}),
]


class BitTest(NamedTuple):
    """Bits of a number, from the lowest (0), and what they hold together in pixels to leave out."""

    first: int
    length: int
    value: int


def _bit_test(value: Any) -> BitTest:
    """Read a test: ``3`` (this bit is 1), or ``6-7=3`` (these bits together hold 3)."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?(?:=(\d+))?", str(value).replace(" ", ""))
    if found is None:
        raise _mistake("", f"{value!r} is not a bit; write 3, or '6-7=3' for two bits that hold 3")
    first, last, held = (None if text is None else int(text) for text in found.groups())
    assert first is not None  # the pattern needs it
    last = first if last is None else last
    if held is None and last > first:
        raise _mistake("", f"{value!r} does not say what the bits hold; write '{first}-{last}=3'")
    test = BitTest(first, last - first + 1, 1 if held is None else held)
    if not (first <= last < 64 and test.value < 2**test.length):
        raise _mistake("", f"{value!r}: {test.length} bits cannot hold {test.value}")
    return test


class Mask(_Section):
    """A class raster; pixels whose class is not kept become no data."""

    files: str
    variable: VariableKey
    keep: list[int] | None = Field(None, min_length=1)
    drop: list[int] | None = Field(None, min_length=1)
    drop_bits: list[Annotated[BitTest, BeforeValidator(_bit_test)]] | None = Field(
        None, min_length=1
    )
    nodata: NoData = ()
    buffer: Annotated[float, Field(ge=0, le=LARGEST_BUFFER)] = 0.0

    @model_validator(mode="after")
    def _keep_or_drop(self) -> Mask:
        if self.buffer and self.keep is not None:
            raise _mistake(
                "buffer",
                "a buffer lies around what 'drop' or 'drop_bits' names, cloud and shadow, and not "
                "around all that 'keep' does not name; write 'drop' instead",
            )
        if sum(given is not None for given in (self.keep, self.drop, self.drop_bits)) != 1:
            raise _mistake(
                "",
                "give either 'keep' or 'drop', a list of classes, or 'drop_bits', a list of bits",
            )
        return self


class OpticalMask(Mask):
    """A mask that the cube can store as its scene classification."""

    store_as: Literal["scl"] | None = None

    @model_validator(mode="after")
    def _bits_are_no_classes(self) -> OpticalMask:
        if self.store_as is not None and self.drop_bits is not None:
            raise _mistake("store_as", "the cube keeps classes, and 'drop_bits' reads bits")
        return self


class OpticalBands(_Section):
    """Variable name, or band number in a GeoTIFF, of each reflectance."""

    blue: VariableKey
    green: VariableKey
    red: VariableKey
    nir: VariableKey
    rededge3: VariableKey | None = None


class SarBands(_Section):
    """Variable name, or band number in a GeoTIFF, of each polarisation."""

    vv: VariableKey
    vh: VariableKey


class DatedOffset(_Section):
    """An offset, and the first day on which it holds."""

    start: Day | None = Field(None, alias="from")
    value: float = Field(ge=-1e6, le=1e6)


_SCALES = 1e-9, 1e6


class _Series(_Section):
    """Keys that optical and radar time series have in common."""

    source: str
    files: Globs
    scale: float = Field(1.0, allow_inf_nan=False)
    offset: Annotated[tuple[DatedOffset, ...], BeforeValidator(_as_dated)] = ()
    nodata: NoData  # required, since a no-data value of 0 would become dark ground
    time: TimeKey
    crs: Crs | None = None
    pixel_coordinates: PixelCoordinates | None = None
    bands: _Section

    def names(self) -> dict[str, Variable]:
        """Map each band of the cube to its variable in the files."""
        return {name: variable for name, variable in self.bands if variable is not None}

    @property
    def is_of_one_convention(self) -> bool:
        """Whether the user states, by one offset with a day, that all numbers have it."""
        return len(self.offset) == 1 and self.offset[0].start is not None

    @model_validator(mode="after")
    def _files_of_bands(self) -> _Series:
        if self.scale <= 0:
            raise _mistake("scale", f"is {self.scale:g}; must not be 0 or negative")
        if not _SCALES[0] <= self.scale <= _SCALES[1]:
            raise _mistake(
                "scale",
                f"is {self.scale:g}; expected {_SCALES[0]:g} to {_SCALES[1]:g}, for example 0.0001 "
                "for integers that mean reflectance, 1 for reflectance or power as it is",
            )
        starts = [offset.start or date.min for offset in self.offset]
        if starts != sorted(set(starts)):
            raise _mistake(
                "offset", "the days of 'from' must increase; only the first may be without 'from'"
            )
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


class Incidence(_Section):
    """A raster of incidence angles without time: number × ``scale`` is degrees."""

    files: str
    variable: VariableKey
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    nodata: float | None = None
    crs: Crs | None = None


class Sar(_Series):
    """Backscatter: ``DN * scale + offset`` is decibels or linear power."""

    units: Literal["dB", "power"]
    radiometry: Literal["sigma0", "gamma0", "sigma0 from gamma0, approximate"]
    incidence: Annotated[float, Field(gt=15, lt=60)] | Incidence | None = None
    bands: SarBands
    masks: list[Mask] = []
    relative_orbit: str | None = None

    @model_validator(mode="after")
    def _angles_of_gamma0(self) -> Sar:
        if self.radiometry == "gamma0" and self.incidence is None:
            raise _mistake(
                "incidence",
                "is missing; gamma0 is converted to sigma0 with incidence angles: give the files "
                "and the variable of the raster, or one number of degrees for the whole area (39 "
                "in the middle of Sentinel-1's swath), which is approximate",
            )
        if self.radiometry != "gamma0" and self.incidence is not None:
            raise _mistake("incidence", f"converts gamma0, and radiometry is {self.radiometry!r}")
        return self


def flag_meaning(name: str) -> str:
    """Name of a crop as one word, as CF ``flag_meanings`` needs it."""
    return "_".join(name.split())


class Landcover(_Section):
    """A raster of crop classes without time."""

    source: str | None = None
    files: str
    variable: VariableKey
    classes: dict[Annotated[int, Field(ge=1, le=65535)], str]
    nodata: NoData = ()
    crs: Crs | None = None
    pixel_coordinates: PixelCoordinates | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Landcover:
        seen = {"unknown": 0}  # the name of code 0
        for code, name in self.classes.items():
            word = flag_meaning(name)
            if not word:
                raise _mistake("classes", f"code {code} has an empty name; give it one")
            if word in seen:
                raise _mistake(
                    "classes",
                    f"{name!r} is the name of both {seen[word]} and {code}; statistics are by "
                    "name, so give each code its own",
                )
            seen[word] = code
        return self


class Grid(_Section):
    """The grid of the cube; what is not given is taken from the first source."""

    crs: Crs | None = None
    bounds: tuple[float, float, float, float] | None = None


class Period(_Section):
    """First and last day to include."""

    start: Day | None = None
    end: Day | None = None

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
