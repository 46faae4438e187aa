"""Season dates by TIMESAT 4 (proprietary; installed and called, nothing of it is copied).

One call of TIMESAT gives the dates at one fraction of the amplitude; two fractions are two calls.
"""

from importlib.metadata import version

import numpy as np
from measure import serve
from timesat import tsfprocess

NO_DATA = -9999.0
CLASSES = 255
START, END, PEAK, AMPLITUDE = 0, 3, 8, 10
"""Places of the dates and the amplitude among the 13 numbers of a season."""


def run(
    values,
    days,
    fractions=(0.2, 0.5),
    years=3,
    fit=2,
    smooth=1000.0,
    season_method=2,
    season_parameter=0.0,
    low_percentile=0.0,
    fill_base=0,
    passes=1,
    weight_factor=1.0,
    outliers=0,
    min_amplitude=0.12,
    first_day=1,
):
    """Season dates; what the parameters mean is said in the documentation of TIMESAT.

    Smaller seasons than ``min_amplitude`` are dropped afterwards, as in the other tools, and so are
    those after the last observation (TIMESAT wants whole years, so a second one may be empty).
    ``first_day`` is TIMESAT's number of the first day.
    """
    pixels, times = values.shape
    shape = _rectangle(pixels)
    seen = np.isfinite(values)
    low, high = -0.2, 1.2
    index = np.asfortranarray(np.where(seen, values, low - 1).reshape(*shape, times), np.float32)
    weight = np.asfortranarray(seen.reshape(*shape, times), np.float32)
    whole = np.round(days).astype(int)
    calendar = ((2021 + whole // 365) * 1000 + whole % 365 + 1).astype(np.int32)

    def each(value, kind):
        return np.full(CLASSES, value, kind)

    dates = np.full((pixels, 2 * years, 5), np.nan, np.float32)
    for fraction in fractions:
        seasons = tsfprocess(
            nyr=years,
            vi=index,
            qa=weight,
            td=calendar,
            lc=np.ones(shape, np.int32, order="F"),
            p_nclasses=1,
            landuse=each(1, np.int32),
            p_outindex=np.arange(1, years * 365 + 1, 5, dtype=np.int32),
            p_ignoreday=366,
            p_ylu=np.array([low, high]),
            p_printflag=0,
            p_fitmethod=each(fit, np.int32),
            p_smooth=each(smooth, np.float64),
            p_nodata=NO_DATA,
            p_davailwin=45,
            p_outlier=outliers,
            p_nenvi=each(passes, np.int32),
            p_wfactnum=each(weight_factor, np.float64),
            p_startmethod=each(1, np.int32),
            p_startcutoff=np.full((CLASSES, 2), fraction, np.float64, order="F"),
            p_lpbase=each(low_percentile, np.float64),
            p_fillbase=each(fill_base, np.int32),
            p_hrvppformat=0,
            p_seasonmethod=each(season_method, np.int32),
            p_seapar=each(season_parameter, np.float64),
            p_lowrangemode=each(1, np.int32),
            p_highrangemode=each(0, np.int32),
            p_rangedownweight=each(0.5, np.float64),
            outputvariables=1,
        )[0].reshape(pixels, 2 * years, 13)
        good = (seasons[..., START] > NO_DATA) & (seasons[..., AMPLITUDE] > min_amplitude)
        good &= seasons[..., PEAK] - first_day <= days[-1]
        early, late = (0, 4) if fraction == 0.2 else (1, 3)
        for stage, place in ((early, START), (2, PEAK), (late, END)):
            dates[..., stage] = np.where(good, seasons[..., place] - first_day, np.nan)
    return {"dates": dates}


def _rectangle(pixels):
    """Rows and columns of an image of so many pixels; TIMESAT shares columns between threads."""
    rows = next(r for r in range(int(pixels**0.5), 0, -1) if pixels % r == 0)
    return rows, pixels // rows


if __name__ == "__main__":
    serve(run, version("timesat"))
