#!/bin/sh
# Makes training sets of the galaxies that draw.py drew.
#   recipes/known-truth/prepare.sh DIRECTORY
set -eu
out=${1:?usage: recipes/known-truth/prepare.sh DIRECTORY}
train=${GALGEN_TRAIN:-cargo run --release -q -p galgen-train --}
for part in train held-out; do
    $train prepare --source "$out/$part.fits" --psf-file "$out/$part-psf.fits" --output "$out/$part.safetensors" \
        --name "known truth, $part" --credit "GalSim; CatSim and COSMOS shapes" \
        --psf-note "Euclid-like, as drawn" --noise white --noise-sigma 1 \
        --side 32 --hlr-px 4 --psf-side 31 --min-hlr 1.5 --min-snr 8
done
