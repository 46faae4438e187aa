"""Convert stored numbers to the unit of the cube, and decide what is no data, before resampling.

A fill value that nobody declared, or radar power of zero outside of the swath, would otherwise be
averaged with the measurements beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.cube.possible import (
    POSSIBLE,
    commonest,
    is_impossible,
    is_one_value,
    percent,
    too_many,
)
from deepcrop.errors import SpecError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.ingest.spec import DatedOffset

FILLS = (-9999, -999, -99999, -32768, -32767, 32767, 65535)
"""Numbers that files often hold where they have no data."""

_LEAST_POWER = 1e-9  # -90 dB: less than any radar measures, the floor that programs add to zero
_HUGE = 1e30  # of this size are only fill values, which are printed with fewer digits than stored
_KEPT = 100_000  # impossible values that are kept to find the cause


@dataclass(frozen=True)
class Conversion:
    """Meaning of the stored numbers of a variable.

    Attributes
    ----------
    variable : str
        Variable of the cube.
    section : str
        Section of the specification, for messages.
    kind : str
        ``"reflectance"``, ``"dB"``, ``"power"`` or ``"class"``.
    scale : float
    offsets : tuple of DatedOffset
        Offset in the unit of the cube, and the day from which on it holds.
    nodata : tuple of float
        Stored numbers that mean no data.
    """

    variable: str
    section: str
    kind: str
    scale: float = 1.0
    offsets: tuple[DatedOffset, ...] = ()
    nodata: tuple[float, ...] = ()

    def offset_at(self, times: NDArray[np.datetime64]) -> NDArray[np.float32]:
        """Find the offset of each time; 0 before the first day."""
        result = np.zeros(times.shape, np.float32)
        for offset in self.offsets:
            if offset.start is None:
                result[:] = offset.value
            else:
                result[times >= np.datetime64(offset.start)] = offset.value
        return result

    def convert(
        self, stored: NDArray[Any], times: NDArray[np.datetime64], census: Census
    ) -> NDArray[np.float32]:
        """Convert (time, y, x), NaN where there is no data; impossible values are counted."""
        values = stored.astype(np.float32)
        if self.kind != "class":
            with np.errstate(over="ignore"):
                values *= np.float32(self.scale)
            values += self.offset_at(times)[:, None, None]
        missing = ~np.isfinite(values) | self._is_nodata(stored)
        if self.kind == "class":
            return np.where(missing, np.float32(np.nan), values)
        census.count(self, stored, values, missing)
        if self.kind == "power":
            missing |= values < _LEAST_POWER
        missing |= self._impossible(values)
        return np.where(missing, np.float32(np.nan), values)

    def _is_nodata(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        found = np.zeros(stored.shape, bool)
        for nodata in self.nodata:
            if stored.dtype.kind != "f":
                found |= stored == nodata
            elif abs(nodata) >= _HUGE:
                with np.errstate(over="ignore", invalid="ignore"):
                    found |= np.abs(stored / stored.dtype.type(nodata) - 1) < 0.01
            else:  # rounded like the numbers of the file
                found |= stored == stored.dtype.type(nodata)
        return found

    def _impossible(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        if self.kind == "power":
            found: NDArray[np.bool_] = values > 10 ** (POSSIBLE[self.variable][1] / 10)
            return found
        return is_impossible(self.variable, values)


@dataclass
class Census:
    """Counts of the values of a variable in a tile, over all its files and times."""

    valid: int = 0
    impossible: int = 0
    stored: list[NDArray[Any]] = field(default_factory=list)  # impossible ones
    values: list[NDArray[np.float32]] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)  # of all valid values, by batch
    negative: int = 0  # power that could be decibels
    positive: int = 0
    fills: dict[float, tuple[int, int]] = field(default_factory=dict)  # number, and that beside

    def count(
        self,
        conversion: Conversion,
        stored: NDArray[Any],
        values: NDArray[np.float32],
        missing: NDArray[np.bool_],
    ) -> None:
        """Count what a batch holds."""
        there = ~missing
        if not there.any():
            return
        known, numbers = values[there], stored[there]
        if conversion.kind == "power":
            self.negative += int(((known < -0.5) & (known > -100)).sum())
            self.positive += int((known > 0).sum())
            known, numbers = known[known > 0], numbers[known > 0]
            if known.size == 0:
                return
        self.valid += known.size
        self.medians.append(float(np.median(known)))
        wrong = conversion._impossible(known)
        if wrong.any():
            self.impossible += int(wrong.sum())
            if sum(part.size for part in self.stored) < _KEPT:
                self.stored.append(numbers[wrong][:_KEPT])
                self.values.append(known[wrong][:_KEPT])
        numbers = numbers[~wrong]
        for fill in {float(n) for n in (numbers.min(), numbers.max())} if numbers.size else ():
            if fill in FILLS:
                many = int((numbers == fill).sum())
                beside = int((np.abs(numbers.astype(np.float64) - fill) <= 10).sum()) - many
                before = self.fills.get(fill, (0, 0))
                self.fills[fill] = before[0] + many, before[1] + beside

    def check(self, conversion: Conversion) -> None:
        """Reject a variable of which too many values are impossible, or one is a fill value.

        Raises
        ------
        SpecError
            With the key, the share of the values, an example and the likely cause.
        """
        section, name = conversion.section, conversion.variable
        if conversion.kind == "power" and self.negative > self.positive:
            raise SpecError(
                f"{section}.units: 'power', but most numbers of '{name}' are negative, and power "
                "is positive; these look like decibels, write units: dB."
            )
        if too_many(self.impossible, self.valid):
            raise SpecError(self._impossible(conversion))
        for fill, (many, beside) in self.fills.items():
            # A number that stands alone: measured numbers have neighbours that are as frequent.
            if too_many(many, self.valid) and many > beside:
                raise SpecError(
                    f"{section}.nodata: {percent(many / self.valid)} of the numbers of '{name}' "
                    f"are {fill:g}, and hardly any is near it: this looks like a fill value. "
                    f"{_add(conversion, fill)}"
                )

    def _impossible(self, conversion: Conversion) -> str:
        section, name = conversion.section, conversion.variable
        low, high = POSSIBLE[name]
        unit = "reflectance" if conversion.kind == "reflectance" else "dB"
        if conversion.kind == "power":
            low, high, unit = 0, 10 ** (high / 10), "power"
        stored, values = np.concatenate(self.stored), np.concatenate(self.values)
        number = commonest(stored)
        value = float(values[stored == np.asarray(number, stored.dtype)][0])
        share = self.impossible / self.valid
        one = is_one_value(stored)
        median = float(np.median(self.medians))
        key, cause = _cause(conversion, number, one and share < 0.9, median)
        return (
            f"{section}.{key}: {percent(share)} of the values of '{name}' are impossible: "
            f"{number:g} in the files becomes {value:.6g} {unit} (possible: {low:g} to "
            f"{high:g}). {cause}"
        )


def _cause(conversion: Conversion, number: float, is_fill: bool, median: float) -> tuple[str, str]:
    """Find the key that is probably wrong, and say what is meant instead."""
    low, high = POSSIBLE[conversion.variable]
    scale, variable = conversion.scale, conversion.variable
    if is_fill or abs(number) >= _HUGE:
        return "nodata", f"It looks like a fill value. {_add(conversion, number)}"
    for offset in (o.value for o in conversion.offsets):
        scaled = offset * scale
        if abs(offset) >= 1 and low <= median - offset + scaled <= high and scale != 1:
            return "offset", (
                f"Offset {offset:g} in a file scaled by {scale:g}: did you mean {scaled:g}? The "
                "offset is added after the scale, in the unit of the cube."
            )
    unscaled = (median - (conversion.offsets[0].value if conversion.offsets else 0)) / scale
    if conversion.kind == "reflectance":
        looks = "unscaled digital numbers" if unscaled > 150 else "percent"
        for factor in (1e-4, 1e-2):
            if factor != scale and 0.005 < unscaled * factor < 1.2:
                return "scale", (
                    f"The median of the stored numbers is {unscaled:.4g}: these look like {looks}, "
                    f"did you mean scale: {factor:g}?"
                )
        return "scale", "Check scale, offset and nodata."
    if conversion.kind == "power":
        return "units", "This is no backscatter as power: check scale, offset and nodata."
    for factor in (1, 0.1, 0.01, 0.001, 0.0001):
        if factor != scale and -35 < unscaled * factor < -3:
            return "scale", (
                f"The median of '{variable}' becomes {median:.4g}, no backscatter in dB: did you "
                f"mean scale: {factor:g}?"
            )
    return "scale", (
        f"The median of '{variable}' becomes {median:.4g}, no backscatter in dB: check the scale."
    )


def _add(conversion: Conversion, number: float) -> str:
    """Say how to declare one more fill value."""
    listed = [f"{n:g}" for n in (*conversion.nodata, number) if np.isfinite(n)]
    text = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    return f"If so, write nodata: {text}."
