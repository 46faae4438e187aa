"""Read dates of a time coordinate, in the path of a file, in the description of a band."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop.errors import SpecError
from deepcrop.ingest.spec import YEARS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.ingest.spec import Time

SPANS_FOLDERS = -1
"""Stands for the place of a date whose pattern contains a slash."""

_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_NO_LEAP_DAY = ("noleap", "365_day")
_WRITTEN = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Number of digits -> form of dates that are written as numbers."""
_EXPECTED = (
    "expected CF times (units such as 'seconds since 1970-01-01'), numbers such as 20180504, or "
    "text such as 2018-05-04T10:50:31"
)


# Names ------------------------------------------------------------------------------------------


def date_in_path(time: Time, parts: Sequence[str], section: str) -> tuple[np.datetime64, int]:
    """Find the date in the path of a file: in its name, else in the folder nearest to it.

    Parameters
    ----------
    time : Time
        With a pattern and a format.
    parts : sequence of str
        Folders and name.
    section : str
        Section of the specification, for messages.

    Returns
    -------
    date : datetime64
    place : int
        0 for the file's name, 1 for its folder, 2 for the folder of that, …; `SPANS_FOLDERS`.

    Raises
    ------
    SpecError
        If the path has no such date.
    """
    path = "/".join(parts)
    for place, part in enumerate(reversed(parts)):
        if found := re.search(time.pattern or "", part):
            return _date_of(found, time, section, path), place
    # A pattern may name folder and file, as (\d{8})_L2A/B04. The match nearest to the file counts.
    if matches := list(re.finditer(time.pattern or "", path)):
        return _date_of(matches[-1], time, section, path), SPANS_FOLDERS
    raise SpecError(
        f"{section}.time.pattern: {time.pattern!r} finds nothing in '{path}', neither in the name "
        "of the file nor in those of its folders; correct the pattern, or narrow the glob of "
        "'files'."
    )


def date_in_text(time: Time, text: str, section: str, where: str) -> np.datetime64:
    """Find the date in a text, for example in the description of a band.

    Raises
    ------
    SpecError
        If there is none.
    """
    found = re.search(time.pattern or "", text)
    if found is None:
        raise SpecError(
            f"{section}.time.pattern: {time.pattern!r} finds nothing in {text!r}, {where}; correct "
            "the pattern, or list the dates of the bands in 'time' (dates: [2018-05-04, …])."
        )
    return _date_of(found, time, section, where)


def _date_of(found: re.Match[str], time: Time, section: str, where: str) -> np.datetime64:
    group, form = 1 if found.re.groups else 0, time.format or ""
    text = found.group(group) or ""
    _check_whole(found, group, section, where)
    try:
        moment = datetime.strptime(text, form)  # the zone, if any, is kept
    except ValueError:
        moment = None
    if moment is None or not _is_unambiguous(text, form, moment):
        raise SpecError(
            f"{section}.time.format: {text!r} (from '{where}') is not a date of the form "
            f"{form!r}; the codes are those of Python's strptime, as %Y%m%d, or %Y%j with the day "
            "of the year."
        )
    _check_year(moment.year, f"{section}.time.pattern: {text!r} (from '{where}')")
    return in_utc(moment)


def _check_year(year: int, what: str) -> None:
    """Reject years without satellite images, of which some do not fit into nanoseconds either."""
    if not YEARS[0] <= year <= YEARS[1]:
        raise SpecError(
            f"{what} is of the year {year}; expected dates from {YEARS[0]} to {YEARS[1]}. Correct "
            "the dates, or what says how they are to be read (pattern and format, or units)."
        )


def _check_whole(found: re.Match[str], group: int, section: str, where: str) -> None:
    """Reject digits that are cut out of a longer number, such as 20181122 of 2018112233445.

    That number is 2018, day 112, 23:34:45, as MODIS writes it. A time of day may follow the date.
    """
    first, last = found.span(group)
    before = re.search(r"\d*$", found.string[:first])
    after = re.match(r"\d*", found.string[last:])
    assert before is not None  # both match nothing, too
    assert after is not None
    text = found.group(group) or ""
    if (text[:1].isdigit() and before[0]) or (text[-1:].isdigit() and len(after[0]) in (1, 3, 5)):
        raise SpecError(
            f"{section}.time.pattern: {text!r} is a part of the number "
            f"{before[0] + text + after[0]} (in '{where}'), which does not begin with a date of "
            "this form; let the pattern find the whole date, and give its format (%Y%j: year and "
            "day of the year)."
        )


_DIGITS = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "H": 2, "M": 2, "S": 2}


def _is_unambiguous(text: str, form: str, moment: datetime) -> bool:
    """Whether a text can be read in one way only.

    strptime reads 2018123 as %Y%m%d (3 December), and day 366 of any year as the next 1 January.
    """

    def width(run: re.Match[str]) -> str:
        codes = run[0][1::2]
        return rf"\d{{{sum(_DIGITS[code] for code in codes)}}}" if len(codes) > 1 else ".+"

    pattern = re.sub(rf"(?:%[{''.join(_DIGITS)}])+", width, re.escape(form))
    pattern = re.sub(r"%.", ".+", pattern)
    if "%j" in form and moment.strftime("%Y" if "%Y" in form else "%y") not in text:
        return False
    return re.fullmatch(pattern, text, re.IGNORECASE) is not None


def in_utc(moment: datetime) -> np.datetime64:
    """Convert to UTC; without a zone it is UTC already."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "ns")


# Coordinates ------------------------------------------------------------------------------------


def decode_times(stamps: xr.DataArray, path: Path, section: str) -> NDArray[np.datetime64]:
    """Read a time coordinate: CF times, numbers as 20180504, or text in ISO 8601.

    Raises
    ------
    SpecError
        If they are none of these, some are missing, or their calendar has days that do not exist.
    """
    what = f"{section}.time: '{stamps.name}' in {path}"
    calendar = str(stamps.attrs.get("calendar", "standard")).lower()
    if calendar not in (*_CALENDARS, *_NO_LEAP_DAY):
        raise SpecError(
            f"{what} is in the calendar {calendar!r}, whose days are not those of satellite images;"
            " convert it (xarray: data.convert_calendar('standard'))."
        )
    variable = (stamps if stamps.dims else stamps.expand_dims("time")).variable
    # Decoding also joins characters to text.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)  # years are checked below
            values = xr.decode_cf(xr.Dataset({"time": variable}))["time"].values
    except (ValueError, OverflowError):  # units that are no units of time, or dates beyond reason
        values = np.asarray(variable.values)
    if values.dtype.kind == "M":
        for year in np.unique(values[~np.isnat(values)].astype("datetime64[Y]").astype(int)):
            _check_year(1970 + int(year), what)
        times = values.astype("datetime64[ns]")
    elif values.dtype.kind in "iuf":
        times = _from_numbers(values, stamps.attrs.get("units"), what)
    else:
        times = np.array([_from_text(value, what) for value in values.ravel()], "datetime64[ns]")
    if np.isnat(times).any():
        raise SpecError(
            f"{what} lacks {int(np.isnat(times).sum())} of {times.size} times; give every scene "
            "its date, or take the scenes without one out of the file."
        )
    return times


def _from_numbers(values: NDArray[Any], units: Any, what: str) -> NDArray[np.datetime64]:
    """Read dates that are written as numbers; a fraction is that of the day."""
    example = values.ravel()[0] if values.size else "nothing"
    unusual = SpecError(
        f"{what} holds no CF times: it holds {example} (units {units!r}); {_EXPECTED}."
    )
    if units is not None and "%Y%m%d" not in str(units) and str(units) not in ("1", ""):
        raise unusual
    times = []
    for value in values.ravel().tolist():
        try:
            whole = int(value)
            moment = datetime.strptime(str(whole), _WRITTEN[len(str(whole))])
        except (ValueError, KeyError, OverflowError):
            raise unusual from None
        if not YEARS[0] <= moment.year <= YEARS[1]:
            raise unusual
        seconds = round((value - whole) * 86400)
        times.append(np.datetime64(moment, "ns") + np.timedelta64(seconds, "s"))
    return np.array(times, "datetime64[ns]")


def _from_text(value: Any, what: str) -> np.datetime64:
    """Read one date in ISO 8601, or of another calendar."""
    if hasattr(value, "isoformat"):  # a cftime object; a year without leap day has no other days
        value = value.isoformat()
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    try:
        moment = datetime.fromisoformat(text.strip(" \0"))
    except ValueError:
        raise SpecError(f"{what} holds no CF times: it holds {text!r}; {_EXPECTED}.") from None
    _check_year(moment.year, what)
    return in_utc(moment)
