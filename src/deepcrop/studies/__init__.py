"""Studies: the paper's experiment, and scores on real satellite images."""
