"""What the two golden scripts share: a case that records inputs, weights and the value after every layer.

A case computes in double precision. Weights and inputs are double values that are exactly representable in f32, and are
stored as F32; outputs are stored as F64. Layout of a file:
  <case>.input, <case>.context      [batch, ...]
  <case>.net.<path>.<tensor>        weights under galgen's names
  <case>.after.<path>               [batch, ...] value after the layer <path>
Metadata: `specs`, a JSON object from case to spec, and `made_with`, the versions of the packages.
"""

import json
import platform

import numpy as np
import torch
from safetensors.numpy import save_file

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def f32(value):
    """The f32 nearest to a constant of a spec, as galgen stores it."""
    return float(np.float32(value))


class Case:
    def __init__(self, name, seed):
        self.name = name
        self.random = np.random.RandomState(seed)  # the legacy generator: its stream is frozen
        self.tensors = {}

    def normal(self, *shape, scale=1.0, mean=0.0):
        values = (mean + scale * self.random.standard_normal(shape)).astype(np.float32)
        return torch.from_numpy(values.astype(np.float64))

    def given(self, name, value):
        self.tensors[f"{self.name}.{name}"] = value.numpy().astype(np.float32)
        return value

    def weight(self, path, name, *shape, fan_in=None, mean=0.0):
        scale = 0.2 if fan_in is None else fan_in**-0.5
        return self.given(f"net.{path}.{name}", self.normal(*shape, scale=scale, mean=mean))

    def after(self, path, value):
        self.tensors[f"{self.name}.after.{path}"] = value.numpy().astype(np.float64)
        return value

    def linear(self, path, inputs, outputs, mask=None):
        layer = torch.nn.Linear(inputs, outputs)
        weight = self.weight(path, "weight", outputs, inputs, fan_in=inputs)
        bias = self.weight(path, "bias", outputs)
        with torch.no_grad():
            layer.weight.copy_(weight if mask is None else weight * mask)
            layer.bias.copy_(bias)
        return layer

    def conv(self, path, inputs, outputs, kernel, stride=1, pad=(0, 0, 0, 0), mask=None, groups=1):
        """`pad` is (left, right, top, bottom), torch's order."""
        layer = torch.nn.Conv2d(inputs, outputs, kernel, stride=stride, groups=groups)
        (kh, kw), seen = kernel, inputs // groups
        weight = self.weight(path, "weight", outputs, seen, kh, kw, fan_in=seen * kh * kw)
        bias = self.weight(path, "bias", outputs)
        if mask is not None:
            keep = torch.ones(kh, kw)
            keep[kh // 2, kw // 2 + (mask == "b") :] = 0
            keep[kh // 2 + 1 :] = 0
            weight = weight * keep
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        return torch.nn.Sequential(torch.nn.ZeroPad2d(pad), layer)

    def conv_transpose(self, path, inputs, outputs, kernel, stride):
        layer = torch.nn.ConvTranspose2d(inputs, outputs, kernel, stride=stride)
        weight = self.weight(path, "weight", inputs, outputs, *kernel, fan_in=inputs * kernel[0] * kernel[1])
        with torch.no_grad():
            layer.weight.copy_(weight)
            layer.bias.copy_(self.weight(path, "bias", outputs))
        return layer

    def layer_norm(self, path, features, epsilon):
        """Over the features of each pixel."""
        layer = torch.nn.LayerNorm(features, eps=f32(epsilon))
        with torch.no_grad():
            layer.weight.copy_(self.weight(path, "weight", features, mean=1.0))
            layer.bias.copy_(self.weight(path, "bias", features))
        return lambda x: layer(x.movedim(1, -1)).movedim(-1, 1)

    def group_norm(self, path, channels, groups, epsilon):
        layer = torch.nn.GroupNorm(groups, channels, eps=f32(epsilon))
        with torch.no_grad():
            layer.weight.copy_(self.weight(path, "weight", channels, mean=1.0))
            layer.bias.copy_(self.weight(path, "bias", channels))
        return layer


def planes(context, like):
    """Context values as constant planes of the map `like`."""
    return context[:, :, None, None].expand(-1, -1, *like.shape[2:])


def glu(x):
    """a * sigmoid(b) over the features."""
    return torch.nn.functional.glu(x, dim=1)


def softplus(x):
    """Without the threshold of torch's own, which is off by 2e-9 from x = 20 on."""
    return torch.logaddexp(x, torch.zeros(()))


def write(path, cases, specs, packages):
    tensors = {}
    for case in cases:
        tensors.update(case.tensors)
    made_with = {"python": platform.python_version(), "numpy": np.__version__, **packages}
    metadata = {"specs": json.dumps(specs, sort_keys=True), "made_with": json.dumps(made_with, sort_keys=True)}
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata=metadata)
    print(path, sum(v.nbytes for v in tensors.values()), "bytes in", len(tensors), "tensors,", made_with)
