"""Images of a field camera and the mask of its crop, of known colours."""

from PIL import Image

SKY = (150, 180, 250)


def write_jpeg(folder, name, colour, size=(64, 48), mode="RGB"):
    """An image with the sky in its upper half, the crop in its lower half."""
    image = Image.new("RGB", size, SKY)
    image.paste(colour, (0, size[1] // 2, *size))
    folder.mkdir(parents=True, exist_ok=True)
    image.convert(mode).save(folder / f"{name}.jpg", quality=95)


def write_mask(path, size=(64, 48), columns=None):
    """Black over the crop, clear of its edge, white elsewhere, as the network draws it."""
    image = Image.new("L", size, 255)
    left, right = columns or (0, size[0])
    image.paste(0, (left, size[1] * 2 // 3, right, size[1]))
    image.save(path)
    return path
