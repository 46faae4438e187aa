"""Where labels and scenes come from: readers of other people's files and services."""
