"""Writes render.safetensors: images drawn by GalSim that the renderer must reproduce.

    pip install galsim==2.8.5 numpy safetensors
    python tests/goldens/render.py

A galaxy is a sum of Gaussians, which GalSim integrates over pixels without a stamp in between. The file
holds its native stamp, and the same galaxy rotated, lensed, shifted, convolved and drawn on other grids:
what a perfect renderer makes of the stamp. Two more images go through GalSim's own stamp machinery
(InterpolatedImage, linear interpolant): they contain that interpolant's blur.
"""

import os

import galsim
import numpy as np
from safetensors.numpy import save_file

SIDE = 64
# Flux, x, y, sigma along x, sigma along y; pixels of the galaxy frame (disc, bulge, knots).
PARTS = [
    (0.70, 0.0, 0.0, 7.0, 4.0),
    (0.20, 0.0, 0.0, 1.5, 1.2),
    (0.04, 6.0, 2.0, 1.0, 1.0),
    (0.03, -7.0, -1.0, 1.2, 0.9),
    (0.03, 2.0, -5.0, 0.9, 0.9),
]
GSPARAMS = galsim.GSParams(folding_threshold=1e-5, maxk_threshold=1e-6, kvalue_accuracy=1e-8, maximum_fft_size=16384)
# Moffat wings alone set the FFT's size.
MOFFAT_GSPARAMS = galsim.GSParams(folding_threshold=5e-4, maxk_threshold=1e-5, kvalue_accuracy=1e-7, maximum_fft_size=16384)


def galaxy(scale):
    """The galaxy with pixels of `scale` arcsec."""
    parts = []
    for flux, x, y, sx, sy in PARTS:
        part = galsim.Gaussian(sigma=1.0, flux=flux, gsparams=GSPARAMS).transform(sx, 0, 0, sy)
        parts.append((part / (sx * sy)).withFlux(flux).shift(x, y).dilate(scale))
    return galsim.Sum(parts)


def place(profile, case):
    profile = profile.rotate(case["pa"] * galsim.degrees)
    profile = profile.lens(case["g1"], case["g2"], case["mu"])
    return profile.shift(case["dx"], case["dy"])


def draw(profile, n, pixel, method="auto"):
    return profile.drawImage(nx=n, ny=n, scale=pixel, dtype=np.float64, method=method).array.astype(np.float32)


def case(scale, pa, g1, g2, mu, dx, dy, n, pixel, psf=None):
    return dict(scale=scale, pa=pa, g1=g1, g2=g2, mu=mu, dx=dx, dy=dy, n=n, pixel=pixel, psf=psf)


GAUSSIAN = galsim.Gaussian(fwhm=0.16, gsparams=GSPARAMS)
MOFFAT = galsim.Moffat(fwhm=0.7, beta=2.5, gsparams=MOFFAT_GSPARAMS)
# A lopsided PSF that a 4 arcsec image holds.
CORE = galsim.Gaussian(fwhm=0.6, flux=0.8, gsparams=GSPARAMS).shear(g1=0.1, g2=-0.05)
LOPSIDED = CORE + galsim.Gaussian(fwhm=1.1, flux=0.2, gsparams=GSPARAMS).shift(0.1, 0.05)

# The table of cases in tests/tests/render/galsim.rs is the same.
CASES = {
    "turned": case(0.1, 30.0, 0.0, 0.0, 1.0, 0.03, -0.02, 64, 0.1),
    "lensed": case(0.1, -70.0, 0.1, -0.05, 1.2, 0.0, 0.05, 32, 0.2),
    "enlarged": case(0.1, 20.0, 0.0, 0.0, 1.0, 0.01, 0.02, 64, 0.04),
    "gaussian": case(0.05, 40.0, 0.05, 0.1, 1.0, 0.02, 0.03, 32, 0.1, GAUSSIAN),
    "moffat": case(0.08, 110.0, -0.1, 0.03, 0.9, -0.1, 0.15, 32, 0.2, MOFFAT),
    "image": case(0.08, 110.0, -0.1, 0.03, 0.9, -0.1, 0.15, 32, 0.2, LOPSIDED),
}


def main():
    tensors = {"native": draw(galaxy(1.0), SIDE, 1.0)}
    for name, c in CASES.items():
        profile = place(galaxy(c["scale"]), c)
        if c["psf"] is not None:
            profile = galsim.Convolve(profile, c["psf"])
        tensors[name] = draw(profile, c["n"], c["pixel"])
    tensors["psf"] = draw(LOPSIDED, 41, 0.1)
    for name in ["turned", "moffat"]:
        c = CASES[name]
        stamp = galsim.Image(tensors["native"].astype(np.float64), scale=c["scale"])
        profile = galsim.InterpolatedImage(stamp, x_interpolant="linear", normalization="flux", gsparams=GSPARAMS)
        profile = place(profile, c)
        if c["psf"] is not None:
            profile = galsim.Convolve(profile, c["psf"])
        tensors["stamp_" + name] = draw(profile, c["n"], c["pixel"])
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "render.safetensors")
    save_file(tensors, path, metadata={"galsim": galsim.__version__, "script": "tests/goldens/render.py"})
    for name, image in tensors.items():
        print(f"{name:14s} {image.shape} sum {image.sum(dtype=np.float64):.6f} max {image.max():.6f}")


if __name__ == "__main__":
    main()
