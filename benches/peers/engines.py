"""The peers: each takes a PyTorch module and fixed inputs, and runs it with one thread."""

import subprocess
import warnings

import numpy as np
import torch


class PyTorch:
    """Eager."""

    def __init__(self, module, inputs):
        self.module = module
        self.inputs = [torch.from_numpy(i) for i in inputs]

    def run(self):
        with torch.inference_mode():
            self.result = self.module(*self.inputs)

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
        for i, value in enumerate(inputs):
            self.binding.bind_input(f"input{i}", "cpu", 0, np.float32, value.shape, value.ctypes.data)
        self.binding.bind_output("output", "cpu", 0, np.float32, shape, self.result.ctypes.data)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return self.result


class OpenVino:
    """In f32: bfloat16, which it prefers where the CPU has it, is switched off."""

    def __init__(self, path, inputs, shape):
        import openvino

        config = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self.request = openvino.Core().compile_model(path, "CPU", config).create_infer_request()
        self.tensors = [openvino.Tensor(i, shared_memory=True) for i in inputs]
        for i, tensor in enumerate(self.tensors):
            self.request.set_tensor(f"input{i}", tensor)
        self.result = np.zeros(shape, np.float32)
        self.request.set_output_tensor(openvino.Tensor(self.result, shared_memory=True))

    def run(self):
        self.request.infer()

    def output(self):
        return self.result


class Ncnn:
    """Has no batches: items follow one another. Converted by pnnx."""

    def __init__(self, module, inputs, shape, folder):
        import ncnn
        import pnnx

        traced, (value,) = folder / "traced.pt", inputs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(module, torch.from_numpy(value[:1])).save(traced)
        sizes = ",".join(str(n) for n in (1, *value.shape[1:]))
        subprocess.run(
            [pnnx.EXEC_PATH, traced, f"inputshape=[{sizes}]f32", "fp16=0"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = 1
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        for load, path in (self.net.load_param, "traced.ncnn.param"), (self.net.load_model, "traced.ncnn.bin"):
            if load(str(folder / path)) != 0:
                raise ImportError(f"pnnx made a {path} that ncnn cannot load")
        self.inputs = [ncnn.Mat(item).clone() for item in value]
        self.shape = shape

    def run(self):
        self.results = []
        for item in self.inputs:
            extractor = self.net.create_extractor()
            extractor.input("in0", item)
            self.results.append(extractor.extract("out0")[1])

    def output(self):
        return np.stack([np.array(r) for r in self.results]).reshape(self.shape)


# In the order of the tables.
ENGINES = ("onnxruntime", "openvino", "ncnn", "torch")


def export(module, inputs, path):
    """Writes the module as ONNX, for inputs of these shapes."""
    # The exporter that PyTorch prefers takes minutes for a loop of 256 small nets.
    dynamo = not getattr(module, "unrolled", False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(torch.from_numpy(i) for i in inputs), str(path), external_data=False, verbose=False,
            dynamo=dynamo, input_names=[f"input{i}" for i in range(len(inputs))], output_names=["output"],
        )  # fmt: skip


def peers(module, inputs, folder, wanted):
    """Engine name to engine, of those in `wanted`; those whose package is missing are named and left out."""
    with torch.inference_mode():
        shape = tuple(module(*map(torch.from_numpy, inputs)).shape)
    path = str(folder / "module.onnx")
    if wanted & {"onnxruntime", "openvino"}:
        export(module, inputs, path)
    makers = {
        "onnxruntime": lambda: OnnxRuntime(path, inputs, shape),
        "openvino": lambda: OpenVino(path, inputs, shape),
        "ncnn": lambda: Ncnn(module, inputs, shape, folder),
        "torch": lambda: PyTorch(module, inputs),
    }
    made = {}
    for name in ENGINES:
        if name in wanted:
            try:
                made[name] = makers[name]()
            except ImportError as missing:
                print(f"    {name}: left out: {missing}")
    return made
