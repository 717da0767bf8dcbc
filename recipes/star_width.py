#!/usr/bin/env python3
"""Width of stars in display pictures, to know the PSF of a set that does not say it.

    recipes/star_width.py FOLDER --step 4 --avoid 26 --reach 4 --gamma 2.2     # EFIGI
    recipes/star_width.py FOLDER --step 12 --avoid 50 --reach 12 --asinh 4.472 # SDSS sky server, 200 x 200

Undoes the stretch, takes compact round peaks further than --avoid pixels from the picture's centre, fits an elliptical
Gaussian within --reach pixels and prints percentiles of the full width at half maximum. Needs numpy, scipy, pillow.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter
from scipy.optimize import curve_fit


def gaussian(xy, peak, x0, y0, sx, sy, skew, level):
    dx, dy = xy[0] - x0, xy[1] - y0
    return peak * np.exp(-0.5 * (dx**2 / sx**2 + dy**2 / sy**2) + skew * dx * dy) + level


def widths(path, args):
    rgb = np.asarray(Image.open(path).convert("RGB")).astype(float)
    mean = rgb.mean(2) / 255
    light = mean**args.gamma if args.gamma else np.sinh(args.asinh * mean) / np.sinh(args.asinh)
    light = light * rgb[:, :, 1] / 255 / np.maximum(mean, 1e-3)
    n, r = len(light), args.reach
    sky = np.median(light)
    sigma = 1.4826 * np.median(abs(light - sky))
    peak = (light == maximum_filter(light, 2 * (r // 2) + 1)) & (light > sky + max(30 * sigma, 0.05))
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    for j, i in zip(*np.where(peak)):
        inside = r <= i < n - r and r <= j < n - r
        if not inside or np.hypot(i - n / 2, j - n / 2) < args.avoid or rgb[j, i].max() > 245:
            continue
        star = light[j - r : j + r + 1, i - r : i + r + 1]
        start = (star.max(), 0, 0, r / 4.5, r / 4.5, 0, sky)
        try:
            fit, _ = curve_fit(gaussian, (x.ravel(), y.ravel()), star.ravel(), p0=start, maxfev=400)
        except RuntimeError:
            continue
        rms = np.sqrt(((star - gaussian((x, y), *fit)) ** 2).mean()) / fit[0]
        a, b = abs(fit[3]), abs(fit[4])
        if rms < 0.04 and max(a, b) < 1.3 * min(a, b) and np.hypot(fit[1], fit[2]) < 1:
            yield 2.3548 * np.sqrt(a * b)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--step", type=int, default=1, help="look at every so many pictures")
    parser.add_argument("--avoid", type=float, default=0)
    parser.add_argument("--reach", type=int, default=4)
    parser.add_argument("--gamma", type=float)
    parser.add_argument("--asinh", type=float, default=4.472)
    args = parser.parse_args()
    pictures = sorted(args.folder.glob("*.jpg"))[:: args.step]
    found = [w for path in pictures for w in widths(path, args)]
    print(f"{len(found)} stars; FWHM in pixels at 5, 16, 50, 84, 95 %:", np.percentile(found, [5, 16, 50, 84, 95]).round(2))


if __name__ == "__main__":
    main()
