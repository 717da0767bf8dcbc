"""Golden values of five small autoregressive models in double precision: the networks of the papers, with the crops and
shifts of their authors' code, and ln p of every pixel by torch.distributions or, for the discretised logistic mixture, as
a difference of distribution functions with 60 digits.

    pip install torch numpy safetensors mpmath
    python pixel_cnn.py       # writes pixel_cnn.safetensors beside this file

Per case: `x` [batch, 1, 8, 8], `label` [batch], and from them the `parameters` of the pixels [batch, parameters, 8, 8] and
`log_p` [batch, 8, 8]. Weights under galgen's names after `net.`.
"""

import json
import pathlib

import mpmath
import torch
from golden import Case, planes, softplus, write
from torch.distributions import Bernoulli, Categorical, MixtureSameFamily, Normal
from torch.nn.functional import elu, pad, relu

SIDE, BATCH, CLASSES = 8, 2, 3
mpmath.mp.dps = 60


# galgen's layers


def conv(outputs, kernel, top=0, bottom=0, left=0, right=0, mask=None):
    padding = {"top": top, "bottom": bottom, "left": left, "right": right}
    spec = {"outputs": outputs, "kernel": list(kernel), "stride": 1, "padding": padding}
    return {"conv2d": {**spec, "mask": mask} if mask else spec}


def cut(start, length):
    return {"slice": {"start": start, "len": length}}


def shift(down, right):
    return {"shift": {"down": down, "right": right}}


RELU = {"activation": "relu"}


# the authors' operations


def down_shift(x):
    """The row above, zeros in the first."""
    return pad(x, (0, 0, 1, 0))[:, :, :-1]


def right_shift(x):
    return pad(x, (1, 0))[:, :, :, :-1]


def concat_elu(x):
    return elu(torch.cat([x, -x], 1))


def gate(x):
    a, b = x.chunk(2, 1)
    return a * torch.sigmoid(b)


# the heads


def by_distribution(make):
    return lambda parameters, x: make(parameters).log_prob(x[:, 0])


def mixture(p):
    logits, means, raw = (t.movedim(1, -1) for t in p.chunk(3, 1))
    return MixtureSameFamily(Categorical(logits=logits), Normal(means, softplus(raw) + 1e-4))


def discretised_logistic(levels):
    def log_p(parameters, x):
        batch, count = parameters.shape[0], parameters.shape[1] // 3
        out = torch.empty(batch, SIDE, SIDE)
        last = levels - 1

        def cdf(edge, mean, scale):
            return 1 / (1 + mpmath.exp(-(edge - mean) / scale))

        for b in range(batch):
            for i in range(SIDE):
                for j in range(SIDE):
                    logits, means, scales = (
                        [mpmath.mpf(v) for v in part.tolist()] for part in parameters[b, :, i, j].chunk(3)
                    )
                    k = round(float(x[b, 0, i, j]) * last)
                    p = mpmath.mpf(0)
                    for logit, mean, log_scale in zip(logits, means, scales):
                        scale = mpmath.exp(max(log_scale, mpmath.mpf(-7)))
                        upper = 1 if k == last else cdf(mpmath.mpf(2 * k + 1) / last - 1, mean, scale)
                        lower = 0 if k == 0 else cdf(mpmath.mpf(2 * k - 1) / last - 1, mean, scale)
                        p += mpmath.exp(logit) * (upper - lower)
                    out[b, i, j] = float(mpmath.log(p / sum(mpmath.exp(v) for v in logits)))
        return out

    return log_p


# the networks: (galgen's layers, function of image and context)


def masked(case, outputs):
    """A 7 x 7 mask A, a residual block of 3 x 3 mask B, two 1 x 1."""
    c = 4
    layers = [
        conv(2 * c, (7, 7), 3, 3, 3, 3, "a"),
        {"sum": [[], [RELU, conv(c, (1, 1)), RELU, conv(c, (3, 3), 1, 1, 1, 1, "b"), RELU, conv(2 * c, (1, 1))]]},
        RELU,
        conv(c, (1, 1)),
        RELU,
        conv(outputs, (1, 1)),
    ]
    first = case.conv("0", 1, 2 * c, (7, 7), pad=(3, 3, 3, 3), mask="a")
    narrow = case.conv("1.1.1", 2 * c, c, (1, 1))
    middle = case.conv("1.1.3", c, c, (3, 3), pad=(1, 1, 1, 1), mask="b")
    widen = case.conv("1.1.5", c, 2 * c, (1, 1))
    penultimate, last = case.conv("3", 2 * c, c, (1, 1)), case.conv("5", c, outputs, (1, 1))

    def run(x, _):
        h = first(x)
        h = h + widen(relu(middle(relu(narrow(relu(h))))))
        return last(relu(penultimate(relu(h))))

    return layers, run


def gated(case, outputs):
    """The first two layers of the gated PixelCNN: vertical and horizontal stack, conditional on a class."""
    c = 3
    # The vertical stack before its gate, the image; then both stacks; then again.
    from_context = lambda features: ["append_context", cut(features, CLASSES), conv(2 * c, (1, 1))]
    down = lambda: conv(2 * c, (2, 1), 1, mask="a")
    layers = [
        {"concat": [[conv(2 * c, (4, 7), 3, 0, 3, 3)], []]},
        {
            "concat": [
                [cut(0, 2 * c), {"sum": [[], from_context(2 * c)]}, "gate"],
                [
                    {
                        "sum": [
                            [cut(0, 2 * c), down()],
                            [cut(2 * c, 1), conv(2 * c, (1, 7), left=3, right=3, mask="a")],
                            from_context(2 * c + 1),
                        ]
                    },
                    "gate",
                    conv(c, (1, 1)),
                ],
            ]
        },
        {"concat": [[cut(0, c), conv(2 * c, (2, 3), 1, 0, 1, 1)], [cut(c, c)]]},
        cut(0, 3 * c),
        {
            "sum": [
                [cut(2 * c, c)],
                [
                    {
                        "sum": [
                            [cut(0, 2 * c), down()],
                            [cut(2 * c, c), conv(2 * c, (1, 2), left=1)],
                            from_context(3 * c),
                        ]
                    },
                    "gate",
                    conv(c, (1, 1)),
                ],
            ]
        },
        RELU,
        conv(outputs, (1, 1)),
    ]
    rows = case.conv("0.0.0", 1, 2 * c, (4, 7), pad=(3, 3, 3, 0))
    class_v = case.conv("1.0.1.1.2", CLASSES, 2 * c, (1, 1))
    # The masked 2 x 1 kernel is the 1 x 1 on the row above.
    down_0 = case.conv("1.1.0.0.1", 2 * c, 2 * c, (2, 1), pad=(0, 0, 1, 0), mask="a")
    along_0 = case.conv("1.1.0.1.1", 1, 2 * c, (1, 7), pad=(3, 3, 0, 0), mask="a")
    class_h = case.conv("1.1.0.2.2", CLASSES, 2 * c, (1, 1))
    out_0 = case.conv("1.1.2", c, c, (1, 1))
    rows_1 = case.conv("2.0.1", c, 2 * c, (2, 3), pad=(1, 1, 1, 0))
    down_1 = case.conv("4.1.0.0.1", 2 * c, 2 * c, (2, 1), pad=(0, 0, 1, 0), mask="a")
    along_1 = case.conv("4.1.0.1.1", c, 2 * c, (1, 2), pad=(1, 0, 0, 0))
    class_1 = case.conv("4.1.0.2.2", CLASSES, 2 * c, (1, 1))
    out_1 = case.conv("4.1.2", c, c, (1, 1))
    last = case.conv("6", c, outputs, (1, 1))

    def on_row_above(masked_conv, v):
        weight, bias = masked_conv[1].weight[:, :, :1], masked_conv[1].bias
        return torch.nn.functional.conv2d(down_shift(v), weight, bias)

    def run(x, context):
        classes = planes(context, x)
        before = rows(x)
        v = gate(before + class_v(classes))
        h = out_0(gate(on_row_above(down_0, before) + along_0(x) + class_h(classes)))
        before = rows_1(v)
        h = h + out_1(gate(on_row_above(down_1, before) + along_1(h) + class_1(classes)))
        return last(relu(h))

    return layers, run


def plus_plus(case, outputs):
    """Both streams of PixelCNN++ and one gated residual block of each."""
    c = 3
    resnet = lambda x, kernel, extra: {
        "sum": [
            x,
            [
                {"sum": [[*x, "concat_elu", conv(c, kernel, 1, 0, 1, kernel[1] - 2)], *extra]},
                "concat_elu",
                conv(2 * c, kernel, 1, 0, 1, kernel[1] - 2),
                "gate",
            ],
        ]
    }
    layers = [
        "append_ones",
        {
            "concat": [
                [conv(c, (2, 3), 1, 0, 1, 1), shift(1, 0)],
                [{"sum": [[conv(c, (1, 3), 0, 0, 1, 1), shift(1, 0)], [conv(c, (2, 1), 1), shift(0, 1)]]}],
            ]
        },
        {"concat": [[resnet([cut(0, c)], (2, 3), [])], [cut(c, c)]]},
        resnet([cut(c, c)], (2, 2), [[cut(0, c), "concat_elu", conv(c, (1, 1))]]),
        {"activation": "elu"},
        conv(outputs, (1, 1)),
    ]
    u_init = case.conv("1.0.0", 2, c, (2, 3), pad=(1, 1, 1, 0))
    row_init = case.conv("1.1.0.0.0", 2, c, (1, 3), pad=(1, 1, 0, 0))
    left_init = case.conv("1.1.0.1.0", 2, c, (2, 1), pad=(0, 0, 1, 0))
    u_in = case.conv("2.0.0.1.0.0.2", 2 * c, c, (2, 3), pad=(1, 1, 1, 0))
    u_out = case.conv("2.0.0.1.2", 2 * c, 2 * c, (2, 3), pad=(1, 1, 1, 0))
    ul_in = case.conv("3.1.0.0.2", 2 * c, c, (2, 2), pad=(1, 0, 1, 0))
    nin = case.conv("3.1.0.1.2", 2 * c, c, (1, 1))
    ul_out = case.conv("3.1.2", 2 * c, 2 * c, (2, 2), pad=(1, 0, 1, 0))
    last = case.conv("5", c, outputs, (1, 1))

    def run(x, _):
        x = torch.cat([x, torch.ones_like(x)], 1)
        u = down_shift(u_init(x))
        ul = down_shift(row_init(x)) + right_shift(left_init(x))
        u = u + gate(u_out(concat_elu(u_in(concat_elu(u)))))
        ul = ul + gate(ul_out(concat_elu(ul_in(concat_elu(ul)) + nin(concat_elu(u)))))
        return last(elu(ul))

    return layers, run


def make(name, seed, body, head, outputs, log_p, pixels, classes=0):
    case = Case(name, seed)
    layers, run = body(case, outputs)
    label = torch.arange(BATCH) % max(classes, 1)
    context = torch.nn.functional.one_hot(label, classes).double() if classes else torch.zeros(BATCH, 0)
    x = case.given("x", pixels(case))
    case.given("label", label.double())
    with torch.no_grad():
        parameters = case.after("parameters", run(x, context))
        case.after("log_p", log_p(parameters, x))
    image = {"map": {"channels": 1, "height": SIDE, "width": SIDE}}
    return case, {"net": {"input": image, "context": classes, "layers": layers}, "head": head}


def levels(count):
    def pixels(case):
        k = case.random.randint(0, count, (BATCH, 1, SIDE, SIDE))
        # As f32 holds them.
        return torch.from_numpy((k / (count - 1)).astype("float32").astype("float64"))

    return pixels


bernoulli = by_distribution(lambda p: Bernoulli(logits=p[:, 0]))
made = [
    make("masked", 21, masked, "bernoulli", 1, bernoulli, levels(2)),
    make(
        "gated",
        22,
        gated,
        {"categorical": {"levels": 5}},
        5,
        lambda p, x: Categorical(logits=p.movedim(1, -1)).log_prob(torch.round(4 * x[:, 0])),
        levels(5),
        CLASSES,
    ),
    make(
        "plus_plus",
        23,
        plus_plus,
        {"discretised_logistic": {"components": 2, "levels": 256}},
        6,
        discretised_logistic(256),
        levels(256),
    ),
    make(
        "gaussian",
        24,
        plus_plus,
        "gaussian",
        2,
        by_distribution(lambda p: Normal(p[:, 0], softplus(p[:, 1]) + 1e-4)),
        lambda case: case.normal(BATCH, 1, SIDE, SIDE),
    ),
    make(
        "mixture",
        25,
        masked,
        {"gaussian_mixture": {"components": 3}},
        9,
        by_distribution(mixture),
        lambda case: case.normal(BATCH, 1, SIDE, SIDE),
    ),
]
out = pathlib.Path(__file__).with_suffix(".safetensors")
packages = {"torch": torch.__version__, "mpmath": mpmath.__version__}
write(out, [c for c, _ in made], {c.name: s for c, s in made}, packages)
print(json.dumps({c.name: [round(v, 3) for v in c.tensors[f"{c.name}.after.log_p"].sum((1, 2)).tolist()] for c, _ in made}))
