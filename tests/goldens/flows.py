"""Golden values of flows: nflows' spline, permutation, actnorm, 1 x 1 convolution, squeeze, residual MADE and image coupling;
zuko's autoregressive (MAF, NSF) and coupling (NICE) transforms; torch.distributions' affine map and mixture of logistics;
torch's automatic Jacobian for the planar transform.

    pip install torch numpy safetensors nflows zuko
    python flows.py           # writes flows.safetensors beside this file

<case>.x -> <case>.normalise.<i> and <case>.z -> <case>.generate.<i>: [batch, dim + 1], the values after transform i and the
log-determinant of that transform alone. x and z are independent, so that both directions are judged on foreign points.
"""

import math
import pathlib
from importlib.metadata import version

import torch
import zuko
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


def set_weights(g, module):
    """Draws the parameters of every linear layer of `module`, in order; returns (layer, weight, bias)."""
    found = []
    for layer in module.modules():
        if isinstance(layer, (torch.nn.Linear, zuko.nn.Linear)):
            weight = g.normal(*layer.weight.shape, scale=layer.weight.shape[1] ** -0.5)
            bias = g.normal(*layer.bias.shape, scale=0.2)
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
            found.append((layer, weight, bias))
    return found


def masks_to_degrees(layers, inputs, outputs):
    """Degrees that give the masks of a MADE: of inputs and outputs as given, of hidden units what they see."""
    known, degrees = inputs, []
    for i, (layer, _, _) in enumerate(layers):
        mask = layer.mask.bool()
        own = outputs if i == len(layers) - 1 else [max(k for k, seen in zip(known, row) if seen) for row in mask]
        for o, row in enumerate(mask):
            assert [bool(v) for v in row] == [k <= own[o] for k in known], "a mask that degrees cannot give"
        degrees.append({"input": known, "output": own})
        known = own
    return degrees


def zuko_autoregressive(g, i, module, order, context, element_map, activation="relu"):
    """A masked autoregressive transform of zuko; `order` is its own, the rank of each element."""
    dim, total = len(order), module.total
    layers = set_weights(g, module.hyper)
    outputs = [rank for rank in order for _ in range(total)]
    degrees = masks_to_degrees(layers, [r + 1 for r in order] + [0] * context, outputs)
    spec = ["append_context"] if context else []
    for n, ((layer, weight, bias), degree) in enumerate(zip(layers, degrees)):
        g.given(f"net.{i}.net.{len(spec)}.weight", weight)
        g.given(f"net.{i}.net.{len(spec)}.bias", bias)
        spec.append({"linear": {"outputs": len(bias), "degrees": degree}})
        if n + 1 < len(layers):
            spec.append({"activation": activation})
    net = {"input": {"vector": dim}, "context": context, "layers": spec}
    by_rank = sorted(range(dim), key=lambda e: order[e])

    def run(values, c, generate):
        transform = module(c if context else None)
        if generate:
            back = transform.inv(values)
            return back, -transform.log_abs_det_jacobian(back, values)
        z = transform(values)
        return z, transform.log_abs_det_jacobian(values, z)

    return run, {"autoregressive": {"net": net, "map": element_map, "one_pass": "normalise", "order": by_rank}}


def maf_flow():
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform

    g = Case("zuko MAF", 13)
    soft = {"scale_shift": {"soft_clip": {"bound": -math.log(1e-3)}}}
    made = []
    for i, order in enumerate([[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]]):
        module = MaskedAutoregressiveTransform(4, 2, order=order, hidden_features=(9, 7))
        made.append(zuko_autoregressive(g, i, module, order, 2, soft))
    record(g, 4, 2, [run for run, _ in made], 1.5)
    return g, {"dim": 4, "context": 2, "transforms": [spec for _, spec in made]}


def nsf_flow():
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform
    from zuko.transforms import MonotonicRQSTransform

    g = Case("zuko NSF", 14)
    bins = 5
    spline = {"spline": {"bins": bins, "bound": 5.0, "knots": "soft_clipped"}}
    made = []
    for i, order in enumerate([[0, 1, 2], [2, 1, 0]]):
        module = MaskedAutoregressiveTransform(
            3, 0, order=order, univariate=MonotonicRQSTransform, shapes=[(bins,), (bins,), (bins - 1,)],
            hidden_features=(8, 8),
        )
        made.append(zuko_autoregressive(g, i, module, order, 0, spline))
    record(g, 3, 0, [run for run, _ in made], 2.0)
    return g, {"dim": 3, "context": 0, "transforms": [spec for _, spec in made]}


def nice_flow():
    """zuko's coupling between interleaved elements, which are brought to the front and back."""
    from zuko.flows.coupling import GeneralCouplingTransform

    g = Case("zuko NICE", 15)
    transforms, specs = [], []
    for mask in ([True, False, True, False, False], [False, True, False, True, True]):
        module = GeneralCouplingTransform(5, 1, mask=mask, hidden_features=(6,))
        first = [i for i in range(5) if mask[i]]
        to_front = first + [i for i in range(5) if not mask[i]]
        back = [to_front.index(i) for i in range(5)]
        i = len(specs) + 1
        layers = set_weights(g, module.hyper)
        net = ["append_context"]
        for n, (_, weight, bias) in enumerate(layers):
            g.given(f"net.{i}.net.{len(net)}.weight", weight)
            g.given(f"net.{i}.net.{len(net)}.bias", bias)
            net += [linear(len(bias))] + ([{"activation": "relu"}] if n + 1 < len(layers) else [])

        def run(values, c, generate, module=module, to_front=to_front, back=back):
            transform, whole = module(c), values[:, back]
            if generate:
                x = transform.inv(whole)
                return x[:, to_front], -transform.log_abs_det_jacobian(x, whole)
            z = transform(whole)
            return z[:, to_front], transform.log_abs_det_jacobian(whole, z)

        keep = len(first)
        specs += [
            {"permutation": to_front},
            {"coupling": {
                "keep": keep,
                "net": {"input": {"vector": keep}, "context": 1, "layers": net},
                "map": {"scale_shift": {"soft_clip": {"bound": -math.log(1e-3)}}},
            }},
            {"permutation": back},
        ]
        transforms += [permutation(to_front), run, permutation(back)]
    record(g, 5, 1, transforms, 1.5)
    return g, {"dim": 5, "context": 1, "transforms": specs}


def residual_flow():
    """nflows' masked autoregressive transform with residual blocks; its raw scale comes before the shift."""
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform

    g = Case("nflows residual MADE", 16)
    dim, hidden = 4, 9
    module = MaskedAffineAutoregressiveTransform(dim, hidden, num_blocks=1, use_residual_blocks=True, random_mask=False)
    made = module.autoregressive_net
    block = made.blocks[0]
    names = ["0", "1.1.1", "1.1.3", "2"]
    layers = [made.initial_layer, block.linear_layers[0], block.linear_layers[1], made.final_layer]
    # Ours: [shift, raw] an element; theirs: [raw, shift].
    swap = [2 * e + 1 - p for e in range(dim) for p in range(2)]
    specs, known = [], list(range(1, dim + 1))
    for name, layer in zip(names, layers):
        weight = g.normal(*layer.weight.shape, scale=layer.weight.shape[1] ** -0.5)
        bias = g.normal(*layer.bias.shape, scale=0.2)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        last = layer is layers[-1]
        own = [e for e in range(dim) for _ in range(2)] if last else [int(d) for d in layer.degrees]
        for o, row in enumerate(layer.mask.bool()):
            assert [bool(v) for v in row] == [k <= own[o] for k in known], "a mask that degrees cannot give"
        g.given(f"net.0.net.{name}.weight", weight[swap] if last else weight)
        g.given(f"net.0.net.{name}.bias", bias[swap] if last else bias)
        specs.append({"linear": {"outputs": len(bias), "degrees": {"input": known, "output": own}}})
        known = own
    residual = {"sum": [[], [{"activation": "relu"}, specs[1], {"activation": "relu"}, specs[2]]]}
    net = {"input": {"vector": dim}, "context": 0, "layers": [specs[0], residual, specs[3]]}
    run = lambda values, c, generate: module.inverse(values) if generate else module(values)
    record(g, dim, 0, [run], 1.5)
    element_map = {"scale_shift": {"softplus": {"floor": 1e-3}}}
    transform = {"autoregressive": {"net": net, "map": element_map, "one_pass": "normalise"}}
    return g, {"dim": dim, "context": 0, "transforms": [transform]}


def flat(values):
    return values.reshape(len(values), -1)


def glow_flow():
    """nflows: actnorm, squeeze, invertible 1 x 1 convolution and affine coupling of images; a step of Glow."""
    from nflows.transforms import ActNorm, OneByOneConvolution, SqueezeTransform

    g = Case("nflows Glow", 17)
    act, squeeze, mix = ActNorm(2), SqueezeTransform(), OneByOneConvolution(8)
    log_scale, shift = g.normal(2, scale=0.3), g.normal(2)
    act.log_scale.copy_(log_scale)
    act.shift.copy_(shift)
    act.initialized.data = torch.tensor(True)
    # z = exp(log_scale) x + shift
    g.given("net.0.shift", torch.zeros(2))
    g.given("net.0.log_scale", -log_scale)
    g.given("net.1.shift", -shift)
    g.given("net.1.log_scale", torch.zeros(2))
    entries = g.normal(28, scale=0.3)
    mix.lower_entries.copy_(entries)
    upper = g.normal(28, scale=0.3)
    mix.upper_entries.copy_(upper)
    log_diagonal = g.normal(8, scale=0.3)
    # softplus(raw) + eps = exp(log_diagonal)
    mix.unconstrained_upper_diag.copy_(torch.log(torch.expm1(torch.exp(log_diagonal) - mix.eps)))
    mix.bias.zero_()
    matrices = [torch.zeros(8, 8), torch.zeros(8, 8)]
    matrices[0][mix.lower_indices[0], mix.lower_indices[1]] = entries
    matrices[1][mix.upper_indices[0], mix.upper_indices[1]] = upper
    order = [int(i) for i in mix.permutation._permutation]
    g.given("net.4.lower", matrices[0])
    g.given("net.4.upper", matrices[1])
    g.given("net.4.log_diagonal", log_diagonal)
    first = g.conv("5.net.0", 3, 6, (3, 3), pad=(1, 1, 1, 1))
    second = g.conv("5.net.2", 6, 10, (3, 3), pad=(1, 1, 1, 1))

    def squeezed(values, c, generate):
        image = values.reshape(-1, *((8, 2, 2) if generate else (2, 4, 4)))
        out, log_det = (squeeze.inverse if generate else squeeze)(image)
        return flat(out), log_det

    def scaled(values, c, generate):
        half = act.log_scale.exp().view(1, -1, 1, 1)
        image = values.reshape(-1, 2, 4, 4)
        sign = -1 if generate else 1
        return flat(image / half if generate else image * half), sign * 16 * act.log_scale.sum().expand(len(values))

    def shifted(values, c, generate):
        """What is left of actnorm: its outputs, less its scaling."""
        image = values.reshape(-1, 2, 4, 4)
        if generate:
            out, log_det = act.inverse(image)
            return flat(out * act.log_scale.exp().view(1, -1, 1, 1)), log_det + 16 * act.log_scale.sum()
        out, log_det = act(image / act.log_scale.exp().view(1, -1, 1, 1))
        return flat(out), log_det - 16 * act.log_scale.sum()

    def permuted(values, c, generate):
        image = values.reshape(-1, 8, 2, 2)
        out, log_det = (mix.permutation.inverse if generate else mix.permutation)(image)
        return flat(out), log_det

    def mixed(values, c, generate):
        """The convolution without its permutation."""
        image = values.reshape(-1, 8, 2, 2)
        if generate:
            out, log_det = mix.inverse(image)
            return flat(mix.permutation(out)[0]), log_det
        out, log_det = mix(mix.permutation.inverse(image)[0])
        return flat(out), log_det

    def coupled(values, c, generate):
        image = values.reshape(-1, 8, 2, 2)
        kept, moved = image[:, :3], image[:, 3:]
        raw = second(torch.relu(first(kept))).view(len(values), 5, 2, 2, 2)
        # As in Glow: z = (x + shift) sigmoid(raw + 2).
        scale = torch.sigmoid(raw[:, :, 1] + 2)
        moved = moved / scale - raw[:, :, 0] if generate else (moved + raw[:, :, 0]) * scale
        log_det = flat(torch.log(scale)).sum(1)
        return flat(torch.cat([kept, moved], 1)), -log_det if generate else log_det

    transforms = [scaled, shifted, squeezed, permuted, mixed, coupled]
    record(g, 32, 0, transforms, 1.5)
    conv = lambda outputs: {"conv2d": {
        "outputs": outputs, "kernel": [3, 3], "stride": 1,
        "padding": {"top": 1, "bottom": 1, "left": 1, "right": 1},
    }}
    net = {
        "input": {"map": {"channels": 3, "height": 2, "width": 2}},
        "context": 0,
        "layers": [conv(6), {"activation": "relu"}, conv(10)],
    }
    spec = {
        "shape": {"map": {"channels": 2, "height": 4, "width": 4}},
        "context": 0,
        "transforms": [
            "diagonal",
            "diagonal",
            "squeeze",
            {"permutation": order},
            {"linear": {"lu": {"order": list(range(8))}}},
            {"coupling": {"keep": 3, "net": net, "map": {"shift_scale": {"sigmoid": {"floor": 0.0}}}}},
        ],
    }
    return g, spec


def mixture_map(raw, k):
    """z = logit F(x) with torch's distribution functions; the derivative by automatic differentiation."""
    weights = torch.softmax(raw[..., :k], -1)
    scales = torch.exp(raw[..., 2 * k :] / (1 + raw[..., 2 * k :].abs() / 7))

    def value(x):
        t = (x[..., None] - raw[..., k : 2 * k]) / scales
        return torch.log((weights * torch.sigmoid(t)).sum(-1)) - torch.log((weights * torch.sigmoid(-t)).sum(-1))

    def normalise(x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            z = value(x)
            (slope,) = torch.autograd.grad(z.sum(), x)
        return z.detach(), torch.log(slope)

    def generate(z):
        low, high = torch.full_like(z, -1e4), torch.full_like(z, 1e4)
        for _ in range(200):
            middle = (low + high) / 2
            below = value(middle) < z
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        x = (low + high) / 2
        return x, -normalise(x)[1]

    return normalise, generate


def planar(g, i, dim):
    w, scale = g.weight(f"{i}", "weight", dim, fan_in=dim), g.weight(f"{i}", "scale", dim, fan_in=dim)
    bias = g.weight(f"{i}", "bias", 1)
    along = w @ scale
    u = scale + (softplus(along) - 1 - along) * w / (w @ w)
    move = lambda x: x + u * torch.tanh(w @ x + bias)

    def log_det(x):
        return torch.linalg.slogdet(torch.autograd.functional.jacobian(move, x))[1]

    def run(values, context, generate):
        if not generate:
            return torch.stack([move(x) for x in values]), torch.stack([log_det(x) for x in values])
        out = []
        for z in values:
            low, high = torch.tensor(-50.0), torch.tensor(50.0)
            for _ in range(200):
                a = (low + high) / 2
                low, high = (a, high) if a + (w @ u) * torch.tanh(a) < w @ z + bias[0] else (low, a)
            out.append(z - u * torch.tanh((low + high) / 2))
        return torch.stack(out), torch.stack([-log_det(x) for x in out])

    return run


def other_flow():
    """What no package has: the mixture of logistics, the planar transform, the dense matrix, the leaky rectifier."""
    g = Case("mixture", 18)
    k, dim = 3, 4
    net = {"input": {"vector": 2}, "context": 0, "layers": [linear(7), {"activation": "tanh"}, linear(2 * 3 * k)]}
    weight = g.weight("2", "weight", dim, dim, fan_in=dim)
    slopes = g.weight("3", "log_slope", dim)

    def matrix(values, context, generate):
        log_det = torch.linalg.slogdet(weight)[1].expand(len(values))
        return (torch.linalg.solve(weight, values.T).T, -log_det) if generate else (values @ weight.T, log_det)

    def leaky(values, context, generate):
        log = torch.where(values < 0, slopes, torch.zeros(())) * (-1 if generate else 1)
        return values * torch.exp(log), log.sum(1)

    transforms = [
        coupling(2, 3 * k, two_layers(g, 0, 2, 7, 6 * k, torch.tanh, 0), lambda raw: mixture_map(raw, k)),
        planar(g, 1, dim),
        matrix,
        leaky,
    ]
    record(g, dim, 0, transforms, 1.5)
    spec = {
        "dim": dim,
        "base": "logistic",
        "context": 0,
        "transforms": [
            {"coupling": {"keep": 2, "net": net, "map": {"logistic_mixture": {"components": k}}}},
            "planar",
            {"linear": "dense"},
            "leaky_relu",
        ],
    }
    return g, spec


torch.manual_seed(0)  # nflows draws the permutation of its convolution
with torch.no_grad():
    made = [
        affine_flow(), spline_flow(), maf_flow(), nsf_flow(), nice_flow(), residual_flow(), glow_flow(), other_flow(),
    ]
packages = {name: version(name) for name in ["torch", "nflows", "zuko"]}
write(
    pathlib.Path(__file__).with_name("flows.safetensors"),
    [g for g, _ in made],
    {g.name: spec for g, spec in made},
    packages,
)
