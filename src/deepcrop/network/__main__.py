"""``python -m deepcrop.network``: size and cost of every configuration."""

from deepcrop.network.cost import table

print(table())
