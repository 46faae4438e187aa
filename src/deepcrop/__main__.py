"""``python -m deepcrop``: the command line."""

from deepcrop.cli import main

main()
