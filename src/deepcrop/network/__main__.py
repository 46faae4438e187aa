"""``python -m deepcrop.network``: print the size and cost of every configuration."""

import sys

from deepcrop.network.cost import table

sys.stdout.write(table() + "\n")
