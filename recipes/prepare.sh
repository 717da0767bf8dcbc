#!/bin/sh
# Makes training sets from the pictures under $GALGEN_DATA: efigi and sdss200 for recipes/default.toml, and the linear
# cosmos (HST) and frames (SDSS).
#   recipes/prepare.sh OUTPUT_DIRECTORY
set -eu
out=${1:?usage: recipes/prepare.sh OUTPUT_DIRECTORY}
data=${GALGEN_DATA:-../shared/data}
train=${GALGEN_TRAIN:-cargo run --release -q -p galgen-train --}
mkdir -p "$out"

$train prepare --source "$data/efigi/images" --output "$out/efigi.safetensors" \
    --name efigi --credit "EFIGI (Baillard et al. 2011, A&A 532, A74), SDSS" \
    --stretch stiff --psf-fwhm 1.5 --psf-profile gaussian --noise-of-light display \
    --psf-note "median width of 391 stars in the outskirts of every fourth picture, 68 % within 1.2 to 2.0 pixels (recipes/star_width.py); each picture was rescaled, so that of a single one is uncertain by that much" \
    --stretch-note "power law of gamma 2.2, the default of the STIFF composer; that EFIGI used it is believed, not documented; exponential disks come out straight" \
    --sheets "$out/sheets-efigi"

$train prepare --source "$data/sdss200/images" --output "$out/sdss200.safetensors" \
    --name sdss200 --credit "SDSS sky server" \
    --table "$data/sdss200/index.csv" --pixel-scale 0.191 \
    --stretch sky-server --psf-fwhm 6.8 --min-hlr 7.5 --noise-of-light photons \
    --psf-note "seeing of 1.3 arcsec taken for all pictures; 35 stars of every twelfth picture have 6.5 to 9.5 pixels, 5 to 84 % (recipes/star_width.py)" \
    --stretch-note "asinh of the mean intensity with softening sqrt(20), the value of public imitations of the sky server; no official parameter is known, star widths suggest 4.5 to 5.5; the noise level is not that of the survey's images" \
    --sheets "$out/sheets-sdss200"

$train prepare --source "$data/cosmos_hst/real_galaxy_catalog.fits" --output "$out/cosmos.safetensors" \
    --name cosmos --credit "COSMOS, HST/ACS F814W (Leauthaud et al. 2007)" --band F814W \
    --pixel-scale 0.03 --min-hlr 4 \
    --sheets "$out/sheets-cosmos"

$train prepare --sky-images --source "$data/sdss_frames" --output "$out/frames.safetensors" \
    --name frames --credit "SDSS" --pixel-scale 0.396 --min-hlr 3 --min-snr 30 \
    --sheets "$out/sheets-frames"
