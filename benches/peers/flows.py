"""Rows of normalising flows: samples from noise, and ln p.

Each flow stands here twice: as galgen's spec, and as PyTorch modules written from the documentation of its transforms, in
the form in which a peer has least to do: permutations are no operation, shifts and scales come from the last layer in
blocks instead of side by side, constants are folded into weights.
"""

import math

import model_file
import numpy as np
import torch
from decoders import conv, linear
from net import Weights, module, multiply_adds
from row import Call, Row, noise
from torch import nn
from torch.nn import functional as F

# Items one after another are never the fastest here.
WITHOUT = frozenset({"ncnn"})
DIM, LAYERS, HIDDEN = 32, 8, 256
HALF = DIM // 2
RELU = {"activation": "relu"}
# Of ln p: galgen sums in f64, the others in f32. Of samples: 8 layers of f32 nets, one on the other; the splines'
# inverse is ill-conditioned in f32 where a bin is flat.
LOG_P, SAMPLE, SPLINE_SAMPLE = 1e-5, 2e-5, 1e-3
LN_2PI = math.log(2 * math.pi)


def columns(dim):
    return {"side": 1, "bands": [f"c{i}" for i in range(dim)]}


def log_normal(z):
    """Sum of ln of the standard normal density over all but the batch."""
    z = z.flatten(1)
    return -0.5 * (z * z).sum(1) - 0.5 * LN_2PI * z.shape[1]


def row(name, flow, geometry, weights, modules, tolerance, count, batches, log_p, bare=False):
    """The row of samples or of ln p of a flow on noise."""
    card = model_file.card(name, geometry, {"flow": {"flow": flow}})
    shape = geometry["side"], geometry["side"], len(geometry["bands"])
    channels = (shape[2], *shape[:2]) if shape[0] > 1 else (shape[2],)

    def call(batch):
        x = noise(batch, *channels)
        flat = x.reshape(batch, -1)
        if log_p:
            return Call([x], lambda session: session.log_likelihood(flat))
        none = np.zeros((batch, 0), np.float32)
        return Call([x], lambda session: session.decode(flat, none, flat.shape[1]))

    forms = {form: made.eval().requires_grad_(False) for form, made in modules.items()}
    without = WITHOUT if shape[0] == 1 else frozenset()
    return Row(card, weights.tensors, forms, call, tolerance, count, batches, bare, without=without)


def blocks(layer, parameters):
    """Reorders the outputs of the last layer from p of element 0, p of element 1 ... to all of p = 0, all of p = 1 ..."""
    order = torch.arange(layer.weight.shape[0]).view(-1, parameters).T.flatten()
    layer.weight.data, layer.bias.data = layer.weight[order].clone(), layer.bias[order].clone()
    return layer


# Couplings of vectors


def dense(inputs, outputs):
    layers = [linear(HIDDEN), RELU, linear(HIDDEN), RELU, linear(outputs)]
    return {"input": {"vector": inputs}, "context": 0, "layers": layers}


class Couplings(nn.Module):
    """Couplings between which the halves change places. `generate`: noise to data, else ln p."""

    def __init__(self, nets, element, generate):
        super().__init__()
        self.nets, self.element, self.generate = nn.ModuleList(nets), element, generate

    def forward(self, x):
        kept, moved = x[:, :HALF], x[:, HALF:]
        if self.generate:
            for net in reversed(self.nets):
                # Backwards the halves change places before the coupling.
                kept, moved = moved, kept
                moved, _ = self.element(net(kept), moved, True)
            return torch.cat([kept, moved], 1)
        log_det = 0
        for net in self.nets:
            moved, own = self.element(net(kept), moved, False)
            log_det = log_det + own.sum(1)
            kept, moved = moved, kept
        return log_normal(torch.cat([kept, moved], 1)) + log_det


class Affine:
    """z = (x - shift) exp(-bound tanh(raw / bound)), of [shift, raw] in blocks."""

    parameters, bound = 2, 3.0
    spec = {"affine": {"bound": bound}}

    def __call__(self, raw, x, generate):
        shift, scale = raw.chunk(2, 1)
        log_scale = self.bound * torch.tanh(scale)
        if generate:
            return x * torch.exp(log_scale) + shift, log_scale
        return (x - shift) * torch.exp(-log_scale), -log_scale

    def prepare(self, last):
        """The bound's inverse goes into the weights."""
        half = len(last.bias) // 2
        last.weight.data[half:] /= self.bound
        last.bias.data[half:] /= self.bound


class Spline:
    """Rational-quadratic splines of widths, heights and inner slopes in blocks, each [bins, elements]."""

    bins, bound, least = 8, 5.0, 1e-3
    parameters = 3 * bins - 1
    spec = {"spline": {"bins": bins, "bound": bound}}

    def prepare(self, last):
        """The offset with which raw slopes of 0 are slopes of 1."""
        last.bias.data[2 * self.bins * HALF :] += math.log(math.expm1(1 - self.least))

    def knots(self, raw):
        """[batch, bins + 1, elements]"""
        sizes = self.least + (1 - self.least * self.bins) * torch.softmax(raw, 1)
        inner = self.bound * (2 * torch.cumsum(sizes, 1)[:, :-1] - 1)
        ends = torch.full_like(raw[:, :1], self.bound)
        return torch.cat([-ends, inner, ends], 1)

    def __call__(self, raw, v, generate):
        raw = raw.view(len(raw), self.parameters, -1)
        x, y = self.knots(raw[:, : self.bins]), self.knots(raw[:, self.bins : 2 * self.bins])
        one = torch.ones_like(raw[:, :1])
        slopes = torch.cat([one, self.least + F.softplus(raw[:, 2 * self.bins :]), one], 1)
        seen = y if generate else x
        bin = (v[:, None] >= seen[:, 1:-1]).long().sum(1, keepdim=True)
        at = lambda values, next=0: torch.gather(values, 1, bin + next)[:, 0]
        left, low, d0, d1 = at(x), at(y), at(slopes), at(slopes, 1)
        width, height = at(x, 1) - left, at(y, 1) - low
        s = height / width
        bend = d0 + d1 - 2 * s
        if generate:
            dy = v - low
            a, b, c = height * (s - d0) + dy * bend, height * d0 - dy * bend, -s * dy
            t = 2 * c / (-b - torch.sqrt((b * b - 4 * a * c).clamp(min=0)))
            return torch.where(v.abs() < self.bound, left + t * width, v), None
        t = (v - left) / width
        r = t * (1 - t)
        below = s + bend * r
        value = low + height * (s * t * t + d0 * r) / below
        log_det = torch.log(s * s * (d1 * t * t + 2 * s * r + d0 * (1 - t) ** 2)) - 2 * torch.log(below)
        inside = v.abs() < self.bound
        return torch.where(inside, value, v), torch.where(inside, log_det, torch.zeros_like(v))


def couplings(name, element, generate, tolerance, batches, bare=False):
    net = dense(HALF, HALF * element.parameters)
    weights, transforms, nets = Weights(4), [], []
    for i in range(0, 2 * LAYERS, 2):
        # Small steps, as trained flows make.
        weights.get(f"flow.{i}.net.4.weight", HALF * element.parameters, HIDDEN, scale=0.3 * HIDDEN**-0.5)
        swap = [*range(HALF, DIM), *range(HALF)]
        transforms += [{"coupling": {"keep": HALF, "net": net, "map": element.spec}}, {"permutation": swap}]
        made = module(net, weights, f"flow.{i}.net")
        element.prepare(blocks(made[-1], element.parameters))
        nets.append(made)
    flow = {"dim": DIM, "context": 0, "transforms": transforms}
    count = LAYERS * multiply_adds(net, weights, "flow.0.net")
    forms = {"as written": Couplings(nets, element, generate)}
    return row(name, flow, columns(DIM), weights, forms, tolerance, count, batches, not generate, bare)


def coupling():
    """8 affine couplings of 32 numbers, nets 16-256-256-32: samples."""
    return couplings("coupling", Affine(), True, SAMPLE, (1, 64))


def coupling_logp():
    """The same: ln p."""
    return couplings("coupling_logp", Affine(), False, LOG_P, (1, 64), bare=True)


def spline():
    """The same with splines of 8 bins: samples."""
    return couplings("spline", Spline(), True, SPLINE_SAMPLE, (1, 64))


def spline_logp():
    """The same: ln p."""
    return couplings("spline_logp", Spline(), False, LOG_P, (1, 64), bare=True)


# Masked autoregressive flow


def degrees(lowest):
    """Of the inputs, of the hidden units and, once an element, of the outputs."""
    hidden = [lowest + k * (DIM - lowest) // HIDDEN for k in range(HIDDEN)]
    return [i + 1 for i in range(DIM)], hidden, list(range(DIM))


def made_net():
    inputs, hidden, outputs = degrees(1)
    masked = lambda i, o: {"linear": {"outputs": len(o), "degrees": {"input": i, "output": o}}}
    last = masked(hidden, [d for d in outputs for _ in range(2)])
    return {
        "input": {"vector": DIM},
        "context": 0,
        "layers": [masked(inputs, hidden), RELU, masked(hidden, hidden), RELU, last],
    }


class MafLogP(nn.Module):
    """One pass of each net; the order of the elements is reversed from one to the next."""

    def __init__(self, nets, element):
        super().__init__()
        self.nets, self.element = nn.ModuleList(nets), element

    def forward(self, x):
        log_det = 0
        for net in self.nets:
            x, own = self.element(net(x), x, False)
            log_det = log_det + own.sum(1)
            x = x.flip(1)
        return log_normal(x) + log_det


class MafNaive(MafLogP):
    """As many passes as there are elements, each of the whole net."""

    unrolled = True

    def forward(self, z):
        for net in reversed(self.nets):
            z, x = z.flip(1), torch.zeros_like(z)
            for _ in range(DIM):
                x, _ = self.element(net(x), z, True)
            z = x
        return z


class MafIncremental(nn.Module):
    """Every unit once: those of a degree when the inputs that they see are known, from those before them alone."""

    unrolled = True

    def __init__(self, nets, element):
        super().__init__()
        self.element = element
        hidden = torch.tensor(degrees(1)[1])
        # Units that see elements up to the i-th, and where they end.
        self.ends = [int((hidden <= i).sum()) for i in range(DIM)]
        self.steps = nn.ModuleList(nn.ModuleList(self.cut(net, i) for i in range(DIM)) for net in reversed(nets))

    def cut(self, net, i):
        """The rows of element i, and of the hidden units that can be evaluated just before it."""
        new = slice(self.ends[i - 1] if i else 0, self.ends[i])
        rows = torch.tensor([i, DIM + i])
        parts = []
        for layer, out, seen in (net[0], new, i), (net[2], new, self.ends[i]), (net[4], rows, self.ends[i]):
            weight, bias = layer.weight[out, :seen], layer.bias[out]
            part = nn.utils.skip_init(nn.Linear, *reversed(weight.shape))
            part.load_state_dict({"weight": weight, "bias": bias})
            parts.append(part)
        return nn.ModuleList(parts)

    def forward(self, z):
        for steps in self.steps:
            z = z.flip(1)
            known, first, second = [], [], []
            for i, (a, b, c) in enumerate(steps):
                if self.ends[i] > (self.ends[i - 1] if i else 0):
                    first.append(F.relu(a(torch.cat(known, 1))))
                    second.append(F.relu(b(torch.cat(first, 1))))
                if second:
                    raw = c(torch.cat(second, 1))
                else:
                    raw = c.bias.expand(len(z), -1)
                x, _ = self.element(raw, z[:, i : i + 1], True)
                known.append(x)
            z = torch.cat(known, 1)
        return z


def maf(name, generate, tolerance, batches):
    element, net = Affine(), made_net()
    weights, transforms, nets = Weights(5), [], []
    for i in range(0, 2 * LAYERS, 2):
        weights.get(f"flow.{i}.net.4.weight", 2 * DIM, HIDDEN, scale=0.3 * HIDDEN**-0.5)
        step = {"net": net, "map": element.spec, "one_pass": "normalise"}
        transforms += [{"autoregressive": step}, {"permutation": list(range(DIM))[::-1]}]
        made = module(net, weights, f"flow.{i}.net")
        element.prepare(blocks(made[-1], 2))
        nets.append(made)
    flow = {"dim": DIM, "context": 0, "transforms": transforms}
    if generate:
        forms = {"naive": MafNaive(nets, element), "by degrees": MafIncremental(nets, element)}
    else:
        forms = {"as written": MafLogP(nets, element)}
    # One pass of the nets, unmasked.
    count = LAYERS * multiply_adds(net, weights, "flow.0.net")
    return row(name, flow, columns(DIM), weights, forms, tolerance, count, batches, not generate, bare=True)


def maf_sample():
    """8 masked autoregressive transforms of 32 numbers, nets 32-256-256-64: samples."""
    return maf("maf_sample", True, SAMPLE, (1, 64))


def maf_logp():
    """The same: ln p."""
    return maf("maf_logp", False, LOG_P, (1, 64))


# Glow

LEVELS, STEPS, CHANNELS, SIDE = 3, 8, 128, 64


class GlowStep(nn.Module):
    """Actnorm and invertible 1 x 1 convolution as one convolution; then an affine coupling of the second half."""

    def __init__(self, shift, log_scale, matrix, net, pixels):
        super().__init__()
        n = len(shift)
        weight = matrix.double() * torch.exp(-log_scale.double())
        self.mix = nn.Conv2d(n, n, 1)
        self.mix.load_state_dict({"weight": weight[:, :, None, None], "bias": -weight @ shift.double()})
        self.net = net
        # sigmoid(raw + 2)
        net[-1].bias.data[n // 2 :] += 2
        self.log_det = pixels * float(torch.linalg.slogdet(weight)[1])

    def forward(self, x):
        kept, moved = self.mix(x).chunk(2, 1)
        shift, raw = self.net(kept).chunk(2, 1)
        moved = torch.sigmoid(raw) * (moved + shift)
        return torch.cat([kept, moved], 1), F.logsigmoid(raw).flatten(1).sum(1) + self.log_det


class Glow(nn.Module):
    def __init__(self, levels):
        super().__init__()
        self.levels = nn.ModuleList(map(nn.ModuleList, levels))

    def forward(self, x):
        log_p = 0
        for i, steps in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2)
            for step in steps:
                x, log_det = step(x)
                log_p = log_p + log_det
            if i + 1 < len(self.levels):
                x, done = x.chunk(2, 1)
                log_p = log_p + log_normal(done)
        return log_p + log_normal(x)


def glow_logp():
    """3 levels of 8 steps on 64 x 64 pixels, nets of 3 x 3, 1 x 1 and 3 x 3 convolutions with 128 channels: ln p."""
    weights, transforms, levels, count = Weights(6), [], [], 0
    channels, side = 1, SIDE
    for level in range(LEVELS):
        channels, side, steps = 4 * channels, side // 2, []
        transforms.append("squeeze")
        for _ in range(STEPS):
            i, half = len(transforms), channels // 2
            shift = weights.get(f"flow.{i}.shift", channels)
            log_scale = weights.get(f"flow.{i}.log_scale", channels)
            matrix, _ = torch.linalg.qr(torch.randn(channels, channels, generator=weights.random))
            weights.tensors[f"flow.{i + 1}.weight"] = matrix
            net = {
                "input": {"map": {"channels": half, "height": side, "width": side}},
                "context": 0,
                "layers": [conv(CHANNELS, 3), RELU, conv(CHANNELS, 1), RELU, conv(channels, 3)],
            }
            path = f"flow.{i + 2}.net"
            weights.get(f"{path}.4.weight", channels, CHANNELS, 3, 3, scale=0.3 * (9 * CHANNELS) ** -0.5)
            made = module(net, weights, path)
            blocks(made[-1], 2)
            steps.append(GlowStep(shift, log_scale, matrix, made, side**2))
            count += multiply_adds(net, weights, path) + side**2 * channels**2
            element = {"shift_scale": {"sigmoid": {"floor": 0.0}}}
            transforms += ["diagonal", {"linear": "dense"}, {"coupling": {"keep": half, "net": net, "map": element}}]
        levels.append(steps)
        if level + 1 < LEVELS:
            channels //= 2
            transforms.append({"split": {"keep": channels}})
    flow = {"shape": {"map": {"channels": 1, "height": SIDE, "width": SIDE}}, "context": 0, "transforms": transforms}
    geometry = {"side": SIDE, "bands": ["r"]}
    forms = {"as written": Glow(levels)}
    return row("glow_logp", flow, geometry, weights, forms, LOG_P, count, (1,), True, bare=True)
