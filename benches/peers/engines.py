"""The peers: each takes a PyTorch module and fixed inputs, and runs it with one thread."""

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


# In the order of the tables.
ENGINES = ("onnxruntime", "openvino", "torch")


def export(module, inputs, path):
    """Writes the module as ONNX, for inputs of these shapes; returns the shape of its output."""
    tensors = tuple(torch.from_numpy(i) for i in inputs)
    torch.onnx.export(
        module, tensors, str(path), input_names=[f"input{i}" for i in range(len(inputs))], output_names=["output"],
        external_data=False, verbose=False,
    )  # fmt: skip
    with torch.inference_mode():
        return tuple(module(*tensors).shape)


def peers(module, inputs, path, wanted):
    """Engine name to engine, of those in `wanted`; those whose package is missing are named and left out."""
    made = {}
    if "torch" in wanted:
        made["torch"] = PyTorch(module, inputs)
    if wanted - {"torch"}:
        shape = export(module, inputs, path)
    for name, engine in (("onnxruntime", OnnxRuntime), ("openvino", OpenVino)):
        if name in wanted:
            try:
                made[name] = engine(str(path), inputs, shape)
            except ImportError as missing:
                print(f"{name}: left out: {missing}")
    return made
