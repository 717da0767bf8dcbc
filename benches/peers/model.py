"""The decoder of a model file as a PyTorch module, built from the JSON spec in the file's card.

Written from the documentation of galgen-core's `Layer` and `Act`, sharing no code with galgen. Layers that no
decoder has so far are an error, not a guess.
"""

import json
import struct

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

DTYPES = {"F16": np.float16, "F32": np.float32}
ACTIVATIONS = {
    "relu": torch.relu,
    "elu": F.elu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "asinh": torch.asinh,
}


def read(path):
    """The card and the tensors, as f32, of a model file."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    card = json.loads(header.pop("__metadata__")["galgen"])
    body = memoryview(data)[8 + length :]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(body[begin:end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).astype(np.float32)
    return card, tensors


class Decoder(nn.Module):
    """Latent [batch, latent] and standardised conditions [batch, context] to a map [batch, bands, n, n]."""

    def __init__(self, net, tensors):
        super().__init__()
        self.latent = net["input"]["vector"]
        self.context = net["context"]
        self.layers = net["layers"]
        self.weights = nn.ModuleDict()
        for i, layer in enumerate(self.layers):
            made = self.make(layer, tensors, f"decoder.{i}")
            if made is not None:
                self.weights[str(i)] = made

    @staticmethod
    def make(layer, tensors, path):
        """The torch layer of a layer that has weights."""
        if "linear" in layer or "conv2d" in layer:
            weight, bias = (torch.from_numpy(tensors[f"{path}.{t}"]) for t in ("weight", "bias"))
        if "linear" in layer:
            made = nn.Linear(weight.shape[1], weight.shape[0])
        elif "conv2d" in layer:
            spec = layer["conv2d"]
            pad = spec["padding"]
            if pad["top"] != pad["bottom"] or pad["left"] != pad["right"] or spec.get("mask"):
                raise ValueError(f"{path}: expected a convolution with equal borders and no mask, found {spec}")
            made = nn.Conv2d(
                weight.shape[1], weight.shape[0], spec["kernel"], spec["stride"], (pad["top"], pad["left"])
            )
        else:
            return None
        made.load_state_dict({"weight": weight, "bias": bias})
        return made

    def forward(self, z, context):
        x = z
        for i, layer in enumerate(self.layers):
            if str(i) in self.weights:
                x = self.weights[str(i)](x)
            elif layer == "append_context":
                x = torch.cat([x, context], 1)
            elif "reshape" in layer:
                shape = layer["reshape"]["map"]
                x = x.reshape(-1, shape["channels"], shape["height"], shape["width"])
            elif "upsample_nearest" in layer:
                x = F.interpolate(x, scale_factor=float(layer["upsample_nearest"]["factor"]), mode="nearest")
            elif layer.get("activation") in ACTIVATIONS:
                x = ACTIVATIONS[layer["activation"]](x)
            else:
                raise ValueError(f"decoder.{i}: peers/model.py does not know the layer {layer}")
        return x
