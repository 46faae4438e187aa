"""Season dates by deepcrop."""

from measure import serve

import deepcrop


def run(values, days, smoother):
    seasons = deepcrop.season_dates(values, days, smoother=smoother)
    result = {"dates": seasons.dates}
    if hasattr(seasons, "low"):
        result |= {"low": seasons.low, "high": seasons.high}
    return result


if __name__ == "__main__":
    serve(run, deepcrop.__version__)
