#!/usr/bin/env python3
"""Draws galaxies whose intrinsic light is known, as a survey would see them.

    GALGEN_DATA=DIR recipes/known-truth/draw.py OUT [--train 6000] [--held-out 500]

Writes to OUT, for each part P of train and held-out:
  P.fits       stamps [N, SIDE, SIDE]: PSF, pixel, white noise of deviation NOISE
  P-psf.fits   the PSFs [N, 41, 41], detector pixel included, in the same pixels
  P-truth.fits a table with every parameter; truth.galaxy(row) builds the galaxy again, without PSF

Bulge and disk (shapes, sizes, ratio of fluxes) are CatSim's or, for a third of the galaxies, the fits to COSMOS
galaxies; a part of the disk's light is in random knots, so that galaxies are not smooth. Sizes are drawn anew against
the PSF: half-light radius 1.5 to 6 standard deviations of its core. Needs galsim, astropy, numpy.
"""

import argparse
import os
from multiprocessing import Pool
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table

from truth import KNOTS, galaxy

SIDE = 101  # pixels of a stamp, of arcsec 1: everything is in pixels
PSF_SIDE = 41
NOISE = 1.0
SIZES = 1.5, 6.0  # half-light radius over the standard deviation of the PSF's core
SIGNAL_TO_NOISE = 20.0, 200.0
CORE = 1.5, 2.4  # standard deviation of the PSF's core in pixels


def shapes(data: Path, rng, n):
    """Bulge and disk of `n` galaxies: fluxes of sum 1, axis ratios, sizes relative to the disk's (or the whole)."""
    rows = []
    catsim = Table.read(data / "catalogs/catsim_onedegsq.fits")
    cosmos = Table.read(data / "catalogs/cosmos_23.5_paramfits_500.fits")
    catsim = catsim[(catsim["a_d"] > 0) & (catsim["b_d"] / np.maximum(catsim["a_d"], 1e-9) > 0.12)]
    cosmos = cosmos[cosmos["fit_status"][:, 4] > 0]
    while len(rows) < n:
        if rng.random() < 2 / 3:
            r = catsim[rng.integers(len(catsim))]
            bulge, disk = r["fluxnorm_bulge"], r["fluxnorm_disk"]
            fraction = bulge / (bulge + disk) if bulge > 0 and r["a_b"] > 0 else 0.0
            ratio = float(np.clip(r["a_b"] / r["a_d"], 0.1, 1.0)) if fraction > 0 else 0.3
            q_bulge = float(np.clip(r["b_b"] / r["a_b"], 0.4, 1.0)) if fraction > 0 else 1.0
            rows.append((fraction, 4.0, q_bulge, ratio, 1.0, r["b_d"] / r["a_d"]))
        else:
            _, _, n_sersic, q, _, _, _, _ = cosmos[rng.integers(len(cosmos))]["sersicfit"]
            # One Sersic profile: a disk of that index, no bulge.
            if 0.3 < n_sersic < 6 and 0.12 < q <= 1:
                rows.append((0.0, 4.0, 1.0, 0.3, float(np.clip(n_sersic, 0.5, 4.0)), float(q)))
    return np.array(rows, dtype=float)


def parameters(data: Path, rng, n):
    """A table with a row per galaxy."""
    s = shapes(data, rng, n)
    table = Table()
    table["bulge_fraction"], table["bulge_n"], table["bulge_q"], table["bulge_size"] = s[:, :4].T
    table["disk_n"], table["disk_q"] = s[:, 4:].T
    table["psf"] = rng.integers(100, size=n)
    table["psf_core"] = rng.uniform(*CORE, size=n)
    table["hlr"] = table["psf_core"] * np.exp(rng.uniform(*np.log(SIZES), size=n))
    table["angle_deg"] = rng.uniform(-90, 90, size=n)
    table["knot_fraction"] = rng.uniform(0.05, 0.4, size=n)
    table["knots"] = rng.integers(*KNOTS, size=n)
    table["knot_seed"] = rng.integers(1, 2**31 - 1, size=n)
    table["signal_to_noise"] = np.exp(rng.uniform(*np.log(SIGNAL_TO_NOISE), size=n))
    table["dx"], table["dy"] = rng.uniform(-0.5, 0.5, size=(2, n))
    table["noise_seed"] = rng.integers(1, 2**31 - 1, size=n)
    table["flux"] = 0.0
    return table


def draw(job):
    """(stamp, PSF, flux) of a row."""
    row, image = job
    size = galsim.hsm.FindAdaptiveMom(galsim.Image(image, scale=1)).moments_sigma
    optics = galsim.InterpolatedImage(galsim.Image(image, scale=1), normalization="flux", flux=1)
    optics = optics.dilate(row["psf_core"] / size)
    psf = optics.drawImage(nx=PSF_SIDE, ny=PSF_SIDE, scale=1).array
    seen = galsim.Convolve(galaxy(row), optics).shift(row["dx"], row["dy"])
    stamp = seen.drawImage(nx=SIDE, ny=SIDE, scale=1, dtype=float)
    noise = galsim.GaussianNoise(galsim.BaseDeviate(int(row["noise_seed"])), sigma=NOISE)
    # Of the best linear estimate of the flux: sqrt(sum of squares) / noise.
    flux = row["signal_to_noise"] * NOISE / np.sqrt((stamp.array**2).sum())
    stamp *= flux
    stamp.addNoise(noise)
    return stamp.array.astype("f4"), (psf / psf.sum()).astype("f4"), flux


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    data = Path(os.environ.get("GALGEN_DATA", "../shared/data"))
    psfs = np.load(data / "psf/euclid_vis_like_41px.npy").astype(float)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed, (part, n) in enumerate([("train", args.train), ("held-out", args.held_out)]):
        table = parameters(data, np.random.default_rng(seed), n)
        jobs = [({c: row[c] for c in table.colnames}, psfs[row["psf"]]) for row in table]
        with Pool(args.processes) as pool:
            stamps, images, flux = zip(*pool.imap(draw, jobs, chunksize=50))
        table["flux"] = flux
        fits.writeto(args.out / f"{part}.fits", np.array(stamps), overwrite=True)
        fits.writeto(args.out / f"{part}-psf.fits", np.array(images), overwrite=True)
        table.write(args.out / f"{part}-truth.fits", overwrite=True)
        print(f"{part}: {n} galaxies")


if __name__ == "__main__":
    main()
