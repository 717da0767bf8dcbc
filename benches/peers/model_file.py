"""Model files: a card in the metadata of a safetensors file (galgen-core, `card`), read and written."""

import json
import struct

import numpy as np

FORMAT_VERSION = 1
DTYPES = {"F16": np.float16, "F32": np.float32}


def fingerprint(card):
    """64-bit FNV-1a of the JSON of what defines the model."""
    parts = [card[k] for k in ("geometry", "psf", "conditions", "model")]
    found = 0xCBF29CE484222325
    for byte in json.dumps(parts, separators=(",", ":")).encode():
        found = (found ^ byte) * 0x100000001B3 % 2**64
    return f"{found:016x}"


def card(name, geometry, model):
    """An unconditional model. Fields stand in the order of galgen-core's structs, which the fingerprint sees."""
    made = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "description": "Random weights, for timing",
        "fingerprint": "",
        "geometry": geometry,
        "psf": "intrinsic",
        "conditions": {"list": [], "precision": [], "distance_limit": 0.0},
        "model": model,
        "training": None,
        "evaluation": None,
    }
    return {**made, "fingerprint": fingerprint(made)}


def write(path, card, tensors):
    """`tensors` by name, f32."""
    header, body = {"__metadata__": {"galgen": json.dumps(card)}}, []
    end = 0
    for name in sorted(tensors):
        values = np.ascontiguousarray(tensors[name], dtype=np.float32)
        begin, end = end, end + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [begin, end]}
        body.append(values.tobytes())
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(body))


def read(path):
    """The card and the tensors, as f32, of a model file."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    card = json.loads(header.pop("__metadata__")["galgen"])
    body = memoryview(data)[8 + length :]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(body[begin:end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).astype(np.float32)
    return card, tensors
