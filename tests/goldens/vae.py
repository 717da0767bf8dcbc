"""Golden values of two small variational autoencoders in double precision: PyTorch's layers and distributions, and the
exact ln p(x) and evidence lower bound by quadrature over the two latent dimensions.

    pip install torch numpy safetensors
    python vae.py             # writes vae.safetensors beside this file

Per case: `x` [batch, 1, 8, 8], `label` [batch], `z` [batch, 2], and from them `mean` and `log_variance` of the
posterior, the mean image `decoded` of `z`, `elbo` and `log_likelihood` [batch]. Weights under galgen's names after `net.`.
"""

import json
import math
import pathlib

import torch
from golden import Case, write
from numpy.polynomial.hermite_e import hermegauss
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

SIDE, LATENT, BATCH, CLASSES, HIDDEN = 8, 2, 4, 3, 10
PIXELS = SIDE * SIDE


def linear(outputs):
    return {"linear": {"outputs": outputs}}


def spec(likelihood, activation, classes):
    append = ["append_context"] if classes else []
    image = {"map": {"channels": 1, "height": SIDE, "width": SIDE}}
    hidden = [linear(HIDDEN), {"activation": activation}]
    encoder = [{"reshape": {"vector": PIXELS}}, *append, *hidden, linear(2 * LATENT)]
    decoder = [*append, *hidden, linear(PIXELS), {"reshape": image}]
    return {
        "latent": LATENT,
        "posterior": "gaussian",
        "likelihood": likelihood,
        "encoder": {"input": image, "context": classes, "layers": encoder},
        "decoder": {"input": {"vector": LATENT}, "context": classes, "layers": decoder},
    }


def stack(case, part, first, inputs, outputs, activation):
    """Two linear layers at positions `first` and `first` + 2 of the net `part`."""
    return torch.nn.Sequential(
        case.linear(f"{part}.{first}", inputs, HIDDEN),
        activation,
        case.linear(f"{part}.{first + 2}", HIDDEN, outputs),
    )


def make(name, seed, likelihood, activation, classes, pixels):
    case = Case(name, seed)
    shift = 1 if classes else 0
    encoder = stack(case, "encoder", 1 + shift, PIXELS + classes, 2 * LATENT, activation[1])
    decoder = stack(case, "decoder", shift, LATENT + classes, PIXELS, activation[1])
    label = torch.arange(BATCH) % max(classes, 1)
    context = torch.nn.functional.one_hot(label, classes).double() if classes else torch.zeros(BATCH, 0)
    x = case.given("x", pixels(case, (BATCH, 1, SIDE, SIDE))).reshape(BATCH, PIXELS)
    case.given("label", label.double())
    z = case.given("z", case.normal(BATCH, LATENT))

    def given_z(z, c):
        out = decoder(torch.cat([z, c.expand(len(z), -1)], 1))
        if likelihood == "bernoulli":
            return Independent(Bernoulli(logits=out, validate_args=False), 1)
        return Independent(Normal(out, likelihood["gaussian"]["deviation"]), 1)

    with torch.no_grad():
        mean, log_variance = encoder(torch.cat([x, context], 1)).split(LATENT, 1)
        decoded, elbo, log_likelihood = [], [], []
        for i in range(BATCH):
            c = context[i : i + 1]
            decoded.append(given_z(z[i : i + 1], c).mean[0])
            posterior = Normal(mean[i], torch.exp(0.5 * log_variance[i]))
            nodes, weights = map(torch.from_numpy, hermegauss(80))
            grid = torch.cartesian_prod(nodes, nodes)
            mass = torch.cartesian_prod(weights, weights).prod(1) / (2 * math.pi)
            expected = (mass * given_z(posterior.mean + posterior.stddev * grid, c).log_prob(x[i])).sum()
            elbo.append(expected - kl_divergence(posterior, Normal(0.0, torch.ones(LATENT))).sum())

            def integral(points):
                axis = torch.linspace(-7, 7, points)
                grid = torch.cartesian_prod(axis, axis)
                log_joint = given_z(grid, c).log_prob(x[i]) + Normal(0.0, 1.0).log_prob(grid).sum(1)
                return torch.logsumexp(log_joint, 0) + 2 * math.log(14 / (points - 1))

            fine = integral(701)
            assert abs(fine - integral(501)) < 1e-9, (fine, integral(501))
            log_likelihood.append(fine)
    case.after("mean", mean)
    case.after("log_variance", log_variance)
    case.after("decoded", torch.stack(decoded))
    case.after("elbo", torch.stack(elbo))
    case.after("log_likelihood", torch.stack(log_likelihood))
    return case, spec(likelihood, activation[0], classes)


def bits(case, shape):
    return torch.from_numpy((case.random.random_sample(shape) < 0.4).astype("float64"))


def reals(case, shape):
    return case.normal(*shape, scale=0.5, mean=0.3)


made = [
    make("bernoulli", 11, "bernoulli", ("tanh", torch.nn.Tanh()), CLASSES, bits),
    make("gaussian", 12, {"gaussian": {"deviation": 0.75}}, ("silu", torch.nn.SiLU()), 0, reals),
]
out = pathlib.Path(__file__).with_suffix(".safetensors")
write(out, [c for c, _ in made], {c.name: s for c, s in made}, {"torch": torch.__version__})
print(json.dumps({c.name: [round(v, 3) for v in c.tensors[f"{c.name}.after.log_likelihood"].tolist()] for c, _ in made}))
