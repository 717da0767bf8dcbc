"""zuko's masked autoregressive flow on the 8 x 8 digits, with the sizes, the data split and the budget of digits-maf.toml.

    pip install zuko torch scikit-learn numpy
    python digits_zuko.py OUTPUT_DIRECTORY

Writes digits.npy [N, 8, 8] (0 to 1) for `galgen-train fit`, and prints the mean log-likelihood of the held-out rows, of
(k + u) / 17 with u uniform as galgen takes grey levels. galgen keeps about a fifth by object number; here it is the last
fifth of a fixed permutation, so the two differ by the split.
"""

import math
import pathlib
import sys
import time

import numpy as np
import torch
import zuko
from sklearn.datasets import load_digits

ALPHA, LEVELS, STEPS, BATCH, RATE = 0.05, 17, 3000, 128, 1e-3

torch.manual_seed(1)
torch.set_num_threads(1)
digits = load_digits().images / 16
out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
np.save(out / "digits.npy", digits.astype(np.float32))

order = torch.randperm(len(digits))
levels = torch.from_numpy(np.round(digits * 16).reshape(len(digits), 64)).float()[order]
train, held = levels[: len(levels) * 4 // 5], levels[len(levels) * 4 // 5 :]


def points(k):
    """Logit of the dequantised levels, and the log-determinant of that."""
    y = ALPHA + (1 - 2 * ALPHA) * (k + torch.rand_like(k)) / LEVELS
    log_det = math.log(1 - 2 * ALPHA) - torch.log(y) - torch.log1p(-y)
    return torch.logit(y), log_det.sum(1)


start, _ = points(train)
mean, deviation = start.mean(0), start.std(0)
flow = zuko.flows.MAF(64, transforms=5, hidden_features=(128, 128))
optimiser = torch.optim.Adam(flow.parameters(), lr=RATE)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)


def log_prob(k):
    z, log_det = points(k)
    return flow().log_prob((z - mean) / deviation) - torch.log(deviation).sum() + log_det


def validate():
    with torch.no_grad():
        return torch.stack([log_prob(held) for _ in range(10)]).mean().item()


began, best = time.time(), -math.inf
for step in range(STEPS):
    loss = -log_prob(train[torch.randint(len(train), (BATCH,))]).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    schedule.step()
    if (step + 1) % 500 == 0:
        found = validate()
        best = max(best, found)
        print(step + 1, "held out", round(found, 3), "nats,", round(time.time() - began), "s", flush=True)
print("best", round(best, 3), "nats,", sum(p.numel() for p in flow.parameters()), "weights")
