#!/usr/bin/env python3
"""Write the example catalogue: python3 examples/make_catalog.py > examples/catalog.csv

A field of 64 invented galaxies: number counts that rise with magnitude as 10^(0.3 mag) between 19.5 and
24.5, sizes that shrink with magnitude with a scatter of 0.2 dex, thin disks seen from random
directions, rounder spheroids, a few irregulars, random position angles and a weak shear.
Only the standard library is used; the seed is fixed.
"""

import math
import random

random.seed(2021)
BRIGHT, FAINT, SLOPE = 19.5, 24.5, 0.3


def magnitude():
    """Inverse of the cumulative counts."""
    low, high = 10 ** (SLOPE * BRIGHT), 10 ** (SLOPE * FAINT)
    return math.log10(low + random.random() * (high - low)) / SLOPE


def disk():
    """Oblate with an intrinsic thickness of 0.22; cos(inclination) is uniform."""
    cosine = random.random()
    return math.sqrt(cosine**2 + 0.22**2 * (1 - cosine**2)), random.uniform(0.8, 1.5)


def spheroid():
    return random.uniform(0.5, 0.93), random.uniform(2.0, 3.4)


def irregular():
    return random.uniform(0.35, 0.9), random.uniform(0.5, 0.8)


print("id,mag,half_light_radius,axis_ratio,sersic_n,position_angle,g1,g2")
for number in range(64):
    mag = magnitude()
    kind = random.choices([disk, spheroid, irregular], [0.6, 0.25, 0.15])[0]
    axis_ratio, sersic = kind()
    radius = 10 ** (-0.35 - 0.1 * (mag - 22) + random.gauss(0, 0.2))  # arcsec
    g1, g2 = random.gauss(0, 0.02), random.gauss(0, 0.02)
    print(
        f"{1001 + number},{mag:.2f},{radius:.3f},{min(axis_ratio, 0.95):.3f},{sersic:.2f},"
        f"{random.uniform(0, 180):.1f},{g1:.4f},{g2:.4f}"
    )
