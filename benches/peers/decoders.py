"""Rows of decoders: a latent to an image."""

import json

import model_file
import numpy as np
import torch
from net import Weights, module, multiply_adds
from row import Call, Row, noise

LATENT = 32
# Sums of 10^3 products in f32, in another order.
TOLERANCE = 2e-5
SILU = {"activation": "silu"}
DOUBLE = {"upsample_nearest": {"factor": 2}}


def linear(outputs):
    return {"linear": {"outputs": outputs}}


def all_around(n):
    return {"top": n, "bottom": n, "left": n, "right": n}


def conv(outputs, kernel, stride=1):
    spec = {"outputs": outputs, "kernel": [kernel, kernel], "stride": stride, "padding": all_around(kernel // 2)}
    return {"conv2d": spec}


def reshape(channels, side):
    return {"reshape": {"map": {"channels": channels, "height": side, "width": side}}}


def square(channels, side):
    return {"map": {"channels": channels, "height": side, "width": side}}


def encoder(side):
    """Something small that a model file must have."""
    coarse = side // 16
    layers = [conv(1, 1, 16), {"reshape": {"vector": coarse**2}}, linear(2 * LATENT)]
    return {"input": square(1, side), "context": 0, "layers": layers}


def autoencoder(name, side, layers, folded=None):
    """The row of a decoder of plain images: its output is what the net gives. `folded`: net and weights to another form
    of the module."""
    net = {"input": {"vector": LATENT}, "context": 0, "layers": layers}
    weights = Weights(3)
    forms = {"as written": module(net, weights, "decoder")}
    if any(isinstance(m, torch.nn.Upsample) for m in forms["as written"].modules()):
        forms["folded"] = module(net, weights, "decoder", fold=True)
    if folded:
        forms["folded"] = folded(net, weights)
    count = multiply_adds(net, weights, "decoder")
    module(encoder(side), weights, "encoder")
    model = {
        "vae": {
            "latent": LATENT,
            "posterior": "gaussian",
            "likelihood": {"gaussian": {"deviation": 1.0}},
            "encoder": encoder(side),
            "decoder": net,
        }
    }
    card = model_file.card(name, {"side": side, "bands": ["r"]}, model)

    def call(batch):
        z = noise(batch, LATENT)
        none = np.zeros((batch, 0), np.float32)
        return Call([z], lambda session: session.decode(z, none, side * side), lambda raw: raw.reshape(batch, -1))

    return Row(card, weights.tensors, forms, call, TOLERANCE, count)


def decoder64(norm=()):
    """Four times nearest x2, 3 x 3 convolution, SiLU: 256-128-64-32-16 channels from 4 x 4 to 64 x 64."""
    layers = [linear(256 * 16), SILU, reshape(256, 4)]
    for channels in (128, 64, 32, 16):
        layers += [DOUBLE, conv(channels, 3), *norm, SILU]
    return autoencoder("decoder64", 64, layers + [conv(1, 3), {"activation": "softplus"}])


def decoder64_norm():
    """The same with group normalisation of 8 groups."""
    return decoder64([{"group_norm": {"groups": 8, "epsilon": 0.001}}])


def dense128():
    """Residual blocks of two 3 x 3 convolutions that double the side, 256-256-128-64-32-16 channels."""
    layers, channels = [linear(256 * 16), reshape(256, 4)], 256
    for outputs in (256, 128, 64, 32, 16):
        skip = [DOUBLE] + ([conv(outputs, 1)] if outputs != channels else [])
        layers.append({"sum": [skip, [DOUBLE, conv(outputs, 3), SILU, conv(outputs, 3)]]})
        layers.append(SILU)
        channels = outputs
    return autoencoder("dense128", 128, layers + [conv(1, 3), {"activation": "softplus"}])


def published128():
    """Seven stages, each a transposed convolution of 4 x 4 with stride 2 and residual separable convolutions, layer norm
    over channels and bipolar ELU: after Lanusse et al. 2021."""
    norm = lambda: [{"layer_norm": {"epsilon": 0.001}}, "bipolar_elu"]
    depthwise = {"depthwise_conv2d": {"kernel": [3, 3], "stride": 1, "padding": all_around(1)}}
    separable = lambda c: [depthwise, conv(c, 1)]
    layers = [linear(512), reshape(512, 1)]
    for channels in (512, 512, 256, 128, 64, 32, 16):
        up = {"outputs": channels, "kernel": [4, 4], "stride": 2, "padding": all_around(1)}
        layers += [{"conv_transpose2d": up}, *norm()]
        for _ in range(2):
            layers.append({"sum": [[], [*separable(channels), *norm(), *separable(channels)]]})
    layers += [conv(1, 3), {"activation": "softplus"}]
    return autoencoder("published128", 128, layers, signs_folded)


def signs_folded(net, weights):
    """The published decoder with plain ELU: the signs of the bipolar one are carried along in the weights. What a layer
    norm sees has its own sign, all else the sign of its feature."""
    tensors = {k: v.clone() for k, v in weights.tensors.items()}

    def flip(path, *, inputs=False, outputs=False):
        weight, bias = tensors[f"{path}.weight"], tensors[f"{path}.bias"]
        if inputs:
            # Of a transposed convolution the inputs come first.
            (weight.transpose(0, 1) if weight.shape[2:] != (4, 4) else weight)[1::2] *= -1
        if outputs:
            weight[1::2] *= -1
        if outputs or weight.dim() == 4 and weight.shape[1] == 1:
            # Of a depthwise convolution the sign goes through, but not through the bias.
            bias[1::2] *= -1

    for i, layer in enumerate(net["layers"]):
        path = f"decoder.{i}"
        if "conv_transpose2d" in layer and i > 2 or "conv2d" in layer:
            flip(path, inputs=True)
        if "layer_norm" in layer:
            flip(path, outputs=True)
        if "sum" in layer:
            flip(f"{path}.1.0")
            flip(f"{path}.1.1", inputs=True)
            flip(f"{path}.1.2", outputs=True)
            flip(f"{path}.1.4")
            flip(f"{path}.1.5", inputs=True, outputs=True)
    text = json.dumps(net).replace('"bipolar_elu"', '{"activation": "elu"}')
    return module(json.loads(text), Weights(0, tensors), "decoder")


# Of a stamp's half side: where its border window begins to fall (galgen-core, `stamp`).
WINDOW_FLAT = 0.8


def window(side):
    """Border of a stamp: 1 to 0.8 of its half side, from there a raised cosine to 0 at the half side."""
    offset = np.arange(side) - (side - 1) / 2
    radius = np.hypot(offset[:, None], offset)
    fall = (radius - WINDOW_FLAT * side / 2) / ((1 - WINDOW_FLAT) * side / 2)
    return 0.5 * (1 + np.cos(np.pi * np.clip(fall, 0, 1)))


def galaxies(path):
    """The decoder of a galaxy model's file. Galgen also standardises conditions, multiplies by the border window and
    normalises each stamp to unit sum; peers run the net alone."""
    card, tensors = model_file.read(path)
    tensors = {k: torch.from_numpy(v) for k, v in tensors.items()}
    net, geometry = card["model"]["flow_vae"]["decoder"], card["geometry"]
    latent, side, bands = net["input"]["vector"], geometry["side"], len(geometry["bands"])
    weights = Weights(0, tensors)

    def finished(raw):
        stamps = raw * window(side)
        return (stamps / stamps.sum((1, 2, 3), keepdims=True)).reshape(len(raw), -1)

    def call(batch):
        z = noise(batch, latent)
        context = np.random.default_rng(2).uniform(-1, 1, (batch, net["context"])).astype(np.float32)
        conditions = np.empty_like(context)
        for i, c in enumerate(card["conditions"]["list"]):
            conditions[:, i] = c["mean"] + c["deviation"] * context[:, i].astype(np.float64)
        ours = lambda session: session.decode(z, conditions, bands * side * side)
        return Call([np.concatenate([z, context], 1)], ours, finished)

    forms = {"as written": module(net, weights, "decoder"), "folded": module(net, weights, "decoder", fold=True)}
    return Row(card, tensors, forms, call, TOLERANCE, multiply_adds(net, weights, "decoder"))
