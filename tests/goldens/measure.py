"""Writes measure.safetensors: galaxies drawn by GalSim and what other programs measure on them.

    pip install galsim==2.8.5 photutils==3.0.0 statmorph==0.7.2 numpy scipy safetensors
    python tests/goldens/measure.py

<galaxy>.image      [48, 48] F32
<galaxy>.truth      axis ratio, position angle (degrees from +x towards +y) of the profile
<galaxy>.radii      semi-major axes of the ellipses of that shape about the centre with 20, 50 and 80 % of the image's sum:
                    photutils, exact overlap of ellipse and pixels
<galaxy>.circular   half-light radius of circles: photutils as above, GalSim calculateHLR
<galaxy>.moments    axis ratio and position angle: GalSim HSM adaptive moments (Bernstein & Jarvis 2002)
<galaxy>.asymmetry  statmorph: asymmetry, its centre x and y, its aperture's radius (1.5 circular Petrosian radii)
"""

import os
import warnings

import galsim
import numpy as np
import photutils
import statmorph
from photutils.aperture import CircularAperture, EllipticalAperture
from safetensors.numpy import save_file
from scipy.optimize import brentq

SIDE = 48
CENTRE = (SIDE - 1) / 2
GSPARAMS = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-4, maximum_fft_size=32768)


def sersic(n, hlr, q, pa, flux=1.0):
    # GalSim's half-light radius is the circular one before the shear: semi-major axis hlr after it.
    profile = galsim.Sersic(n=n, half_light_radius=hlr * q**0.5, flux=flux, gsparams=GSPARAMS)
    return profile.shear(q=q, beta=pa * galsim.degrees)


def knot(flux, x, y):
    return galsim.Gaussian(sigma=1.2, flux=flux, gsparams=GSPARAMS).shift(x, y)


GALAXIES = {
    "gaussian": (galsim.Gaussian(sigma=5.0 * 0.6**0.5, gsparams=GSPARAMS).shear(q=0.6, beta=-50 * galsim.degrees), 0.6, -50.0),
    "disk": (sersic(1.0, 6.0, 0.6, 30.0), 0.6, 30.0),
    "bulge": (sersic(3.0, 5.0, 0.85, 75.0), 0.85, 75.0),
    "edge": (sersic(1.0, 7.0, 0.25, 0.0), 0.25, 0.0),
    "knots": (sersic(1.0, 5.0, 0.7, -20.0) + knot(0.08, 5.0, 3.0) + knot(0.05, -2.0, -6.0), 0.7, -20.0),
}


def radius(image, aperture, fraction):
    target = fraction * image.sum()
    return brentq(lambda r: aperture(r).do_photometry(image, method="exact")[0][0] - target, 0.1, 30.0, xtol=1e-9)


def asymmetry(image):
    """statmorph's, in a wide frame of empty sky, which its box for the sky needs."""
    edge = 24
    wide = np.pad(image, edge)
    segments = np.pad(np.ones_like(image, dtype=int), edge)
    source = statmorph.SourceMorphology(wide, segments, 1, gain=1e6)
    x, y = source._asymmetry_center + np.array([source.xmin_stamp, source.ymin_stamp]) - edge
    return [source.asymmetry, x, y, 1.5 * source.rpetro_circ]


def main():
    warnings.simplefilter("ignore")
    tensors = {}
    for name, (profile, q, pa) in GALAXIES.items():
        drawn = profile.drawImage(nx=SIDE, ny=SIDE, scale=1.0, dtype=np.float32)
        image = drawn.array.astype(np.float64)
        ellipse = lambda a: EllipticalAperture((CENTRE, CENTRE), a, a * q, theta=np.radians(pa))
        circle = lambda r: CircularAperture((CENTRE, CENTRE), r)
        shape = drawn.FindAdaptiveMom(guess_centroid=drawn.true_center, precision=1e-9).observed_shape
        values = {
            "truth": [q, pa],
            "radii": [radius(image, ellipse, f) for f in (0.2, 0.5, 0.8)],
            "circular": [radius(image, circle, 0.5), drawn.calculateHLR(flux=image.sum())],
            "moments": [shape.q, shape.beta / galsim.degrees],
            "asymmetry": asymmetry(image),
        }
        tensors[name + ".image"] = drawn.array.astype(np.float32)
        for key, value in values.items():
            tensors[f"{name}.{key}"] = np.array(value, dtype=np.float64)
            print(f"{name:9s} {key:10s}", *(f"{v:.6f}" for v in value))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "measure.safetensors")
    made_with = {m.__name__: m.__version__ for m in (galsim, photutils, statmorph, np)}
    save_file(tensors, path, metadata=made_with)
    print(path, os.path.getsize(path), "bytes", made_with)


if __name__ == "__main__":
    main()
