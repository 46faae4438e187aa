"""A tiny network, and files of its weights."""

from dataclasses import replace

import torch

from deepcrop.network import CONFIGS, build, save


def write_weights(path, config, card=None):
    torch.manual_seed(5)
    net = build(config)
    if config.variant == "default":  # no event is sure, and nearby pixels differ
        net.none.bias.data += 6.1
        net.bins.weight.data *= 2
        net.none.weight.data *= 2
    save(net, path, card=card)
    return path


def tiny(name="default"):
    return replace(CONFIGS[name], layers=1, feedforward=16)  # of a width that is compiled
