"""Golden values of nets: the same nets written twice by hand, as torch.nn and as galgen's JSON.

    pip install torch numpy safetensors
    python nets.py            # writes nets.safetensors beside this file
"""

import pathlib
from importlib.metadata import version

import torch
from golden import Case, f32, glu, planes, softplus, write
from torch.nn import functional as F

SPECS = {}
CASES = []


def conv(outputs, kernel, stride=1, top=0, bottom=0, left=0, right=0, mask=None):
    padding = {"top": top, "bottom": bottom, "left": left, "right": right}
    spec = {"outputs": outputs, "kernel": kernel, "stride": stride, "padding": padding}
    return {"conv2d": spec if mask is None else {**spec, "mask": mask}}


def conv3(outputs):
    return conv(outputs, [3, 3], top=1, bottom=1, left=1, right=1)


def linear(outputs):
    return {"linear": {"outputs": outputs}}


def case(name, seed, spec):
    SPECS[name] = spec
    CASES.append(Case(name, seed))
    return CASES[-1]


def decoder():
    """Latent and conditions to a positive map: linear, upsampling, convolutions, a residual block."""
    g = case("decoder", 1, {
        "input": {"vector": 4},
        "context": 2,
        "layers": [
            "append_context",
            linear(24),
            {"activation": "silu"},
            {"reshape": {"map": {"channels": 6, "height": 2, "width": 2}}},
            {"upsample_nearest": {"factor": 2}},
            conv3(8),
            {"group_norm": {"groups": 2, "epsilon": 1e-5}},
            {"activation": "silu"},
            {"sum": [[], [conv3(4), {"activation": "silu"}, conv(8, [1, 1])]]},
            {"upsample_nearest": {"factor": 3}},
            conv3(2),
            {"activation": "softplus"},
        ],
    })
    x = g.given("input", g.normal(2, 4))
    c = g.given("context", g.normal(2, 2))
    x = g.after("0", torch.cat([x, c], 1))
    x = g.after("1", g.linear("1", 6, 24)(x))
    x = g.after("2", F.silu(x))
    x = g.after("3", x.view(2, 6, 2, 2))
    x = g.after("4", F.interpolate(x, scale_factor=2, mode="nearest"))
    x = g.after("5", g.conv("5", 6, 8, (3, 3), pad=(1, 1, 1, 1))(x))
    x = g.after("6", g.group_norm("6", 8, 2, 1e-5)(x))
    x = g.after("7", F.silu(x))
    r = g.after("8.1.0", g.conv("8.1.0", 8, 4, (3, 3), pad=(1, 1, 1, 1))(x))
    r = g.after("8.1.1", F.silu(r))
    r = g.after("8.1.2", g.conv("8.1.2", 4, 8, (1, 1))(r))
    x = g.after("8", x + r)
    x = g.after("9", F.interpolate(x, scale_factor=3, mode="nearest"))
    x = g.after("10", g.conv("10", 8, 2, (3, 3), pad=(1, 1, 1, 1))(x))
    g.after("11", softplus(x))


def encoder():
    """A map of odd sides and conditions to the two halves of a posterior; strides, asymmetric padding."""
    g = case("encoder", 2, {
        "input": {"map": {"channels": 2, "height": 9, "width": 11}},
        "context": 3,
        "layers": [
            {"activation": "asinh"},
            "append_context",
            conv(6, [3, 3], stride=2, top=1, bottom=1, left=1, right=1),
            {"activation": {"leaky_relu": {"slope": 0.2}}},
            conv(8, [4, 3], stride=2, top=1, bottom=2, left=0, right=2),
            {"group_norm": {"groups": 4, "epsilon": 1e-3}},
            {"activation": "elu"},
            "gate",
            {"reshape": {"vector": 36}},
            linear(7),
            {"concat": [
                [{"slice": {"start": 0, "len": 3}}],
                [{"slice": {"start": 3, "len": 4}}, {"activation": "tanh"}, {"scale": 2.7}],
            ]},
        ],
    })
    x = g.given("input", g.normal(2, 2, 9, 11, scale=2.0))
    c = g.given("context", g.normal(2, 3))
    x = g.after("0", torch.asinh(x))
    x = g.after("1", torch.cat([x, planes(c, x)], 1))
    x = g.after("2", g.conv("2", 5, 6, (3, 3), stride=2, pad=(1, 1, 1, 1))(x))
    x = g.after("3", F.leaky_relu(x, f32(0.2)))
    x = g.after("4", g.conv("4", 6, 8, (4, 3), stride=2, pad=(0, 2, 1, 2))(x))
    x = g.after("5", g.group_norm("5", 8, 4, 1e-3)(x))
    x = g.after("6", F.elu(x))
    x = g.after("7", glu(x))
    x = g.after("8", x.flatten(1))
    x = g.after("9", g.linear("9", 36, 7)(x))
    a = g.after("10.0.0", x[:, :3])
    b = g.after("10.1.0", x[:, 3:7])
    b = g.after("10.1.1", torch.tanh(b))
    b = g.after("10.1.2", b * f32(2.7))
    g.after("10", torch.cat([a, b], 1))


def masked():
    """PixelCNN: masked convolutions of both types, and one step of the gated two-stack streams."""
    g = case("masked", 3, {
        "input": {"map": {"channels": 1, "height": 6, "width": 7}},
        "context": 0,
        "layers": [
            {"concat": [
                [conv(2, [3, 5], top=2, left=2, right=2)],
                [conv(2, [5, 5], top=2, bottom=2, left=2, right=2, mask="a")],
            ]},
            # Streams: vertical (0, 1), horizontal (2, 3). The vertical one goes on to 4 features, its gate's two halves.
            {"concat": [
                [{"slice": {"start": 0, "len": 2}}, conv(4, [2, 3], top=1, left=1, right=1)],
                [{"slice": {"start": 2, "len": 2}}],
            ]},
            {"concat": [
                [{"slice": {"start": 0, "len": 4}}, "gate"],
                [{"sum": [
                    [{"slice": {"start": 4, "len": 2}}],
                    [
                        {"sum": [
                            # One row down: of a 2 x 1 kernel mask A keeps the upper tap.
                            [{"slice": {"start": 0, "len": 4}}, conv(4, [2, 1], top=1, mask="a")],
                            [{"slice": {"start": 4, "len": 2}}, conv(4, [1, 3], left=1, right=1, mask="b")],
                        ]},
                        "gate",
                        conv(2, [1, 1]),
                    ],
                ]}],
            ]},
            {"slice": {"start": 2, "len": 2}},
            {"activation": "relu"},
            conv(3, [3, 3], top=1, bottom=1, left=1, right=1, mask="b"),
        ],
    })
    x = g.given("input", g.normal(2, 1, 6, 7))
    v = g.after("0.0.0", g.conv("0.0.0", 1, 2, (3, 5), pad=(2, 2, 2, 0))(x))
    h = g.after("0.1.0", g.conv("0.1.0", 1, 2, (5, 5), pad=(2, 2, 2, 2), mask="a")(x))
    x = g.after("0", torch.cat([v, h], 1))
    g.after("1.0.0", v)
    v = g.after("1.0.1", g.conv("1.0.1", 2, 4, (2, 3), pad=(1, 1, 1, 0))(v))
    g.after("1.1.0", h)
    g.after("1", torch.cat([v, h], 1))
    g.after("2.0.0", v)
    gated = g.after("2.0.1", glu(v))
    g.after("2.1.0.0.0", h)
    g.after("2.1.0.1.0.0.0", v)
    down = g.after("2.1.0.1.0.0.1", g.conv("2.1.0.1.0.0.1", 4, 4, (2, 1), pad=(0, 0, 1, 0), mask="a")(v))
    g.after("2.1.0.1.0.1.0", h)
    row = g.after("2.1.0.1.0.1.1", g.conv("2.1.0.1.0.1.1", 2, 4, (1, 3), pad=(1, 1, 0, 0), mask="b")(h))
    both = g.after("2.1.0.1.0", down + row)
    both = g.after("2.1.0.1.1", glu(both))
    both = g.after("2.1.0.1.2", g.conv("2.1.0.1.2", 2, 2, (1, 1))(both))
    h = g.after("2.1.0", h + both)
    g.after("2", torch.cat([gated, h], 1))
    x = g.after("3", h)
    x = g.after("4", F.relu(x))
    g.after("5", g.conv("5", 2, 3, (3, 3), pad=(1, 1, 1, 1), mask="b")(x))


def made():
    """MADE on 4 numbers with 2 conditions, which have degree 0 and are seen by every unit."""
    natural, hidden = [1, 2, 3, 4], [0, 1, 2, 3, 1, 2, 3, 0]
    layers = [(natural + [0, 0], hidden), (hidden, hidden), (hidden, [0, 1, 2, 3, 0, 1, 2, 3])]

    def masked_linear(degrees):
        return {"linear": {"outputs": len(degrees[1]), "degrees": {"input": degrees[0], "output": degrees[1]}}}

    g = case("made", 4, {
        "input": {"vector": 4},
        "context": 2,
        "layers": [
            "append_context",
            masked_linear(layers[0]),
            {"activation": "relu"},
            masked_linear(layers[1]),
            {"activation": "tanh"},
            masked_linear(layers[2]),
        ],
    })

    def mask(degrees):
        inputs, outputs = (torch.tensor(d) for d in degrees)
        return (inputs[None, :] <= outputs[:, None]).double()

    x = g.given("input", g.normal(3, 4))
    c = g.given("context", g.normal(3, 2))
    x = g.after("0", torch.cat([x, c], 1))
    x = g.after("1", g.linear("1", 6, 8, mask(layers[0]))(x))
    x = g.after("2", F.relu(x))
    x = g.after("3", g.linear("3", 8, 8, mask(layers[1]))(x))
    x = g.after("4", torch.tanh(x))
    g.after("5", g.linear("5", 8, 8, mask(layers[2]))(x))


def dense():
    """Vectors: normalisation, gate, nested branches, three-fold sum, context in two places."""
    g = case("dense", 5, {
        "input": {"vector": 6},
        "context": 1,
        "layers": [
            {"group_norm": {"groups": 3, "epsilon": 0.01}},
            {"concat": [
                [],
                [linear(4), {"sum": [[], [{"activation": "sigmoid"}], [{"scale": -0.3}]]}],
                ["append_context", linear(5), {"activation": "elu"}],
            ]},
            "append_context",
            "gate",
            linear(9),
            {"slice": {"start": 2, "len": 5}},
            {"activation": {"leaky_relu": {"slope": 0.01}}},
        ],
    })
    x = g.given("input", g.normal(3, 6))
    c = g.given("context", g.normal(3, 1))
    x = g.after("0", g.group_norm("0", 6, 3, 0.01)(x))
    a = g.after("1.1.0", g.linear("1.1.0", 6, 4)(x))
    s = g.after("1.1.1.1.0", torch.sigmoid(a))
    t = g.after("1.1.1.2.0", a * f32(-0.3))
    a = g.after("1.1.1", a + s + t)
    b = g.after("1.2.0", torch.cat([x, c], 1))
    b = g.after("1.2.1", g.linear("1.2.1", 7, 5)(b))
    b = g.after("1.2.2", F.elu(b))
    x = g.after("1", torch.cat([x, a, b], 1))
    x = g.after("2", torch.cat([x, c], 1))
    x = g.after("3", glu(x))
    x = g.after("4", g.linear("4", 8, 9)(x))
    x = g.after("5", x[:, 2:7])
    g.after("6", F.leaky_relu(x, f32(0.01)))


def transposed():
    """A stage of a published flow-VAE decoder: transposed convolution, layer norm, bipolar ELU, separable residual;
    and transposed convolutions of uneven kernels."""
    def depthwise(kernel, stride=1, pad=1):
        padding = dict.fromkeys(["top", "bottom", "left", "right"], pad)
        return {"depthwise_conv2d": {"kernel": kernel, "stride": stride, "padding": padding}}

    norm = {"layer_norm": {"epsilon": 0.001}}
    g = case("transposed", 6, {
        "input": {"map": {"channels": 5, "height": 3, "width": 2}},
        "context": 0,
        "layers": [
            {"conv_transpose2d": {
                "outputs": 6, "kernel": [4, 4], "stride": 2,
                "padding": {"top": 1, "bottom": 1, "left": 1, "right": 1},
            }},
            norm,
            "bipolar_elu",
            {"sum": [[], [depthwise([3, 3]), conv(6, [1, 1]), norm, "bipolar_elu", depthwise([3, 3])]]},
            {"conv_transpose2d": {
                "outputs": 3, "kernel": [2, 5], "stride": 3,
                "padding": {"top": 0, "bottom": 0, "left": 3, "right": 2},
            }},
            depthwise([3, 5], stride=2, pad=2),
            {"reshape": {"vector": 3 * 10 * 5}},
            norm,
            "bipolar_elu",
        ],
    })  # fmt: skip
    x = g.given("input", g.normal(2, 5, 3, 2))
    x = g.after("0", g.conv_transpose("0", 5, 6, (4, 4), 2)(x)[..., 1:-1, 1:-1])
    x = g.after("1", g.layer_norm("1", 6, 0.001)(x))
    x = g.after("2", bipolar_elu(x))
    r = g.after("3.1.0", g.conv("3.1.0", 6, 6, (3, 3), pad=(1, 1, 1, 1), groups=6)(x))
    r = g.after("3.1.1", g.conv("3.1.1", 6, 6, (1, 1))(r))
    r = g.after("3.1.2", g.layer_norm("3.1.2", 6, 0.001)(r))
    r = g.after("3.1.3", bipolar_elu(r))
    r = g.after("3.1.4", g.conv("3.1.4", 6, 6, (3, 3), pad=(1, 1, 1, 1), groups=6)(r))
    x = g.after("3", x + r)
    x = g.after("4", g.conv_transpose("4", 6, 3, (2, 5), 3)(x)[..., 3:-2])
    x = g.after("5", g.conv("5", 3, 3, (3, 5), stride=2, pad=(2, 2, 2, 2), groups=3)(x))
    x = g.after("6", x.flatten(1))
    x = g.after("7", g.layer_norm("7", 150, 0.001)(x))
    g.after("8", bipolar_elu(x))


def bipolar_elu(x):
    even, odd = F.elu(x[:, 0::2]), -F.elu(-x[:, 1::2])
    return torch.stack([even, odd], 2).flatten(1, 2)


with torch.no_grad():
    for make in [decoder, encoder, masked, made, dense, transposed]:
        make()
write(pathlib.Path(__file__).with_name("nets.safetensors"), CASES, SPECS, {"torch": version("torch")})
