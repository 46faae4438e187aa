"""What a figure shows: texts, legends, and whether all is inside."""


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def legend_labels(figure):
    """Tick labels of the colour bars, left to right or bottom to top."""
    return [
        label.get_text()
        for axes in figure.axes[1:]
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]
    ]


def assert_all_inside(figure):
    """Nothing that is drawn reaches over the paper's edge."""
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.01
    assert box.y0 >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01
