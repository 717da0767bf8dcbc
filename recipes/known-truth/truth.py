"""The galaxies of draw.py, before PSF and noise, from their parameters."""

import galsim
import numpy as np

KNOTS = 5, 40  # number of knots
KNOT_SIZE = 0.12  # standard deviation of a knot in half-light radii of the disk


def sersic(n, hlr, q, flux):
    """A Sersic profile by its semi-major half-light radius, cut off where GalSim can tell its light from none."""
    # In steps of a quarter and of unit size first, because GalSim keeps what it worked out for an index.
    n = round(4 * float(n)) / 4
    unit = galsim.Sersic(n, half_light_radius=1, trunc=8 if n > 1.5 else 0)
    return unit.dilate(hlr * np.sqrt(q)).shear(q=q, beta=0 * galsim.degrees).withFlux(flux)


def galaxy(row):
    """The intrinsic light, of flux 1, lengths in pixels of the stamp, centred on the origin.

    `hlr` is the semi-major half-light radius of the disk; the bulge's is `bulge_size` times that.
    """
    hlr = float(row["hlr"])
    parts = []
    bulge = float(row["bulge_fraction"])
    if bulge > 0:
        q = float(row["bulge_q"])
        parts.append(sersic(row["bulge_n"], float(row["bulge_size"]) * hlr, q, bulge))
    q = float(row["disk_q"])
    parts.append(sersic(row["disk_n"], hlr, q, (1 - bulge) * (1 - float(row["knot_fraction"]))))
    # GalSim's shears keep the area: from the semi-major to the circularised radius.
    size = hlr * np.sqrt(q)
    knots = galsim.RandomKnots(
        int(row["knots"]),
        half_light_radius=size,
        flux=(1 - bulge) * float(row["knot_fraction"]),
        rng=galsim.BaseDeviate(int(row["knot_seed"])),
    )
    knots = galsim.Convolve(knots.shear(q=q, beta=0 * galsim.degrees), galsim.Gaussian(sigma=KNOT_SIZE * hlr))
    parts.append(knots)
    return galsim.Sum(parts).rotate(float(row["angle_deg"]) * galsim.degrees)


def in_galaxy_frame(row, columns, side):
    """Intrinsic light [side, side] of sum about 1 on the grid of a prepared stamp, smoothed like a pixel.

    `columns` are the prepared set's source_scale, source_x_px, source_y_px, source_position_angle_deg; `row` the
    galaxy's parameters. Pixel (u, v) from the stamp's centre is, in the source, scale * (u, v) turned by the angle.
    """
    from draw import SIDE

    middle = (SIDE - 1) / 2
    # Where the galaxy's own centre lies, seen from the stamp's centre.
    dx = middle + float(row["dx"]) - float(columns["source_x_px"])
    dy = middle + float(row["dy"]) - float(columns["source_y_px"])
    seen = galaxy(row).shift(dx, dy).rotate(-float(columns["source_position_angle_deg"]) * galsim.degrees)
    # Smoothed as much as a pixel does (its second moment is 1/12); a Gaussian ends soon in frequency, which
    # makes drawing fast.
    seen = galsim.Convolve(seen.dilate(1 / float(columns["source_scale"])), galsim.Gaussian(sigma=12**-0.5))
    return seen.drawImage(nx=side, ny=side, scale=1, dtype=float, method="no_pixel").array
