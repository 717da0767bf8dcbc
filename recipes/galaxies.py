"""Stamps of 32 x 32 pixels from display-stretched cutouts, as Zanisi et al. (2021) make theirs: turned by a random angle,
the central part, averaged down. Pixels are the mean of the bands, 0 to 1 in the cutouts' own (asinh) stretch.

    pip install numpy pillow
    python galaxies.py FOLDER OUTPUT.npy [--central 128] [--side 32]

Writes float32 [n, side, side] in the order of the file names, which for SDSS is that of right ascension.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("output", type=pathlib.Path)
parser.add_argument("--central", type=int, default=128, help="pixels of a cutout that a stamp covers")
parser.add_argument("--side", type=int, default=32)
args = parser.parse_args()
if args.central % args.side:
    parser.error(f"--central {args.central} is not a multiple of --side {args.side}")

angles = np.random.RandomState(0)
stamps = []
for path in sorted(args.folder.iterdir()):
    picture = Image.open(path).convert("RGB").rotate(angles.uniform(0, 360), Image.Resampling.BICUBIC)
    grey = np.asarray(picture, np.float64).mean(2) / 255
    if min(grey.shape) < args.central:
        parser.error(f"{path}: {grey.shape}, expected at least {args.central} pixels a side")
    top, left = ((n - args.central) // 2 for n in grey.shape)
    centre = grey[top : top + args.central, left : left + args.central]
    factor = args.central // args.side
    stamps.append(centre.reshape(args.side, factor, args.side, factor).mean((1, 3)))
np.save(args.output, np.array(stamps, np.float32))
print(f"{len(stamps)} stamps of {args.side} x {args.side}: mean {np.mean(stamps):.4f}, largest {np.max(stamps):.3f}")
