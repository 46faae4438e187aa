"""Scores of dates against cameras and simulated truth."""
