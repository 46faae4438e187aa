"""Whole experiments: the paper's, and evidence on real satellites."""
