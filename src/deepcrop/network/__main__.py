"""``python -m deepcrop.network``: size and cost of every configuration."""

from deepcrop.network.count import table

print(table())
