"""Make pictures of the documentation small: at most 1280 pixels wide, 256 colours.

python benchmarks/compress_pictures.py docs/assets/comparison.png docs/assets/viewer.png
"""

import sys

from PIL import Image

WIDTH = 1280


def main() -> None:
    for path in sys.argv[1:]:
        picture = Image.open(path).convert("RGB")
        if picture.width > WIDTH:
            height = round(picture.height * WIDTH / picture.width)
            picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
        # An octree keeps rare colours, such as those of the dates in a map of many greens.
        few = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


if __name__ == "__main__":
    main()
