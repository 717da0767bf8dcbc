#!/usr/bin/env python3
"""How far a model's galaxies are from the truth, for the galaxies of draw.py.

    recipes/known-truth/compare.py OUT --with MODEL --without MODEL [--library libgalgen.so] > table.md

OUT holds what draw.py and prepare wrote (held-out.safetensors, held-out-truth.fits). Galaxies are drawn with the
command line, `galgen generate --frame galaxy`, one for each held-out galaxy under its conditions. With --library
the same galaxies are also reconstructed from their noisy stamps through the C ABI (posterior mean, decoded).
Everything is measured by galsim and numpy on images in the galaxy frame. Needs galsim, astropy, numpy, safetensors.
"""

import argparse
import ctypes
import json
import subprocess
import tempfile
import warnings
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table
from safetensors.numpy import load_file
from safetensors import safe_open

from truth import in_galaxy_frame

warnings.filterwarnings("ignore", category=galsim.GalSimWarning)


def identity(name):
    """The id that prepare gives to a picture of that name: FNV-1a, 63 bits."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value >> 1


def window(side):
    """The border window of every stamp: 1 to 0.8 of the radius, a raised cosine to 0."""
    r = distance(side)[0]
    t = np.clip((r - 0.4 * side) / (0.1 * side), 0, 1)
    return 0.5 * (1 + np.cos(np.pi * t))


def distance(side, q=1.0):
    """Elliptical radius and rows and columns of pixels from the centre."""
    axis = np.arange(side) - (side - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.hypot(x, y / q), x, y


def radii(image, q, fractions):
    """Semi-major radii of ellipses along x that hold these fractions of the light; pixels in 5 x 5 parts."""
    parts = 5
    side = len(image)
    fine = np.repeat(np.repeat(image, parts, 0), parts, 1)
    axis = (np.arange(side * parts) + 0.5) / parts - side / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    r = np.hypot(x, y / q).ravel()
    order = np.argsort(r)
    grown = np.cumsum(fine.ravel()[order])
    return [r[order][np.searchsorted(grown, f * grown[-1])] for f in fractions]


PROFILE = np.array([0.25, 0.75, 1.25, 1.75, 2.5])  # radii in half-light radii asked for
WAVES = np.array([1, 2, 4, 6, 8])  # edges of power spectrum bands in waves across 16 half-light radii / 2


def measure(image, hlr):
    """Dictionary of numbers of one stamp of sum 1; None if it has no shape."""
    try:
        found = galsim.hsm.FindAdaptiveMom(galsim.Image(image.astype(float), scale=1))
    except galsim.GalSimError:
        return None
    shape = found.observed_shape
    q = (1 - shape.g) / (1 + shape.g)
    r20, r50, r80 = radii(image, q, [0.2, 0.5, 0.8])
    r = distance(len(image))[0] / hlr
    out = {
        "half-light radius": r50,
        "adaptive size": found.moments_sigma,
        "axis ratio": q,
        "ellipticity g1": shape.g1,
        "concentration": 5 * np.log10(r80 / max(r20, 1e-3)),
    }
    for a, b in zip(np.r_[0, (PROFILE[1:] + PROFILE[:-1]) / 2], np.r_[(PROFILE[1:] + PROFILE[:-1]) / 2, 3.0]):
        out[f"light at {(a + b) / 2:.1f} radii"] = image[(r >= a) & (r < b)].mean() * hlr**2
    power = np.abs(np.fft.fft2(image)) ** 2
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(len(image)), np.fft.fftfreq(len(image)))) * hlr * 8
    for a, b in zip(WAVES[:-1], WAVES[1:]):
        out[f"power, {a} to {b} waves in 8 radii"] = power[(k >= a) & (k < b)].mean()
    return out


def misfit(wide, psf, stamp, sigma):
    """Chi squared per pixel, inside the window's flat part, of light convolved with its PSF against the stamp.

    `wide` is the light on a grid as much larger than the stamp as the PSF is wide.
    """
    n, side = len(wide) + len(psf) - 1, len(stamp)
    model = np.fft.irfft2(np.fft.rfft2(wide, (n, n)) * np.fft.rfft2(psf, (n, n)), (n, n))
    first = (n - side) // 2
    residual = (stamp - model[first : first + side, first : first + side]) / sigma
    return (residual[distance(side)[0] < 0.39 * side] ** 2).mean()


def generated(program, model, conditions, folder):
    """One galaxy per row of `conditions` (a Table), in the galaxy frame, of sum 1."""
    catalog, out = Path(folder) / "catalog.fits", Path(folder) / "stamps.fits"
    conditions.write(catalog, overwrite=True)
    command = [program, "generate", "--frame", "galaxy", "--quiet", "--model", model, "--catalog", catalog, "--out", out]
    subprocess.run([str(c) for c in command], check=True)
    stamps = fits.getdata(out, "STAMPS").astype(float)
    stamps = stamps.reshape(len(conditions), *stamps.shape[-2:])
    return stamps / stamps.sum((1, 2), keepdims=True)


class Problem(ctypes.Structure):
    """galgen_error."""

    _fields_ = [("struct_size", ctypes.c_size_t), ("code", ctypes.c_int), ("message", ctypes.c_char * 512)]


class Info(ctypes.Structure):
    """galgen_model_info."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("struct_size", "side", "bands", "stamp_len", "latent", "conditions")),
        ("half_light_radius", ctypes.c_double),
        *((name, ctypes.c_char_p) for name in ("name", "fingerprint", "psf", "simd")),
    ]


class Engine:
    """The C ABI: stamps to latents to stamps."""

    def __init__(self, library, model):
        self.lib = ctypes.CDLL(str(library))
        opened, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("galgen_model_open", str(model).encode(), ctypes.byref(opened))
        self.call("galgen_session_new", opened, ctypes.byref(self.session))
        info = Info(struct_size=ctypes.sizeof(Info))
        self.call("galgen_model_get_info", opened, ctypes.byref(info))
        self.latent = info.latent

    def call(self, function, *arguments):
        """Calls a function whose last argument is the error; raises what it says."""
        problem = Problem(struct_size=ctypes.sizeof(Problem))
        if getattr(self.lib, function)(*arguments, ctypes.byref(problem)) != 0:
            raise RuntimeError(f"{function}: {problem.message.decode()}")

    def reconstruct(self, stamp, psf, conditions):
        """Decoded posterior mean, sum 1. `psf` None for a model without."""
        side, latent = len(stamp), self.latent
        f32 = lambda a: np.ascontiguousarray(a, dtype=np.float32)
        pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)
        size = ctypes.c_size_t
        stamp, conditions = f32(stamp), f32(conditions)
        if psf is not None:
            psf = f32(psf)
            self.call("galgen_session_set_stamp_psf", self.session, pointer(psf), size(len(psf)))
        mean, spread, out = (np.zeros(n, np.float32) for n in (latent, latent, side * side))
        given = pointer(conditions), size(conditions.size), size(1)
        self.call(
            "galgen_session_encode", self.session, pointer(stamp), size(stamp.size), *given,
            pointer(mean), pointer(spread), size(latent), None, None,
        )
        self.call(
            "galgen_session_decode", self.session, pointer(mean), size(latent), *given,
            pointer(out), size(out.size), None, None,
        )
        return out.reshape(side, side).astype(float)


def rows(truth, models):
    """Lines of the table: mean of the truth, mean of each model and its ratio, scatter galaxy by galaxy."""
    for name in truth[0]:
        true = np.array([t[name] for t in truth])
        cells = [f"{name} | {true.mean():.4g}"]
        for images, paired in models:
            pairs = [(t[name], m[name]) for t, m in zip(truth, images) if m]
            t, m = np.array(pairs).T
            text = f"{m.mean():.4g} ({m.mean() / t.mean() - 1:+.1%})"
            if paired:
                text += f", {np.median(np.abs(m - t)) / np.abs(t).mean():.1%}"
            cells.append(text)
        yield " | ".join(cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--with", dest="with_psf", type=Path, required=True)
    parser.add_argument("--without", type=Path, required=True)
    parser.add_argument("--galgen", default="galgen")
    parser.add_argument("--library", type=Path)
    args = parser.parse_args()
    set_ = load_file(args.out / "held-out.safetensors")
    with safe_open(args.out / "held-out.safetensors", "np") as file:
        hlr = json.loads(file.metadata()["galgen_training_set"])["hlr_px"]
    table = Table.read(args.out / "held-out-truth.fits")
    index = {identity(f"held-out.fits[{i}]"): i for i in range(len(table))}
    side = set_["stamps"].shape[-1]
    images, keep, flux, chi = [], [], [], []
    for k, ident in enumerate(set_["id"]):
        row = table[index[int(ident)]]
        columns = {c: set_[c][k] for c in set_ if set_[c].ndim == 1}
        reach = set_["psf"].shape[-1] // 2
        wide = in_galaxy_frame(row, columns, side + 2 * reach)
        light = wide[reach : reach + side, reach : reach + side]
        flux.append(columns["source_flux"] / row["flux"])
        chi.append(misfit(wide / flux[-1], set_["psf"][k], set_["stamps"][k, 0], columns["sky_sigma"]))
        images.append(light * window(side) / (light * window(side)).sum())
        keep.append(k)
    truth = [measure(image, hlr) for image in images]
    good = [k for k in keep if truth[k]]
    truth = [truth[k] for k in good]
    observed = [measure(set_["stamps"][k, 0], hlr) for k in good]
    catalog = {
        "with": Table({"axis_ratio": [t["axis ratio"] for t in truth], "concentration": [t["concentration"] for t in truth]}),
        "without": Table({c: set_[c][good] for c in ("axis_ratio", "concentration")}),
    }
    columns, header = [(observed, True)], ["stamps as seen"]
    with tempfile.TemporaryDirectory() as folder:
        for which, model in (("with", args.with_psf), ("without", args.without)):
            conditions = catalog[which]
            asked = Table(conditions)
            asked["id"], asked["half_light_radius"], asked["flux"] = np.arange(len(asked)), 1.0, 1.0
            drawn = generated(args.galgen, model, asked, folder)
            columns.append(([measure(image, hlr) for image in drawn], False))
            header.append(f"drawn, {which} PSF")
            if args.library:
                engine = Engine(args.library, model)
                back = []
                for row, k in enumerate(good):
                    psf = set_["psf"][k] if which == "with" else None
                    values = [conditions[c][row] for c in ("axis_ratio", "concentration")]
                    back.append(measure(engine.reconstruct(set_["stamps"][k, 0], psf, values), hlr))
                columns.append((back, True))
                header.append(f"reconstructed, {which} PSF")
    size = np.array([t["half-light radius"] for t in truth]) / hlr
    for name, values in (
        ("Truth convolved with the set's PSF against the stamps, chi squared per pixel", np.array(chi)[good]),
        ("Flux of the stamps over the true one", np.array(flux)[good]),
        ("True semi-major half-light radius over the one asked for", size),
    ):
        low, middle, high = np.percentile(values, [16, 50, 84])
        print(f"- {name}: median {middle:.3f}, 16 to 84 % {low:.3f} to {high:.3f}")
    print(f"\n{len(good)} held-out galaxies.", end=" ")
    print("Mean over the galaxies (and its difference from the truth's), for images of the same galaxies also the median error of one galaxy in units of the mean.\n")
    print("| measured | truth | " + " | ".join(header) + " |")
    print("|---" * (2 + len(header)) + "|")
    for line in rows(truth, columns):
        print(f"| {line} |")


if __name__ == "__main__":
    main()
