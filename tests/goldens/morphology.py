"""Writes morphology.safetensors: galaxies drawn by GalSim and what GalSim's HSM and statmorph measure on them.

    pip install galsim==2.8.5 statmorph==0.7.2 numpy safetensors
    python tests/goldens/morphology.py

psf                  [25, 25] F32, Moffat of beta 3.5 and FWHM 2.5 pixels, without the pixel
<galaxy>.image       [60, 60] F16 (what both sides measure: noise and rounding are in it)
<galaxy>.sigma       standard deviation of the noise
<galaxy>.truth       of single Sersic galaxies: flux, semi-major half-light radius, index, axis ratio, position angle (degrees)
<galaxy>.hsm         sigma, |g|, axis ratio, position angle, x, y: GalSim FindAdaptiveMom
<galaxy>.centres     statmorph: centroid x, y; centre of least asymmetry x, y
<galaxy>.shape       statmorph: axis ratio and position angle of the unweighted moments about that centre
<galaxy>.radii       statmorph: circular and elliptical Petrosian radius; radii of 20, 50 and 80 % of the light
<galaxy>.morphology  statmorph: C, A, S, Gini, M20; number of pixels of the Gini segment
<galaxy>.about       statmorph: the centroid's asymmetry without the sky term, in the aperture of the asymmetry
<galaxy>.sersic      statmorph: index, semi-major half-light radius, axis ratio of the best-fit Sersic galaxy through the PSF

statmorph sees the stamp in a wide frame of sky with the same noise, of which it takes its sky box: 64 x 64 pixels.
"""

import os
import warnings

import galsim
import numpy as np
import statmorph
from safetensors.numpy import save_file

SIDE = 60
CENTRE = (SIDE - 1) / 2
EDGE = 100
FLUX = 1e4
GSPARAMS = galsim.GSParams(folding_threshold=1e-3, maxk_threshold=1e-4, maximum_fft_size=32768)
PSF = galsim.Moffat(beta=3.5, fwhm=2.5, gsparams=GSPARAMS)


def sersic(n, hlr, q, pa, flux=FLUX):
    # GalSim's half-light radius is the circular one before the shear: semi-major axis hlr after it.
    profile = galsim.Sersic(n=n, half_light_radius=hlr * q**0.5, flux=flux, gsparams=GSPARAMS)
    return profile.shear(q=q, beta=pa * galsim.degrees)


def knots(seed, count, share, hlr, q, pa):
    shape = galsim.Exponential(half_light_radius=hlr * q**0.5, flux=share * FLUX)
    random = galsim.RandomKnots(count, profile=shape, rng=galsim.BaseDeviate(seed), gsparams=GSPARAMS)
    # A knot has a size: 1 pixel.
    return galsim.Convolve(random.shear(q=q, beta=pa * galsim.degrees), galsim.Gaussian(sigma=1.0))


def lopsided(share, x, y, sigma):
    return galsim.Gaussian(sigma=sigma, flux=share * FLUX, gsparams=GSPARAMS).shift(x, y)


# Name: profile (before the PSF), through the PSF?, noise of a pixel, truth of a single Sersic galaxy.
SINGLE = {
    "half": (0.5, 7.0, 0.8, 20.0),
    "disk": (1.0, 7.0, 0.6, -35.0),
    "edge": (1.0, 8.0, 0.25, 60.0),
    "middle": (2.0, 6.0, 0.5, 10.0),
    "bulge": (4.0, 5.0, 0.7, 80.0),
    "cusp": (5.0, 5.0, 0.9, -60.0),
}
TRUTH = {name: (FLUX, *p) for name, p in SINGLE.items()}
GALAXIES = {name: (sersic(*p), True, 0.0) for name, p in SINGLE.items()}
TRUTH["sharp"] = (FLUX, 1.0, 7.0, 0.6, -35.0)
GALAXIES["sharp"] = (sersic(1.0, 7.0, 0.6, -35.0), False, 0.0)
COMPOSITE = {
    "bulge_disk": sersic(4.0, 3.0, 0.9, 0.0, 0.4 * FLUX) + sersic(1.0, 8.0, 0.5, 30.0, 0.6 * FLUX),
    "off_centre": (sersic(1.0, 7.0, 0.7, 45.0, 0.9 * FLUX) + sersic(2.0, 2.0, 1.0, 0.0, 0.1 * FLUX).shift(1.2, -0.7)).shift(0.4, 0.3),
    "knotty": sersic(1.0, 7.0, 0.8, 15.0, 0.6 * FLUX) + knots(1, 25, 0.4, 7.0, 0.8, 15.0),
    "knots": knots(7, 60, 1.0, 7.0, 0.9, 0.0),
    "lopsided": sersic(1.0, 7.0, 0.6, -20.0, 0.85 * FLUX) + lopsided(0.15, 5.0, 4.0, 2.0),
    "pair": sersic(2.0, 5.0, 0.8, 50.0, 0.75 * FLUX) + lopsided(0.25, -8.0, 3.0, 1.8),
}
GALAXIES.update({name: (p, True, 0.0) for name, p in COMPOSITE.items()})
for name, sigma in (("disk", 2.0), ("bulge", 1.0), ("knotty", 2.0), ("lopsided", 4.0), ("bulge_disk", 4.0)):
    GALAXIES[name + "_noisy"] = (*GALAXIES[name][:2], sigma)
    if name in TRUTH:
        TRUTH[name + "_noisy"] = TRUTH[name]


def measure(image, sigma, noise, psf):
    """statmorph's numbers in coordinates of the stamp."""
    wide = sigma * noise.standard_normal((SIDE + 2 * EDGE, SIDE + 2 * EDGE))
    inner = slice(EDGE, EDGE + SIDE)
    wide[inner, inner] = image
    segments = np.zeros(wide.shape, dtype=int)
    segments[inner, inner] = 1
    # A noise-free fit has no chi2: any constant weight will do.
    weight = np.full(wide.shape, max(sigma, 1.0))
    s = statmorph.SourceMorphology(wide, segments, 1, weightmap=weight, psf=psf, cutout_extent=4.0, skybox_size=64)
    offset = np.array([s.xmin_stamp, s.ymin_stamp]) - EDGE
    centroid = np.array([s._xc_stamp, s._yc_stamp])
    cutout = s._cutout_stamp_maskzeroed
    sky = s._sky_asymmetry
    radius = 1.5 * s._rpetro_circ_centroid
    area = np.pi * radius**2
    aperture = statmorph.statmorph.CircularAperture(centroid, radius)
    light = aperture.do_photometry(np.abs(cutout), method="exact")[0][0]
    about = s._asymmetry_function(centroid, cutout, "cas") + area * sky / light
    return {
        "centres": [*(centroid + offset), *(s._asymmetry_center + offset)],
        "shape": [1.0 / s.elongation_asymmetry, np.degrees(s.orientation_asymmetry)],
        "radii": [s.rpetro_circ, s.rpetro_ellip, s.r20, s.r50, s.r80, s._rpetro_circ_centroid],
        "morphology": [s.concentration, s.asymmetry, s.smoothness, s.gini, s.m20, np.sum(s._segmap_gini)],
        "about": [about],
        "sersic": [s.sersic_n, s.sersic_rhalf, 1.0 - s.sersic_ellip],
    }, s.flag


def main():
    warnings.simplefilter("ignore")
    noise = np.random.RandomState(20)  # the legacy generator: its stream is frozen
    psf = PSF.drawImage(nx=25, ny=25, scale=1.0, method="no_pixel", dtype=np.float64).array
    psf = (psf / psf.sum()).astype(np.float32)
    delta = np.zeros((3, 3))
    delta[1, 1] = 1.0
    tensors = {"psf": psf}
    for name, (profile, blurred, sigma) in GALAXIES.items():
        seen = galsim.Convolve(profile, PSF, gsparams=GSPARAMS) if blurred else profile
        drawn = seen.drawImage(nx=SIDE, ny=SIDE, scale=1.0, dtype=np.float64)
        drawn.array[:] = (drawn.array + sigma * noise.standard_normal((SIDE, SIDE))).astype(np.float16)
        image = drawn.array
        moments = drawn.FindAdaptiveMom(guess_centroid=drawn.true_center, precision=1e-9)
        shape = moments.observed_shape
        centroid = moments.moments_centroid
        values, flag = measure(image, sigma, noise, psf.astype(np.float64) if blurred else delta)
        values["sigma"] = [sigma]
        # GalSim counts pixels from 1.
        values["hsm"] = [moments.moments_sigma, shape.g, shape.q, shape.beta / galsim.degrees, centroid.x - 1, centroid.y - 1]
        if name in TRUTH:
            values["truth"] = TRUTH[name]
        tensors[name + ".image"] = image.astype(np.float16)
        for key, value in values.items():
            tensors[f"{name}.{key}"] = np.array(value, dtype=np.float64)
            print(f"{name:16s} {key:10s}", *(f"{v:.6f}" for v in value), f"flag {flag}" if flag else "")
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "morphology.safetensors")
    made_with = {m.__name__: m.__version__ for m in (galsim, statmorph, np)}
    save_file(tensors, path, metadata=made_with)
    print(path, os.path.getsize(path), "bytes", made_with)


if __name__ == "__main__":
    main()
