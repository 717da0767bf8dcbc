"""Rows of autoregressive models of images: a gated PixelCNN."""

import model_file
import numpy as np
import torch
from decoders import conv
from net import Weights, convolution, module, multiply_adds
from row import Call, Row, noise
from torch import nn
from torch.nn import functional as F

SIDE, CHANNELS, BLOCKS = 64, 64, 5
# galgen-core, `Head::Gaussian`
MIN_DEVIATION = 1e-4
# Its first convolutions write past their buffers: "malloc(): corrupted top size".
WITHOUT = frozenset({"ncnn"})
RELU = {"activation": "relu"}


def causal(outputs, height, width, left, right, mask=None):
    """A convolution whose last row is the pixel's own."""
    padding = {"top": height - 1, "bottom": 0, "left": left, "right": right}
    spec = {"outputs": outputs, "kernel": [height, width], "stride": 1, "padding": padding}
    return {"conv2d": {**spec, "mask": mask} if mask else spec}


def cut(start, length):
    return {"slice": {"start": start, "len": length}}


def gated():
    """Galgen's layers: the streams lie side by side in the channels, the vertical one first."""
    c = CHANNELS
    down = causal(2 * c, 2, 1, 0, 0, "a")
    v = [cut(0, 2 * c), "gate"]
    first = {"sum": [[cut(0, 2 * c), down], [cut(2 * c, 1), causal(2 * c, 1, 7, 3, 3, "a")]]}
    layers = [{"concat": [[causal(2 * c, 4, 7, 3, 3)], []]}, {"concat": [v, [first, "gate", conv(c, 1)]]}]
    for _ in range(BLOCKS):
        layers.append({"concat": [[cut(0, c), causal(2 * c, 2, 3, 1, 1)], [cut(c, c)]]})
        update = [{"sum": [[cut(0, 2 * c), down], [cut(2 * c, c), causal(2 * c, 1, 2, 1, 0)]]}, "gate", conv(c, 1)]
        layers.append({"concat": [v, [{"sum": [[cut(2 * c, c)], update]}]]})
    layers += [cut(c, c), RELU, conv(2 * c, 1), RELU, conv(2, 1)]
    return {"input": {"map": {"channels": 1, "height": SIDE, "width": SIDE}}, "context": 0, "layers": layers}


class Streams(nn.Module):
    """The same with both streams apart: nothing is copied beside them."""

    def __init__(self, net, weights):
        super().__init__()
        layers = net["layers"]

        def made(path, layer, inputs):
            return convolution(layer["conv2d"], weights, f"net.{path}", inputs)

        c = CHANNELS
        self.first = made("0.0.0", layers[0]["concat"][0][0], 1)
        self.blocks = nn.ModuleList()
        for i in range(1, 2 + 2 * BLOCKS, 2):
            first = i == 1
            horizontal = layers[i]["concat"][1]
            path = f"{i}.1" if first else f"{i}.1.0.1"
            if not first:
                horizontal = horizontal[0]["sum"][1]
            down, along = (branch[1] for branch in horizontal[0]["sum"])
            block = {
                "down": made(f"{path}.0.0.1", down, 2 * c),
                "along": made(f"{path}.0.1.1", along, 1 if first else c),
                "out": made(f"{path}.2", horizontal[2], c),
            }
            if not first:
                block["rows"] = made(f"{i - 1}.0.1", layers[i - 1]["concat"][0][1], c)
            self.blocks.append(nn.ModuleDict(block))
        n = len(layers)
        self.middle, self.last = made(n - 3, layers[-3], c), made(n - 1, layers[-1], 2 * c)

    def forward(self, x):
        rows, h = self.first(x), x
        for i, block in enumerate(self.blocks):
            if i > 0:
                rows = block["rows"](v)
            update = block["out"](F.glu(block["down"](rows) + block["along"](h), 1))
            h = update if i == 0 else h + update
            v = F.glu(rows, 1)
        return self.last(F.relu(self.middle(F.relu(h))))


class LogP(nn.Module):
    """ln p of the image under a Gaussian for each pixel."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        mean, raw = self.net(x).chunk(2, 1)
        deviation = F.softplus(raw) + MIN_DEVIATION
        z = (x - mean) / deviation
        return (-0.5 * z * z - torch.log(deviation) - 0.5 * np.log(2 * np.pi)).flatten(1).sum(1)


def model(name):
    net, weights = gated(), Weights(7)
    count = multiply_adds(net, weights, "net")
    card = model_file.card(name, {"side": SIDE, "bands": ["r"]}, {"pixel_cnn": {"net": net, "head": "gaussian"}})
    forms = {"as written": module(net, weights, "net"), "streams apart": Streams(net, weights)}
    return card, weights.tensors, {k: v.eval().requires_grad_(False) for k, v in forms.items()}, count


def pixelcnn_logp():
    """A gated PixelCNN of 64 x 64 pixels, 64 channels, 5 blocks, one Gaussian a pixel: ln p."""
    card, tensors, nets, count = model("pixelcnn_logp")

    def call(batch):
        x = noise(batch, 1, SIDE, SIDE)
        return Call([x], lambda session: session.log_likelihood(x.reshape(batch, -1)))

    # ln p is a sum of 4,096 terms, which the others add in f32.
    forms = {k: LogP(net).eval() for k, net in nets.items()}
    return Row(card, tensors, forms, call, 1e-5, count, (1,), bare=True, without=WITHOUT)


def pixelcnn_sample():
    """The same, one image drawn: galgen with caches; the peers as published, one evaluation for each pixel, of which one
    is timed."""
    card, tensors, nets, count = model("pixelcnn_sample")

    def call(batch):
        x = noise(batch, 1, SIDE, SIDE)
        return Call([x], lambda session: session.sample_images(batch, SIDE**2))

    return Row(card, tensors, nets, call, np.inf, count, (1,), bare=True, without=WITHOUT, calls=SIDE**2)
