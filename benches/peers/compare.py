"""Times galgen beside other engines: the same weights, one thread each, calls in turn, answers checked.

Run it through `benches/peers/run`.

A row is a model with random weights (`decoders.py`, `flows.py`, `pixels.py`), written as a galgen model file and made as a
PyTorch module, which is exported to ONNX for the others. What is timed is one call for the whole batch, through the C
library; inputs and outputs are in buffers that are bound beforehand where the engine can.

How: engines take turns; in each turn one call warms the caches, which the others have filled, and the next ones are
timed. Reported are the median and the fastest call. Where a model can be given in several forms, a peer gets each, and
the fastest peer in its fastest form is the one that ratios are to.
"""

import argparse
import logging
import os
import pathlib
import platform
import subprocess
import tempfile
import time
from importlib.metadata import version

import decoders
import flows
import model_file
import numpy as np
import pixels
import torch
from engines import ENGINES, peers
from galgen import Galgen

TIMED_CALLS = 4
HERE = pathlib.Path(__file__).parent
MEASURES = {"median": np.median, "fastest": np.min}

# Name to what makes the row.
ROWS = {
    "decoder64": decoders.decoder64,
    "published128": decoders.published128,
    "dense128": decoders.dense128,
    "glow_logp": flows.glow_logp,
    "pixelcnn_logp": pixels.pixelcnn_logp,
    "coupling": flows.coupling,
    "maf_sample": flows.maf_sample,
    "spline": flows.spline,
    "decoder64_norm": decoders.decoder64_norm,
    "pixelcnn_sample": pixels.pixelcnn_sample,
    "coupling_logp": flows.coupling_logp,
    "maf_logp": flows.maf_logp,
    "spline_logp": flows.spline_logp,
}


def engines(row, call, model, library, folder, wanted):
    """Name to engine: galgen and the peers."""
    made = {"galgen": call.ours(Galgen(library, model))}
    for form, module in row.forms.items():
        found = peers(module, call.inputs, folder, wanted - row.without)
        made.update({f"{name}, {form}": engine for name, engine in found.items()})
    return made


def check(made, row, call):
    """Every peer's answer against galgen's."""
    for engine in made.values():
        engine.run()
    ours = made["galgen"].output()
    for name in made.keys() - {"galgen"}:
        theirs = call.finish(made[name].output().astype(np.float64))
        difference = np.abs(theirs - ours).max() / np.abs(ours).max()
        if not difference <= row.tolerance:
            raise SystemExit(f"{name}: differs from galgen by {difference:.1e} of the largest, expected <= {row.tolerance}")
        print(f"    {name}: agrees with galgen to {difference:.1e} of the largest")


def timed(made, seconds):
    """Name to an array of seconds per call."""
    times = {name: [] for name in made}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, engine in made.items():
            engine.run()
            for _ in range(TIMED_CALLS):
                start = time.perf_counter()
                engine.run()
                times[name].append(time.perf_counter() - start)
    return {name: np.array(t) for name, t in times.items()}


def report(row, batch, times):
    """Prints the table; returns the fastest peer's time over ours, by medians and by fastest calls."""
    ours = {m: f(times["galgen"]) for m, f in MEASURES.items()}
    others = []
    for name, t in times.items():
        note = ""
        if name != "galgen":
            if row.calls > 1:
                t, note = t * row.calls, f", times {row.calls}"
            others.append(t)
        cells = [f"{m} {1e3 * f(t):9.3f} ms ({f(t) / ours[m]:5.2f})" for m, f in MEASURES.items()]
        print(f"    {name:28} {'  '.join(cells)}  {len(t)} calls{note}")
    return {m: min(map(f, others), default=np.nan) / ours[m] for m, f in MEASURES.items()}


def machine():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    versions = []
    for package in ENGINES:
        try:
            versions.append(f"{package} {version(package)}")
        except ModuleNotFoundError:
            pass
    load = os.getloadavg()[0]
    print(f"{cpu}, {os.cpu_count()} cores, load {load:.1f}; {time.strftime('%Y-%m-%d')}; galgen {git.stdout.strip()}")
    print("; ".join(versions))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libgalgen.so")
    parser.add_argument("--model", help="a galaxy model's file: its decoder is one more row, `model`")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help=f"of {' '.join(ROWS)} model; all of them")
    parser.add_argument("--peers", nargs="*", choices=ENGINES, default=ENGINES, help="all of them")
    parser.add_argument("--batches", type=int, nargs="+", help="instead of each row's own")
    parser.add_argument("--seconds", type=float, default=10, help="of timing for each row and batch")
    arguments = parser.parse_args()
    rows = dict(ROWS)
    if arguments.model:
        rows["model"] = lambda: decoders.galaxies(arguments.model)
    names = arguments.rows or list(rows)
    if unknown := set(names) - set(rows):
        parser.error(f"rows {', '.join(sorted(unknown))}: expected some of {', '.join(rows)}")
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which is not needed
    machine()
    found = {}
    for name in names:
        row = rows[name]()
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model_file.write(folder / "model.safetensors", row.card, row.tensors)
            for batch in arguments.batches or row.batches:
                print(f"{name}, batch {batch}: {2e-6 * row.multiply_adds:.4g} MFLOP an item as written", flush=True)
                call = row.call(batch)
                model = folder / "model.safetensors"
                made = engines(row, call, model, arguments.library, folder, set(arguments.peers))
                if row.calls == 1:
                    check(made, row, call)
                found[row.key(name, batch)] = report(row, batch, timed(made, arguments.seconds))
    for measure, label in (("fastest", "RATIOS of fastest calls:"), ("median", "RATIOS")):
        print(label, *(f"{key}={ratio[measure]:.2f}" for key, ratio in found.items()))


if __name__ == "__main__":
    main()
