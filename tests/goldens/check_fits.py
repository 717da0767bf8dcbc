#!/usr/bin/env python3
"""Judge a stamp file with astropy, an implementation that shares no code with galgen.

    python check_fits.py stamps.fits [--expect-rows N]

Needs astropy and numpy. Checks that the file is standard (`verify('exception')`), that DATASUM and
CHECKSUM stand in every HDU and are right, that cube and index have the same length, that the index
has unique unsigned 64-bit ids, and prints what the file says of itself. Exit status 1 on any failure.
"""

import argparse
import sys
import warnings

import numpy as np
from astropy.io import fits


def check(path, expect_rows):
    # A wrong checksum is only a warning in astropy.
    warnings.simplefilter("error")
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        for hdu in hdus:
            for key in ("DATASUM", "CHECKSUM"):
                assert key in hdu.header, f"HDU {hdu.name}: no {key}"
            assert hdu.verify_datasum() == 1, f"HDU {hdu.name}: DATASUM is wrong"
            assert hdu.verify_checksum() == 1, f"HDU {hdu.name}: CHECKSUM is wrong"
        cube, index = hdus["STAMPS"], hdus["INDEX"]
        assert cube.data.dtype == np.dtype(">f4"), f"cube is {cube.data.dtype}"
        rows = len(index.data)
        assert len(cube.data) == rows, f"{len(cube.data)} stamps, {rows} rows"
        assert expect_rows is None or rows == expect_rows, f"{rows} rows, expected {expect_rows}"
        ids = index.data["id"]
        assert ids.dtype.kind == "u" and ids.dtype.itemsize == 8, f"ids are {ids.dtype}"
        assert len(np.unique(ids)) == rows, "ids repeat"
        assert np.isfinite(cube.data).all(), "pixels that are not finite"
        print(repr(hdus[0].header))
        print("cube", cube.data.shape, "columns", index.columns.names, "first row", index.data[0])
        sums = cube.data.reshape(rows, -1).sum(axis=1, dtype=np.float64)
        if "flux" in index.columns.names:
            flux = index.data["flux"].astype(np.float64)
            lit = flux != 0
            print("largest |sum / flux - 1|:", np.abs(sums[lit] / flux[lit] - 1).max(initial=0))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--expect-rows", type=int)
    args = parser.parse_args()
    try:
        check(args.file, args.expect_rows)
    except (AssertionError, Warning, OSError, KeyError) as error:
        sys.exit(f"{args.file}: {error!r}")


if __name__ == "__main__":
    main()
