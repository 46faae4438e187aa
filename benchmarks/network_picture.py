"""Draw docs/assets/paper_network.svg: the published network, with the sizes of its configuration.

python benchmarks/network_picture.py docs/assets/paper_network.svg
"""

import sys
from pathlib import Path

from deepcrop.grid import PATCH_SIZE
from deepcrop.network import CONFIGS

CONFIG = CONFIGS["paper"]
WIDTH, HEIGHT = 128, 62
GREEN, BLUE, BROWN = ("#e8f3ef", "#00694d"), ("#eef2fa", "#2c5aa0"), ("#f7efe6", "#8a4b08")


def box(x: int, y: int, lines: list[str], colours: tuple[str, str]) -> str:
    """Draw a box with centred lines of text."""
    fill, stroke = colours
    first = y + HEIGHT / 2 - 8 * (len(lines) - 1) + 4
    text = "".join(
        f'<text x="{x + WIDTH / 2}" y="{first + 16 * k}" '
        f'font-weight="{"bold" if not k else "normal"}">{line}</text>'
        for k, line in enumerate(lines)
    )
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="{fill}" '
        f'stroke="{stroke}"/>{text}'
    )


def main() -> None:
    """Write the picture."""
    first, second, third = CONFIG.trunk
    tokens = sum(CONFIG.dates)
    # 5 x 5 convolutions without padding, a 2 x 2 pool after the second.
    a = PATCH_SIZE - 4
    b = (a - 4) // 2
    boxes, arrows = [], []
    for y, name, dates, bands in (
        (20, "Sentinel-2", CONFIG.dates[0], "NDVI, GCC"),
        (260, "Sentinel-1", CONFIG.dates[1], "VV, VH in dB"),
    ):
        size = f"{PATCH_SIZE} × {PATCH_SIZE}"
        chain = [
            ([name, f"{dates} dates of {size}", bands], GREEN),
            (["convolution", f"5 × 5, {first} features", f"{a} × {a}"], BLUE),
            (["convolution, pool", f"5 × 5, {second} features", f"{b} × {b}"], BLUE),
            (["convolution", f"5 × 5, {third} features", f"{b - 4} × {b - 4}"], BLUE),
        ]
        boxes += [box(20 + 160 * k, y, *part) for k, part in enumerate(chain)]
        middle = y + HEIGHT // 2
        arrows += [f"M{148 + 160 * k} {middle} h30" for k in range(3)]
        arrows += [f"M628 {middle} H665 V{156 if y < 100 else 186} H678"]  # branch -> tokens
        # Middle layer -> fusion block.
        edge, turn = (y + HEIGHT, 138) if y < 100 else (y, 202)
        arrows += [f"M404 {edge} V{turn}"]
    boxes.append(box(340, 140, ["fusion block", "1-D convolution", "sigmoid"], BROWN))
    arrows.append("M468 171 H678")
    # The raw values of the centre pass below the fusion block.
    boxes.append(box(20, 140, ["centre pixel", "raw values"], GREEN))
    arrows += ["M84 82 V138", "M84 260 V204", "M148 171 H230 V232 H744 V204"]
    boxes += [
        box(680, 140, [f"{tokens} tokens", "branch, fused, raw", f"width {CONFIG.width}"], BLUE),
        box(840, 140, ["encoder", f"{CONFIG.heads} heads", f"{CONFIG.feedforward} units"], BROWN),
        box(840, 20, ["MLP", *_in_two(CONFIG.mlp)], BROWN),
        box(680, 20, [f"{len(CONFIG.stages)} stages", f"{tokens} sigmoids each"], GREEN),
    ]
    arrows += ["M808 171 H838", "M904 140 V84", "M840 51 H810"]
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 988 342" font-size="12" '
        'font-family="system-ui, -apple-system, Segoe UI, DejaVu Sans, sans-serif" role="img" '
        'aria-labelledby="title"><title id="title">The published network: a branch for each '
        "sensor, fusion block, tokens, encoder, MLP, a probability for each date and stage."
        '</title><defs><marker id="end" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#44545a"/></marker>'
        '</defs><rect width="988" height="342" rx="8" fill="#fff"/>'
        '<g fill="none" stroke="#44545a" stroke-width="1.5" marker-end="url(#end)">'
        + "".join(f'<path d="{path}"/>' for path in arrows)
        + '</g><g stroke-width="1.3" text-anchor="middle" fill="#222">'
        + "".join(boxes).replace("<text ", '<text stroke="none" ')
        + "</g></svg>\n"
    )
    Path(sys.argv[1]).write_text(text, encoding="utf-8")


def _in_two(units: tuple[int, ...]) -> list[str]:
    words = [f"{count:,}".replace(",", " ") for count in units]
    return [" – ".join(words[:2]), " – ".join(words[2:])]


if __name__ == "__main__":
    main()
