"""Times the decoder of a galgen model beside other engines: one thread each, calls in turn, answers checked.

Run it through `benches/peers/run`.

What is timed: latents [batch, latent] and conditions to stamps, one call for the whole batch, inputs and outputs in
buffers that are bound beforehand where the engine can. galgen's call standardises the conditions and, after the net,
multiplies by the border window and normalises each stamp to unit sum; the others run the net alone.

How: engines take turns; in each turn one call warms the caches, which the others have filled, and the next ones are
timed. Reported are the median and the fastest call. Engines compute in f32: bfloat16, which OpenVINO prefers where
the CPU has it, is switched off.
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

import numpy as np
import torch
from galgen import Galgen
from model import Decoder, read

# Largest difference of a pixel, in units of the brightest pixel: sums of 10^3 products in f32, in another order.
TOLERANCE = 2e-5
# Of the stamp's half side: where its border window begins to fall (galgen-core, `stamp`).
WINDOW_FLAT = 0.8
TIMED_CALLS = 4
HERE = pathlib.Path(__file__).parent


class PyTorch:
    def __init__(self, decoder, inputs):
        self.decoder = decoder
        self.inputs = [torch.from_numpy(i) for i in inputs]

    def run(self):
        with torch.inference_mode():
            self.result = self.decoder(*self.inputs)

    def output(self):
        return self.result.numpy()


class OnnxRuntime:
    def __init__(self, path, inputs, shape):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.result = np.zeros(shape, np.float32)
        self.binding = self.session.io_binding()
        self.inputs = inputs
        for name, value in zip(("z", "context"), inputs):
            self.binding.bind_input(name, "cpu", 0, np.float32, value.shape, value.ctypes.data)
        self.binding.bind_output("stamp", "cpu", 0, np.float32, shape, self.result.ctypes.data)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return self.result


class OpenVino:
    def __init__(self, path, inputs, shape):
        import openvino

        config = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self.request = openvino.Core().compile_model(path, "CPU", config).create_infer_request()
        self.tensors = [openvino.Tensor(i, shared_memory=True) for i in inputs]
        for name, tensor in zip(("z", "context"), self.tensors):
            self.request.set_tensor(name, tensor)
        self.result = np.zeros(shape, np.float32)
        self.request.set_output_tensor(openvino.Tensor(self.result, shared_memory=True))

    def run(self):
        self.request.infer()

    def output(self):
        return self.result


def window(side):
    """Border of a stamp: 1 to 0.8 of its half side, from there a raised cosine to 0 at the half side."""
    offset = np.arange(side) - (side - 1) / 2
    radius = np.hypot(offset[:, None], offset)
    fall = (radius - WINDOW_FLAT * side / 2) / ((1 - WINDOW_FLAT) * side / 2)
    return 0.5 * (1 + np.cos(np.pi * np.clip(fall, 0, 1)))


def finished(raw):
    """What galgen does after the net, in f64."""
    stamps = raw.astype(np.float64) * window(raw.shape[-1])
    return stamps / stamps.sum((1, 2, 3), keepdims=True)


def engines(arguments, card, decoder, batch, folder):
    """Name to engine; those whose package is missing are named and left out."""
    geometry = card["geometry"]
    shape = (batch, len(geometry["bands"]), geometry["side"], geometry["side"])
    random = np.random.default_rng(1)
    z = random.standard_normal((batch, decoder.latent)).astype(np.float32)
    context = random.uniform(-1, 1, (batch, decoder.context)).astype(np.float32)
    conditions = np.empty_like(context)
    for i, c in enumerate(card["conditions"]["list"]):
        conditions[:, i] = c["mean"] + c["deviation"] * context[:, i].astype(np.float64)

    path = str(folder / f"decoder{batch}.onnx")
    torch.onnx.export(
        decoder, (torch.from_numpy(z), torch.from_numpy(context)), path,
        input_names=["z", "context"], output_names=["stamp"], external_data=False, verbose=False,
    )  # fmt: skip
    made = {"galgen": Galgen(arguments.library, arguments.model, z, conditions, int(np.prod(shape[1:])))}
    for name, make in [
        ("onnxruntime", lambda: OnnxRuntime(path, (z, context), shape)),
        ("openvino", lambda: OpenVino(path, (z, context), shape)),
        ("torch", lambda: PyTorch(decoder, (z, context))),
    ]:
        try:
            made[name] = make()
        except ImportError as missing:
            print(f"{name}: left out: {missing}")
    return made, shape


def check(made, shape):
    """Every peer's stamps against galgen's."""
    for engine in made.values():
        engine.run()
    ours = made["galgen"].output().reshape(shape)
    for name in made.keys() - {"galgen"}:
        difference = np.abs(finished(made[name].output()) - ours).max() / ours.max()
        if not difference <= TOLERANCE:
            raise SystemExit(f"{name}: stamps differ from galgen's by {difference:.1e} of the peak, expected <= {TOLERANCE}")
        print(f"{name}: stamps agree with galgen's to {difference:.1e} of the peak")


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


def report(batch, times):
    """Prints the table; returns the fastest peer's time over ours, by medians and by fastest calls."""
    measures = {"median": np.median, "fastest": np.min}
    ours = {m: f(times["galgen"]) for m, f in measures.items()}
    ratios = {m: [] for m in measures}
    for name, t in times.items():
        cells = []
        for m, f in measures.items():
            ratio = f(t) / ours[m]
            cells.append(f"{m} {1e3 * f(t):8.3f} ms ({ratio:5.2f} x galgen)")
            if name != "galgen":
                ratios[m].append(ratio)
        print(f"batch {batch:2}  {name:12} {'  '.join(cells)}  {len(t)} calls")
    return {m: min(r) for m, r in ratios.items()}


def machine():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    versions = []
    for package in ("onnxruntime", "openvino", "torch"):
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
    parser.add_argument("--model", required=True, help="model file")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--seconds", type=float, default=15, help="of timing for each batch size")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which is not needed
    machine()
    card, tensors = read(arguments.model)
    decoder = Decoder(card["model"]["flow_vae"]["decoder"], tensors).eval()
    side = card["geometry"]["side"]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for batch in arguments.batches:
            made, shape = engines(arguments, card, decoder, batch, pathlib.Path(folder))
            check(made, shape)
            found.append(report(batch, timed(made, arguments.seconds)))
    for measure, label in (("median", "RATIOS"), ("fastest", "RATIOS of fastest calls:")):
        pairs = (f"decoder{side}_b{b}={r[measure]:.2f}" for b, r in zip(arguments.batches, found))
        print(label, " ".join(pairs))


if __name__ == "__main__":
    main()
