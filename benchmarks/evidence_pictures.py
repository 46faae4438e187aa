"""Draw the pictures of the pages on method and accuracy from real data.

python benchmarks/evidence_pictures.py DATA docs/assets [method validation real safe evaluation]

All pixels and cameras are real but those of ``evaluation``, whose pixels are simulated, and the
noise that is put into the image of ``safe``.
"""

SMALL = {"fontsize": 8}
