"""Images of 32 x 32 pixels for the PixelCNN of recipes/galaxies-ratio.toml, from a training set of `galgen-train prepare` or
`galgen-train sersic`: means of 2 x 2 pixels, asinh-stretched so that the brightest pixels are near 1 (as Zanisi et al.
2021, whose stretch is asinh(counts / 1000), clipped at 1).

    pip install numpy
    python ratio_stamps.py SET.safetensors OUTPUT.npy

Writes float32 [n, 32, 32] in the order of the set.
"""

import json
import pathlib
import struct
import sys

import numpy as np

# A round galaxy has a mean of 1 inside its half-light radius of 8 pixels.
INTENSITY = 2 * np.pi * 8**2
BRIGHTEST = 10

if len(sys.argv) != 3:
    sys.exit(__doc__)
data = pathlib.Path(sys.argv[1]).read_bytes()
try:
    (size,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8 : 8 + size])["stamps"]
except (struct.error, ValueError, KeyError):
    sys.exit(f"{sys.argv[1]}: not a training set, expected a file of `galgen-train prepare` or `sersic`")
start, end = entry["data_offsets"]
n, bands, h, w = entry["shape"]
if (entry["dtype"], bands, h, w) != ("F32", 1, 64, 64):
    sys.exit(f"{sys.argv[1]}: stamps are {entry['dtype']} {entry['shape']}, expected F32 [n, 1, 64, 64]")
stamps = np.frombuffer(data[8 + size + start : 8 + size + end], "<f4").reshape(n, 32, 2, 32, 2).mean((2, 4))
images = np.minimum(np.arcsinh(INTENSITY * stamps) / np.arcsinh(BRIGHTEST), 1).astype(np.float32)
np.save(sys.argv[2], images)
print(f"{n} images: mean {images.mean():.4f}, range {images.min():.3f} to {images.max():.3f}, {np.mean(images == 1):.2e} clipped")
