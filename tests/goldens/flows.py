"""Golden values of flows: nflows' rational-quadratic spline and permutation, torch.distributions' affine map.

    pip install torch numpy safetensors nflows
    python flows.py           # writes flows.safetensors beside this file

<case>.x -> <case>.normalise.<i> and <case>.z -> <case>.generate.<i>: [batch, dim + 1], the values after transform i and the
log-determinant of that transform alone. x and z are independent, so that both directions are judged on foreign points.
"""

import math
import pathlib
from importlib.metadata import version

import torch
from golden import Case, softplus, write
from nflows.transforms import Permutation
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from torch.distributions import AffineTransform
from torch.nn import functional as F

MIN = 1e-3
BATCH = 7


def linear(outputs):
    return {"linear": {"outputs": outputs}}


def affine_map(shift, log_scale):
    """z = (x - shift) exp(-log_scale), as the inverse of torch's x = shift + exp(log_scale) z."""
    forward = AffineTransform(shift, torch.exp(log_scale))

    def normalise(x):
        z = forward.inv(x)
        return z, forward.inv.log_abs_det_jacobian(x, z)

    def generate(z):
        x = forward(z)
        return x, forward.log_abs_det_jacobian(z, x)

    return normalise, generate


def spline_map(raw, bins, bound):
    # With linear tails nflows adds the end slopes itself; our raw slopes are 0 at the identity.
    offset = math.log(math.exp(1 - MIN) - 1)

    def apply(values, inverse):
        return unconstrained_rational_quadratic_spline(
            values, raw[..., :bins], raw[..., bins : 2 * bins], raw[..., 2 * bins :] + offset, inverse=inverse,
            tails="linear", tail_bound=bound, min_bin_width=MIN, min_bin_height=MIN, min_derivative=MIN,
        )

    return (lambda x: apply(x, False)), (lambda z: apply(z, True))


def coupling(keep, parameters, to_raw, make):
    def run(values, context, generate):
        kept, moved = values[:, :keep], values[:, keep:]
        raw = to_raw(torch.cat([kept, context], 1)).view(len(values), -1, parameters)
        moved, log_det = make(raw)[generate](moved)
        return torch.cat([kept, moved], 1), log_det.sum(1)

    return run


def element_affine(bound):
    return lambda raw: affine_map(raw[..., 0], bound * torch.tanh(raw[..., 1] / bound))


def element_spline(bins, bound):
    return lambda raw: spline_map(raw, bins, bound)


def diagonal(g, i, dim):
    shift, log_scale = g.weight(f"{i}", "shift", dim), g.weight(f"{i}", "log_scale", dim)

    def run(values, context, generate):
        values, log_det = affine_map(shift, log_scale)[generate](values)
        return values, log_det.sum(1)

    return run


def permutation(order):
    transform = Permutation(torch.tensor(order), dim=1)
    return lambda values, context, generate: transform.inverse(values) if generate else transform(values)


def two_layers(g, i, inputs, hidden, outputs, activation, first):
    """The net of a coupling: linear, activation, linear; `first` is the index of its first linear layer."""
    a = g.linear(f"{i}.net.{first}", inputs, hidden)
    b = g.linear(f"{i}.net.{first + 2}", hidden, outputs)
    return lambda x: b(activation(a(x)))


def record(g, dim, context, transforms, scale):
    c = g.given("context", g.normal(BATCH, context)) if context else torch.zeros(BATCH, 0)
    x = g.given("x", g.normal(BATCH, dim, scale=scale))
    z = g.given("z", g.normal(BATCH, dim, scale=scale))
    for name, values, steps in [("normalise", x, range(len(transforms))), ("generate", z, reversed(range(len(transforms))))]:
        for i in steps:
            values, log_det = transforms[i](values, c, name == "generate")
            g.tensors[f"{g.name}.{name}.{i}"] = torch.cat([values, log_det[:, None]], 1).numpy()


def affine_flow():
    spec = {
        "dim": 4,
        "context": 0,
        "transforms": [
            "diagonal",
            {"coupling": {
                "keep": 2,
                "net": {"input": {"vector": 2}, "context": 0, "layers": [linear(5), {"activation": "tanh"}, linear(4)]},
                "map": {"affine": {"bound": 3.0}},
            }},
            {"permutation": [2, 3, 1, 0]},
            {"coupling": {
                "keep": 1,
                "net": {"input": {"vector": 1}, "context": 0, "layers": [linear(6), {"activation": "softplus"}, linear(6)]},
                "map": {"affine": {"bound": 0.5}},
            }},
        ],
    }
    g = Case("affine", 11)
    transforms = [
        diagonal(g, 0, 4),
        coupling(2, 2, two_layers(g, 1, 2, 5, 4, torch.tanh, 0), element_affine(3.0)),
        permutation([2, 3, 1, 0]),
        coupling(1, 2, two_layers(g, 3, 1, 6, 6, softplus, 0), element_affine(0.5)),
    ]
    record(g, 4, 0, transforms, 1.5)
    return g, spec


def spline_flow():
    def net(keep, outputs):
        layers = ["append_context", linear(8), {"activation": "silu"}, linear(outputs)]
        return {"input": {"vector": keep}, "context": 2, "layers": layers}

    spec = {
        "dim": 5,
        "context": 2,
        "transforms": [
            {"coupling": {"keep": 2, "net": net(2, 3 * 23), "map": {"spline": {"bins": 8, "bound": 4.0}}}},
            {"permutation": [4, 2, 0, 1, 3]},
            {"coupling": {"keep": 3, "net": net(3, 2 * 11), "map": {"spline": {"bins": 4, "bound": 2.5}}}},
            "diagonal",
            {"permutation": [1, 0, 4, 3, 2]},
            {"coupling": {"keep": 4, "net": net(4, 5), "map": {"spline": {"bins": 2, "bound": 6.0}}}},
        ],
    }
    g = Case("spline", 12)
    transforms = [
        coupling(2, 23, two_layers(g, 0, 4, 8, 69, F.silu, 1), element_spline(8, 4.0)),
        permutation([4, 2, 0, 1, 3]),
        coupling(3, 11, two_layers(g, 2, 5, 8, 22, F.silu, 1), element_spline(4, 2.5)),
        diagonal(g, 3, 5),
        permutation([1, 0, 4, 3, 2]),
        coupling(4, 5, two_layers(g, 5, 6, 8, 5, F.silu, 1), element_spline(2, 6.0)),
    ]
    # A deviation of 2 puts some of the points outside the bounds, into the tails.
    record(g, 5, 2, transforms, 2.0)
    return g, spec


with torch.no_grad():
    made = [affine_flow(), spline_flow()]
packages = {name: version(name) for name in ["torch", "nflows"]}
write(
    pathlib.Path(__file__).with_name("flows.safetensors"),
    [g for g, _ in made],
    {g.name: spec for g, spec in made},
    packages,
)
