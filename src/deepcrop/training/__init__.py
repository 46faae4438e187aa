"""Train the network: samples, augmentation, fitting, experiments."""
