"""How strong and how wide the detail is that a flow-VAE's reconstructions lack: from what `neighbour` of a texture was taken.

    galgen reconstruct --model MODEL --stamps DIR/efigi.safetensors --out rec.fits
    python3 recipes/detail.py DIR/efigi.safetensors rec.fits

Needs numpy. Prints the root mean square of (stamp - blurred reconstruction) / blurred reconstruction, less the stamps' noise,
by concentration and elliptical radius, and its correlation between pixels beside that of textures behind the set's median PSF.
The noise is taken as white, as it is for EFIGI.
"""

import json
import struct
import sys

import numpy as np

HALF_LIGHT = 8.0
EDGES = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]


def tensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    kinds = {"F32": "<f4", "I64": "<i8", "U8": "u1"}
    pick = lambda t: np.frombuffer(data[slice(*t["data_offsets"])], kinds[t["dtype"]]).reshape(t["shape"])
    return {name: pick(t) for name, t in header.items() if name != "__metadata__"}


def cube(path):
    """The first cube of a FITS file of galgen: floats of 32 bits."""
    raw, at = open(path, "rb").read(), 0
    while True:
        cards = {}
        while "END" not in cards:
            block = raw[at : at + 2880].decode("ascii")
            at += 2880
            for i in range(0, 2880, 80):
                cards.setdefault(block[i : i + 8].strip(), block[i + 10 : i + 80].split("/")[0].strip())
        axes = [int(cards[f"NAXIS{i + 1}"]) for i in range(int(cards["NAXIS"]))]
        if len(axes) >= 3:
            return np.frombuffer(raw, ">f4", np.prod(axes), at).reshape(axes[::-1]).astype(float)
        size = abs(int(cards["BITPIX"])) // 8 * int(np.prod(axes)) if axes else 0
        at += -(-size // 2880) * 2880


def blurred(image, psf):
    n, half = 128, psf.shape[0] // 2
    kernel = np.roll(np.pad(psf, (0, n - psf.shape[0])), (-half, -half), (0, 1))
    product = np.fft.rfft2(np.pad(image, (0, n - 64))) * np.fft.rfft2(kernel)
    return np.fft.irfft2(product)[:64, :64]


def correlation(maps):
    """Sum of products at lags 0, 1, sqrt 2 and 2; along both axes."""
    power = np.fft.irfft2(np.abs(np.fft.rfft2(maps, (128, 128))) ** 2)
    return np.array([power[0, 0], (power[0, 1] + power[1, 0]) / 2, (power[1, 1] + power[1, -1]) / 2, (power[0, 2] + power[2, 0]) / 2])


def main(set_path, reconstructed):
    data, light = tensors(set_path), cube(reconstructed).reshape(-1, 64, 64)
    y, x = np.mgrid[:64, :64] - 31.5
    strength = [[] for _ in EDGES[1:]]
    products, pairs = np.zeros(4), np.zeros(4)
    for i, decoded in enumerate(light):
        stamp = data["stamps"][i, 0] / data["stamps"][i].sum()
        mean = blurred(decoded / decoded.sum(), data["psf"][i] / data["psf"][i].sum())
        noise = data["variance"][i] * (data["sky_sigma"][i] / data["stamps"][i].sum()) ** 2
        radius = np.hypot(x, y / data["axis_ratio"][i]) / HALF_LIGHT
        good = (data["observed"][i] > 0) & (mean > 0) & (np.sqrt(noise) < 0.1 * np.abs(mean))
        relative = np.where(good, (stamp - mean) / mean, 0)
        excess = relative**2 - np.where(good, noise / mean**2, 0)
        for ring, low, high in zip(strength, EDGES, EDGES[1:]):
            inside = good & (radius >= low) & (radius < high)
            ring.append(excess[inside].mean() if inside.sum() > 8 else np.nan)
        inside = good & (radius > 0.3) & (radius < 1.5)
        products += correlation(np.where(inside, relative, 0)) - [np.where(inside, noise / mean**2, 0).sum(), 0, 0, 0]
        pairs += correlation(inside.astype(float))
    print("root mean square, by half-light radii", EDGES)
    for low, high in [(2, 2.6), (2.6, 3), (3, 3.3), (3.3, 5)]:
        of = (data["concentration"] >= low) & (data["concentration"] < high)
        mean = [np.sqrt(max(np.nanmean(np.array(ring)[of]), 0)) for ring in strength]
        print(f"C {low} to {high} ({of.sum()}):", np.round(mean, 3))
    found = products / pairs
    print("correlation at lags 1, sqrt 2, 2:", np.round(found[1:] / found[0], 3))
    psf = np.median(data["psf"], 0)
    for t in [0, 0.1, 0.15, 0.2, 0.25, 0.3]:
        kernel = np.pad(np.outer([t, 1, t], [t, 1, t]), (0, 30))
        shared = np.fft.irfft2(np.fft.rfft2(kernel, (128, 128)) * np.fft.rfft2(psf / psf.sum(), (128, 128)))
        model = correlation(shared)
        print(f"of neighbour = {t}:", np.round(model[1:] / model[0], 3))


main(*sys.argv[1:])
