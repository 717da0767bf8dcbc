"""Points of the usual two-dimensional toy densities, as CSV with the columns x and y.

    python points.py OUTPUT_DIRECTORY      # eight-gaussians.csv, two-moons.csv, checkerboard.csv, spirals.csv
"""

import math
import pathlib
import random
import sys

COUNT = 20_000


def eight_gaussians(r):
    angle = math.pi / 4 * r.randrange(8)
    return [(4 * f(angle) + r.gauss(0, 0.5)) / math.sqrt(2) for f in (math.cos, math.sin)]


def two_moons(r):
    angle = math.pi * r.random()
    x, y = math.cos(angle), math.sin(angle)
    if r.random() < 0.5:
        x, y = 1 - x, 0.5 - y
    return [2 * x - 1 + r.gauss(0, 0.2), 2 * y - 0.5 + r.gauss(0, 0.2)]


def checkerboard(r):
    x = 4 * r.random() - 2
    y = r.random() - 2 * r.randrange(2) + math.floor(x) % 2
    return [2 * x, 2 * y]


def spirals(r):
    n = math.sqrt(r.random()) * 3 * math.pi
    sign = 1 if r.random() < 0.5 else -1
    return [sign * (trig * n) / 3 + r.gauss(0, 0.1) for trig in (-math.cos(n), math.sin(n))]


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in [
        ("eight-gaussians", eight_gaussians),
        ("two-moons", two_moons),
        ("checkerboard", checkerboard),
        ("spirals", spirals),
    ]:
        r = random.Random(name)
        rows = "".join("%.7g,%.7g\n" % tuple(draw(r)) for _ in range(COUNT))
        (out / f"{name}.csv").write_text("x,y\n" + rows)


main()
