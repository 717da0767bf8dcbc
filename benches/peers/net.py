"""Networks of galgen's spec as PyTorch modules, in the form in which a peer is fastest.

Written from the documentation of galgen-core's `Layer` and `Act`, sharing no code with galgen. Layers that no row has so
far are an error, not a guess. Weights come from `weights`, by the names that they have in a model file, and are
made where they are not there yet.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Function(nn.Module):
    """A function without weights."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def bipolar_elu(x):
    """elu(x) of the even features, -elu(-x) of the odd ones."""
    sign = torch.ones(x.shape[1]).view(-1, *[1] * (x.dim() - 2))
    sign[1::2] = -1
    return sign * F.elu(sign * x)


ACTIVATIONS = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "asinh": lambda: Function(torch.asinh),
}


class Sum(nn.Module):
    def __init__(self, branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return sum(branch(x) for branch in self.branches)


class Concat(Sum):
    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class ChannelNorm(nn.Module):
    """Layer norm over the features of every pixel of a map."""

    def __init__(self, weight, bias, epsilon):
        super().__init__()
        self.weight, self.bias, self.epsilon = nn.Parameter(weight), nn.Parameter(bias), epsilon

    def forward(self, x):
        # Features last: the form that engines know as layer normalisation.
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.epsilon)
        return x.permute(0, 3, 1, 2)


class Weights:
    """Tensors by name; those asked for first are drawn: weights of unit gain, small biases."""

    def __init__(self, seed, tensors=None):
        self.random = torch.Generator().manual_seed(seed)
        self.tensors = dict(tensors or {})

    def get(self, name, *shape, scale=0.1, mean=0.0):
        if name not in self.tensors:
            self.tensors[name] = mean + scale * torch.randn(*shape, generator=self.random)
        found = self.tensors[name]
        if tuple(found.shape) != shape:
            raise ValueError(f"{name}: shape {tuple(found.shape)}, expected {shape}")
        return found


def trimmed(weight, padding):
    """A kernel without the rows and columns at its border that are 0 throughout, and the padding that it then needs."""
    left, right, top, bottom = padding
    rows = (weight != 0).any(3).any(1).any(0).nonzero()
    columns = (weight != 0).any(2).any(1).any(0).nonzero()
    (first_row, last_row), (first, last) = (map(int, (i.min(), i.max())) for i in (rows, columns))
    kept = weight[:, :, first_row : last_row + 1, first : last + 1].contiguous()
    height, width = weight.shape[2:]
    return kept, (left - first, right - (width - 1 - last), top - first_row, bottom - (height - 1 - last_row))


def convolution(spec, weights, path, inputs, groups=1):
    outputs, (height, width) = spec["outputs"], spec["kernel"]
    fan_in = inputs // groups * height * width
    weight = weights.get(f"{path}.weight", outputs, inputs // groups, height, width, scale=fan_in**-0.5)
    pad = spec["padding"]
    padding = pad["left"], pad["right"], pad["top"], pad["bottom"]
    if spec.get("mask"):
        keep = torch.zeros(height, width)
        keep[: height // 2] = 1
        keep[height // 2, : width // 2 + (spec["mask"] == "b")] = 1
        weight = weight * keep
        weight, padding = trimmed(weight, padding)
    left, right, top, bottom = padding
    equal = left == right and top == bottom and min(padding) >= 0
    made = nn.Conv2d(
        inputs, outputs, weight.shape[2:], spec["stride"], (top, left) if equal else 0, groups=groups
    )  # fmt: skip
    made.load_state_dict({"weight": weight, "bias": weights.get(f"{path}.bias", outputs)})
    return made if equal else nn.Sequential(nn.ZeroPad2d(padding), made)


def transposed(spec, weights, path, inputs):
    outputs, (height, width), stride = spec["outputs"], spec["kernel"], spec["stride"]
    fan_in = inputs * height * width / stride**2
    weight = weights.get(f"{path}.weight", inputs, outputs, height, width, scale=fan_in**-0.5)
    pad = spec["padding"]
    if (pad["left"], pad["top"]) != (pad["right"], pad["bottom"]):
        raise ValueError(f"{path}: expected equal borders, found {pad}")
    made = nn.ConvTranspose2d(inputs, outputs, (height, width), stride, (pad["top"], pad["left"]))
    made.load_state_dict({"weight": weight, "bias": weights.get(f"{path}.bias", outputs)})
    return made


def upsampled_transposed(conv):
    """Nearest x2 and a 3 x 3 convolution with zeros around it, as one transposed convolution of 4 x 4: 4/9 of the work.

    Pixel 2 i + d - 1 of the output sees pixel i of the input through the taps that lie on its two copies.
    """
    taps = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], dtype=torch.float64)
    weight = torch.einsum("ay,bx,oiyx->ioab", taps, taps, conv.weight.double()).float()
    made = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, 2, 1)
    made.load_state_dict({"weight": weight, "bias": conv.bias.detach()})
    return made


class Builder:
    """Makes the modules of one net. `fold`: upsampling is folded into the convolutions after it."""

    def __init__(self, weights, fold):
        self.weights, self.fold = weights, fold

    def sequence(self, layers, path, shape):
        """(module, shape of what it gives); a shape is (features,) or (channels, height, width)."""
        modules = []
        for i, layer in enumerate(layers):
            made, shape = self.layer(layer, f"{path}.{i}", shape)
            modules.append(made)
        return nn.Sequential(*(self.folded(modules) if self.fold else modules)), shape

    @staticmethod
    def folded(modules):
        kept = []
        for module in modules:
            doubling = kept and isinstance(kept[-1], nn.Upsample) and kept[-1].scale_factor == 2.0
            if doubling and isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
                # The same pixels either way, a quarter of the work.
                kept[-1:] = [module, kept[-1]]
            elif doubling and isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                kept[-1] = upsampled_transposed(module)
            else:
                kept.append(module)
        return kept

    def layer(self, layer, path, shape):
        if isinstance(layer, str):
            (kind, spec) = (layer, None)
        else:
            ((kind, spec),) = layer.items()
        features = shape[0]
        with_features = lambda n: (n, *shape[1:])
        if kind == "append_context" and path.count(".") == 1 and path.endswith(".0"):
            # It is behind the input already.
            return nn.Identity(), shape
        if kind == "linear":
            return self.linear(spec, path, features), (spec["outputs"],)
        if kind in ("conv2d", "depthwise_conv2d"):
            depthwise = kind == "depthwise_conv2d"
            if depthwise:
                spec = {**spec, "outputs": features}
            pad, stride = spec["padding"], spec["stride"]
            (h, w), (kh, kw) = shape[1:], spec["kernel"]
            size = (h + pad["top"] + pad["bottom"] - kh) // stride + 1, (w + pad["left"] + pad["right"] - kw) // stride + 1
            made = convolution(spec, self.weights, path, features, features if depthwise else 1)
            return made, (spec["outputs"], *size)
        if kind == "conv_transpose2d":
            pad, stride = spec["padding"], spec["stride"]
            (h, w), (kh, kw) = shape[1:], spec["kernel"]
            size = (h - 1) * stride + kh - pad["top"] - pad["bottom"], (w - 1) * stride + kw - pad["left"] - pad["right"]
            return transposed(spec, self.weights, path, features), (spec["outputs"], *size)
        if kind == "group_norm":
            made = nn.GroupNorm(spec["groups"], features, eps=spec["epsilon"])
            made.load_state_dict(self.norm(path, features))
            return made, shape
        if kind == "layer_norm":
            norm = self.norm(path, features)
            return ChannelNorm(norm["weight"], norm["bias"], spec["epsilon"]), shape
        if kind == "activation" and isinstance(spec, str) and spec in ACTIVATIONS:
            return ACTIVATIONS[spec](), shape
        if kind == "bipolar_elu":
            return Function(bipolar_elu), shape
        if kind == "scale":
            return Function(lambda x: x * spec), shape
        if kind == "gate":
            return nn.GLU(1), with_features(features // 2)
        if kind == "upsample_nearest":
            factor = spec["factor"]
            made = nn.Upsample(scale_factor=float(factor), mode="nearest")
            return made, (features, factor * shape[1], factor * shape[2])
        if kind == "reshape":
            if "vector" in spec:
                return nn.Flatten(), (spec["vector"],)
            to = tuple(spec["map"][k] for k in ("channels", "height", "width"))
            return nn.Unflatten(1, to) if len(shape) == 1 else Function(lambda x: x.reshape(-1, *to)), to
        if kind == "slice":
            start, end = spec["start"], spec["start"] + spec["len"]
            return Function(lambda x: x[:, start:end]), with_features(spec["len"])
        if kind in ("sum", "concat"):
            branches = [self.sequence(layers, f"{path}.{b}", shape) for b, layers in enumerate(spec)]
            modules, shapes = zip(*branches)
            if kind == "sum":
                return Sum(modules), shapes[0]
            return Concat(modules), (sum(s[0] for s in shapes), *shapes[0][1:])
        raise ValueError(f"{path}: peers/net.py does not know the layer {layer}")

    def linear(self, spec, path, inputs):
        outputs = spec["outputs"]
        weight = self.weights.get(f"{path}.weight", outputs, inputs, scale=inputs**-0.5)
        if spec.get("degrees"):
            of_inputs, of_outputs = (torch.tensor(spec["degrees"][k]) for k in ("input", "output"))
            weight = weight * (of_inputs[None] <= of_outputs[:, None])
        made = nn.Linear(inputs, outputs)
        made.load_state_dict({"weight": weight, "bias": self.weights.get(f"{path}.bias", outputs)})
        return made

    def norm(self, path, features):
        get = self.weights.get
        return {"weight": get(f"{path}.weight", features, mean=1.0), "bias": get(f"{path}.bias", features)}


def input_shape(net):
    """Shape of an item that the module takes: with the context behind the input, if the net begins with it."""
    shape = net["input"]
    if "vector" in shape:
        return (shape["vector"] + (net["context"] if net["layers"][0] == "append_context" else 0),)
    return tuple(shape["map"][k] for k in ("channels", "height", "width"))


def module(net, weights, path, fold=False):
    """The module of a net, whose tensors are under `path`."""
    made, _ = Builder(weights, fold).sequence(net["layers"], path, input_shape(net))
    return made.eval().requires_grad_(False)


def multiply_adds(net, weights, path):
    """Multiplications of the layers as written, one item."""
    made = module(net, weights, path)
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        # A transposed convolution uses its weights of an input channel at every pixel of it.
        pixels = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        total += pixels.numel() * layer.weight[0].numel()

    for layer in made.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        made(torch.zeros(1, *input_shape(net)))
    return total
