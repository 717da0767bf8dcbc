"""The principal components that linear autoencoders must span: an oracle from numpy alone.

    pip install numpy safetensors scikit-learn
    python pca.py --digits digits.npy [--labels labels.csv] writes scikit-learn's digits / 16 as [1797, 8, 8]
    python pca.py IMAGES MODEL                              compares: IDX (.gz) or .npy, and a linear autoencoder

Prints the mean squared error of a pixel under the k components and under the autoencoder, and the principal angles
between the two subspaces.
"""

import gzip
import sys

import numpy as np


def images(path):
    if path.endswith(".npy"):
        return np.load(path).astype(np.float64).reshape(len(np.load(path)), -1)
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        raw = file.read()
    axes = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape[0], -1) / 255.0


def compare(x, path):
    from safetensors.numpy import load_file

    tensors = {k: v.astype(np.float64) for k, v in load_file(path).items()}
    layer = {k.rsplit(".", 1)[0].split(".")[0]: k.rsplit(".", 1)[0] for k in tensors if k.endswith(".weight")}
    encode = tensors[layer["encoder"] + ".weight"], tensors[layer["encoder"] + ".bias"]
    decode = tensors[layer["decoder"] + ".weight"], tensors[layer["decoder"] + ".bias"]
    k = len(encode[1])
    mean = x.mean(0)
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False, bias=True))
    components = vectors[:, ::-1][:, :k]
    pca = values[::-1][k:].sum() / x.shape[1]
    rebuilt = (x @ encode[0].T + encode[1]) @ decode[0].T + decode[1]
    found = ((rebuilt - x) ** 2).mean()
    learned, _ = np.linalg.qr(decode[0])
    cosines = np.linalg.svd(components.T @ learned, compute_uv=False)
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    prior = tensors["prior.mean"], tensors["prior.cholesky"]
    codes = x @ encode[0].T + encode[1]
    covariance = np.cov(codes, rowvar=False, bias=True)
    print(f"k {k}: MSE of the principal components {pca:.6f}, of the autoencoder {found:.6f} ({found / pca - 1:+.2e})")
    print(f"principal angles in degrees: largest {angles.max():.3f}, mean {angles.mean():.3f}")
    error = np.abs(prior[1] @ prior[1].T - covariance).max() / np.abs(covariance).max()
    print(f"prior: mean within {np.abs(prior[0] - codes.mean(0)).max():.1e}, covariance within {error:.1e} (relative)")


if sys.argv[1] == "--digits":
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.save(sys.argv[2], (digits.images / 16).astype(np.float32))
    if "--labels" in sys.argv:
        rows = "".join(f"{i},{label}\n" for i, label in enumerate(digits.target))
        open(sys.argv[sys.argv.index("--labels") + 1], "w").write("id,digit\n" + rows)
else:
    compare(images(sys.argv[1]), sys.argv[2])
