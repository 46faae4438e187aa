import datetime
import itertools

import numpy as np
import pytest
from matplotlib.image import imread
from tests.helpers.figure_checks import assert_all_inside, legend_labels, words

from deepcrop import figures
from deepcrop.figures import page as figure_page
from deepcrop.stages import NO_DAY


def blocks(rows=30, cols=40, days=(100, 130)):
    """Two fields and a strip without dates."""
    values = np.full((rows, cols), NO_DAY, np.int16)
    values[:, : cols // 2] = days[0]
    values[:, cols // 2 : -4] = days[1]
    return values


def stage_map(days, **changes):
    settings = {"year": 2018, "stage": "sos20", "resolution": 10, "simulated": False, "title": "A"}
    return figures.stage_map(days, **(settings | changes))


# --- dates ------------------------------------------------------------------------------------


def test_date_range_is_padded_to_half_months():
    # Day 100 of 2018 is 11 April, day 130 is 11 May.
    days = np.array([100, 130])
    assert figures.date_range(days, 2018) == (90, 135)  # 1 April to 16 May
    assert figures.date_range(np.array([90]), 2018) == (90, 105)  # 1 April itself, to 16 April


def test_date_range_ignores_two_percent_at_either_end():
    days = np.concatenate([[-100, 400], np.full(98, 120)])
    assert figures.date_range(days, 2018) == (120, 135)  # all at 1 May


def test_date_ticks():
    ticks, labels = figures.date_ticks(90, 135, 2018, most=6)
    assert ticks.tolist() == [90, 105, 120, 135]
    assert labels == ["1 Apr", "16 Apr", "1 May", "16 May"]


def test_date_ticks_name_another_year_and_thin_out():
    ticks, labels = figures.date_ticks(-92, 90, 2018, most=4)
    assert labels == ["1 Nov 2017", "1 Jan", "1 Mar"]
    assert ticks.tolist() == [-61, 0, 59]


@pytest.mark.parametrize("most", [2, 5, 9, 13])
def test_date_ticks_keep_to_the_limit(most):
    ticks, labels = figures.date_ticks(-181, 548, 2018, most=most)
    assert 1 <= len(labels) == ticks.size <= most


def test_date_ticks_of_a_leap_year():
    ticks, labels = figures.date_ticks(59, 61, 2020, most=6)
    assert (ticks.tolist(), labels) == ([60], ["1 Mar"])


# --- small parts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("longest", "length"), [(999, 500), (1000, 1000), (4999, 2000), (5000, 5000), (17, 10)]
)
def test_scale_length(longest, length):
    assert figure_page.scale_length(longest) == length


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 2, ["0", "1", "2"]),
        (3, 3, ["3"]),
        (0, 8, ["0–1", "2–3", "4–5", "6–7", "8–9"]),
        (18, 44, ["15–19", "20–24", "25–29", "30–34", "35–39", "40–44"]),
    ],
)
def test_count_classes(low, high, labels):
    edges, found = figures.count_classes(low, high)
    assert found == labels
    assert edges[0] <= low
    assert len(edges) == len(labels)


def test_count_classes_stay_few_for_any_counts():
    for low, high in [(0, 65535), (7, 8), (99, 801), (1, 80)]:
        assert len(figures.count_classes(low, high)[1]) <= 8


def test_spread_keeps_order_and_distance():
    spread = figure_page.spread([1.0, 1.1, 5.0], 0.6, 0.0, 6.0)
    assert spread == pytest.approx([0.75, 1.35, 5.0])
    crowded = figure_page.spread([0.0, 0.1, 0.2], 0.6, 0.0, 6.0)
    assert crowded == pytest.approx([0.0, 0.6, 1.2], abs=0.01)


# --- stage maps -------------------------------------------------------------------------------


def test_stage_map_shows_the_days_and_the_dates():
    figure = stage_map(blocks())
    image = figure.axes[1].images[0]
    shown = image.get_array()
    assert image.get_clim() == (90, 135)
    assert shown[0, 0] == 100
    assert shown[0, 25] == 130
    assert shown.mask[:, -4:].all()
    assert not shown.mask[:, :-4].any()
    assert legend_labels(figure) == ["1 Apr", "16 Apr", "1 May", "16 May"]
    assert "no date (10 %)" in words(figure)
    assert "Start of season, 20 % of amplitude (SOS20), 2018" in words(figure)


def test_stage_map_takes_nan_as_missing():
    days = blocks().astype(float)
    days[days == NO_DAY] = np.nan
    assert "no date (10 %)" in words(stage_map(days))


def test_stage_map_tells_what_was_left_out():
    days = blocks().astype(float)
    days[days == NO_DAY] = np.nan
    assert "no date (4 %), not mapped (6 %)" in words(stage_map(days, left_out=0.06))


def test_stage_map_without_missing_pixels_has_no_key():
    assert not any("no date" in word for word in words(stage_map(blocks()[:, :-4])))


def test_forecasts_are_striped():
    days = blocks()
    forecast = days == 130
    figure = stage_map(days, until=datetime.date(2018, 4, 30), forecast=forecast)
    assert "A · as known on 30 April 2018" in words(figure)
    assert "not yet known, or no event (10 %)" in words(figure)
    assert "striped: forecast (40 %)" in words(figure)
    stripes = np.asarray(figure.axes[1].images[1].get_array())[..., 3] > 0
    assert not stripes[~forecast].any()
    assert 0.2 < stripes[forecast].mean() < 0.5  # the colour of the date shows between them
    assert_all_inside(figure)


def test_stage_map_scale_bar():
    # 400 m over 7 inches: 1.35 inches are 77 m.
    assert "50 m" in words(stage_map(blocks()))
    assert "5 km" in words(stage_map(blocks(), resolution=1000))


def test_stage_map_marks_simulated_data_only():
    assert "SIMULATED DATA" in words(stage_map(blocks(), simulated=True))
    assert "SIMULATED DATA" not in words(stage_map(blocks()))


def test_stage_map_of_nothing_says_so():
    for days in (np.full((30, 40), NO_DAY, np.int16), np.full((40, 30), np.nan)):
        figure = stage_map(days, stage="eos20", season=2)
        assert "no season found" in words(figure)
        assert "no date (100 %)" in words(figure)
        assert "End of season, 20 % of amplitude (EOS20), 2018," in " ".join(words(figure))


def test_start_and_end_have_colours_of_their_own():
    names = [
        stage_map(blocks(), stage=stage).axes[1].images[0].get_cmap().name
        for stage in ("sos20", "sos50", "eos50", "eos20")
    ]
    assert names[0] == names[1] != names[2] == names[3]


@pytest.mark.parametrize("shape", [(30, 40), (10, 100), (90, 30), (40, 40), (400, 3), (3, 400)])
def test_pictures_of_any_shape_stay_on_the_paper(shape):
    # Far dates, so that the year appears and both ends of the bar are pointed.
    days = np.full(shape, -100, np.int16)
    days.flat[days.size // 2 :] = 200
    days.flat[0], days.flat[-1], days.flat[1] = -170, 500, NO_DAY
    title = "A region with a name long enough to need more than a line on narrow paper, in $ and %"
    assert_all_inside(stage_map(days, simulated=True, title=title, season=2))
    counts = np.arange(days.size).reshape(shape) % 60
    assert_all_inside(
        figures.count_map(counts, heading="Counts", resolution=10, simulated=True, title=title)
    )
    row = [figures.Panel(name, days, ("MAE as written 100.4 d (>99 % dated)",)) for name in "abc"]
    assert_all_inside(
        figures.stage_panels(
            {"sos50": row}, year=2018, resolution=10, heading="Maps", title=title, simulated=True
        )
    )


def test_save_writes_a_png_of_the_promised_size(tmp_path):
    figures.save(stage_map(blocks()), tmp_path / "map.png")
    # The map is LONG_SIDE pixels wide, and 0.2 inches of paper lie on both sides.
    assert imread(tmp_path / "map.png").shape[1] == figures.LONG_SIDE + 2 * 0.2 * figure_page.DPI


# --- counts -----------------------------------------------------------------------------------


def test_count_map_classes_and_shares():
    counts = np.repeat(np.array([0, 1, 1, 2], np.uint8), 10).reshape(4, 10)
    figure = figures.count_map(counts, heading="Seasons", resolution=10, simulated=False, title="A")
    assert {"0", "1", "2", "25 %", "50 %"} <= set(words(figure))
    image = figure.axes[1].images[0]
    red, green, blue, _ = image.to_rgba(np.array([[0]]))[0, 0]
    assert red == green == blue  # grey: nothing there


def test_count_map_tells_what_is_not_known():
    values = np.array([[255, 255, 0, 40], [80, 80, 99, 100]], np.uint8)
    figure = figures.count_map(
        values, heading="%", resolution=10, simulated=False, title="A", nodata=255, top=100
    )
    shown = figure.axes[1].images[0].get_array()
    assert shown.mask.tolist() == [[True, True, False, False], [False] * 4]
    assert shown[1].tolist() == [4, 4, 4, 5]
    assert "no data (25 %)" in words(figure)
    assert {"80–99", "100"} < set(words(figure))
    assert "100–119" not in words(figure)
    nothing = np.full((3, 4), 255, np.uint8)
    figure = figures.count_map(
        nothing, heading="%", resolution=10, simulated=False, title="A", nodata=255
    )
    assert figure.axes[1].images[0].get_array().mask.all()
    assert "no data (100 %)" in words(figure)


def test_count_map_of_large_counts_in_unsigned_type():
    counts = np.array([[20, 44], [31, 29]], np.uint16)
    figure = figures.count_map(counts, heading="N", resolution=10, simulated=False, title="A")
    assert figure.axes[1].images[0].get_array().tolist() == [[0, 4], [2, 1]]


# --- maps side by side ------------------------------------------------------------------------


def test_panels_of_a_row_have_one_range_of_colours_and_their_notes():
    early, late = np.full((3, 4), 100, np.int16), np.full((3, 4), 130, np.int16)
    late[0, 0] = NO_DAY
    rows = {
        "sos50": [figures.Panel("truth", early), figures.Panel("curve", late, ("MAE 30.0 d",))],
        "eos50": [figures.Panel("truth", early + 150), figures.Panel("curve", late)],
    }
    settings = {"year": 2018, "resolution": 10, "heading": "Maps", "title": "A"}
    figure = figures.stage_panels(rows, simulated=True, **settings)
    assert {"truth", "curve", "MAE 30.0 d", "no date", "SIMULATED DATA"} <= set(words(figure))
    truth, curve = (axes.images[0] for axes in figure.axes[1:3])
    assert truth.get_clim() == curve.get_clim()
    assert truth.get_clim()[0] <= 100 < 130 <= truth.get_clim()[1]
    assert curve.get_array().mask.sum() == 1
    assert_all_inside(figure)
    assert "SIMULATED DATA" not in words(figures.stage_panels(rows, simulated=False, **settings))


def test_panels_without_a_date_are_drawn_and_other_shapes_rejected():
    settings = {"year": 2018, "resolution": 10, "heading": "Maps", "title": "A", "simulated": True}
    nothing = figures.Panel("curve", np.full((3, 4), NO_DAY, np.int16))
    assert_all_inside(figures.stage_panels({"sos20": [nothing] * 3}, **settings))
    other = figures.Panel("network", np.zeros((4, 3)))
    with pytest.raises(ValueError, match="one shape"):
        figures.stage_panels({"sos20": [nothing, other]}, **settings)


# --- one series -------------------------------------------------------------------------------


def series(stage_days, days=(90, 100, 110, 200, 250), **changes):
    days = np.array(days, float)
    values = np.linspace(0.2, 0.6, days.size)
    kept = np.arange(days.size) % 2 == 0
    settings = {"year": 2018, "title": "A", "simulated": True}
    return figures.series_figure(
        days, values, kept, days, values, stage_days, **(settings | changes)
    )


def test_series_figure_marks_the_stages():
    figure = series({"sos20": 95.0, "sos50": 104, "eos50": NO_DAY, "sos20_season2": np.nan})
    text = words(figure)
    assert "SOS20\n6 Apr" in text
    assert "SOS50\n15 Apr" in text
    assert "no date: EOS50, SOS20 (2)" in text
    assert "SIMULATED DATA" in text
    axes = figure.axes[1]
    drawn = {line.get_label(): line.get_xdata().tolist() for line in axes.lines}
    assert drawn["used"] == [90, 110, 250]
    assert drawn["not used"] == [100, 200]
    assert_all_inside(figure)


def test_series_figure_with_eight_stages_close_together():
    names = [f"{stage}{season}" for season in ("", "_season2") for stage in ("sos20", "sos50")]
    names += [f"{stage}{season}" for season in ("", "_season2") for stage in ("eos50", "eos20")]
    figure = series(
        {name: 100.0 + i for i, name in enumerate(names)},
        days=range(-181, 549, 10),
        simulated=False,
    )
    figure.draw_without_rendering()
    labels = [text for text in figure.axes[0].texts if "Apr" in text.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    assert len(boxes) == 8
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))
    assert_all_inside(figure)


def test_series_figure_without_anything():
    figure = series({"sos20": np.nan}, days=())
    assert "no date: SOS20" in words(figure)
    assert_all_inside(figure)
