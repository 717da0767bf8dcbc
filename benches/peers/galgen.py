"""`galgen_session_decode` of the C library through ctypes: just what the comparison needs."""

import ctypes

import numpy as np

FLOATS = ctypes.POINTER(ctypes.c_float)
MESSAGE_SIZE = 512  # GALGEN_MESSAGE_SIZE


class Error(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("code", ctypes.c_int), ("message", ctypes.c_char * MESSAGE_SIZE)]


def pointer(array):
    return array.ctypes.data_as(FLOATS)


class Galgen:
    """One session of a model file, with fixed latents and conditions, both f32 [batch, ...]."""

    def __init__(self, library, path, latents, conditions, stamp_len):
        self.library = ctypes.CDLL(library)
        self.error = Error(struct_size=ctypes.sizeof(Error))
        self.model = self.made(self.library.galgen_model_open, path.encode())
        self.session = self.made(self.library.galgen_session_new, self.model)
        self.stamps = np.zeros((len(latents), stamp_len), np.float32)
        self.inputs = latents, conditions  # kept alive: the call holds their addresses
        size = ctypes.c_size_t
        self.arguments = (
            self.session,
            pointer(latents), size(latents.size),
            pointer(conditions), size(conditions.size),
            size(len(latents)),
            pointer(self.stamps), size(self.stamps.size),
            None, None,
            ctypes.byref(self.error),
        )  # fmt: skip

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.error.message.decode())

    def made(self, function, argument):
        """The handle that a constructor gives."""
        handle = ctypes.c_void_p()
        self.check(function(argument, ctypes.byref(handle), ctypes.byref(self.error)))
        return handle

    def run(self):
        self.check(self.library.galgen_session_decode(*self.arguments))

    def output(self):
        return self.stamps
