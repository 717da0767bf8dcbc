"""Goldens for the statistics of `galgen-train evaluate`: scipy and prdc on the same numbers.

    pip install numpy scipy scikit-learn prdc
    python galgen-train/tests/goldens/statistics.py

writes statistics.json beside this file.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from prdc import compute_prdc
from scipy import stats

rng = np.random.default_rng(20261121)


def pair(a, b):
    """Rounded to a few digits, so that the file is short and both sides read the same numbers."""
    a, b = np.round(a, 4), np.round(b, 4)
    ks = stats.ks_2samp(a, b, method="exact")
    rank = stats.mannwhitneyu(a, b, alternative="less", method="asymptotic")
    return {
        "a": a.tolist(),
        "b": b.tolist(),
        "wasserstein": stats.wasserstein_distance(a, b),
        "ks": ks.statistic,
        "ks_p": ks.pvalue,
        "rank_p": rank.pvalue,
    }


pairs = [
    pair(rng.normal(size=40), rng.normal(size=40)),
    pair(rng.normal(size=37), rng.normal(0.7, 1.5, size=52)),
    pair(rng.exponential(size=120), rng.exponential(1.6, size=90)),
    pair(rng.normal(size=60), rng.normal(2.5, size=60)),
    pair(rng.integers(0, 6, 30), rng.integers(1, 7, 45)),  # ties
    pair([0.5], [0.1, 0.9, 1.2]),
]

clouds = []
for n, m, dimension, shift, k in [(40, 40, 2, 0.0, 3), (50, 30, 4, 0.8, 5), (30, 45, 3, 3.0, 4)]:
    real = np.round(rng.normal(size=(n, dimension)), 3)
    drawn = np.round(rng.normal(size=(m, dimension)) * 0.9 + shift, 3)
    clouds.append(
        {
            "real": real.tolist(),
            "drawn": drawn.tolist(),
            "k": k,
            **{key: float(v) for key, v in compute_prdc(real, drawn, nearest_k=k).items()},
        }
    )

binomial = [
    {"hits": hits, "trials": trials, "p": p, "tail": float(stats.binom.sf(hits - 1, trials, p))}
    for hits, trials, p in [(9, 730, 0.01), (20, 730, 0.01), (0, 10, 0.5), (3, 12, 0.1)]
]

golden = {
    "made_by": f"scipy {version('scipy')}, prdc {version('prdc')}",
    "pairs": pairs,
    "clouds": clouds,
    "binomial": binomial,
}
path = Path(__file__).with_name("statistics.json")
path.write_text(json.dumps(golden) + "\n")
