"""The C library through ctypes: just what the comparison needs."""

import ctypes

import numpy as np

MESSAGE_SIZE = 512  # GALGEN_MESSAGE_SIZE
PIXELS_DRAWN = 1  # GALGEN_PIXELS_DRAWN
size = ctypes.c_size_t


class Error(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("code", ctypes.c_int), ("message", ctypes.c_char * MESSAGE_SIZE)]


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


class Galgen:
    """One session of a model file, and one call of it with fixed arguments.

    Arrays of the call are kept alive by this object: the call holds their addresses.
    """

    def __init__(self, library, path):
        self.library = ctypes.CDLL(library)
        self.error = Error(struct_size=ctypes.sizeof(Error))
        self.model = self.made(self.library.galgen_model_open, str(path).encode())
        self.session = self.made(self.library.galgen_session_new, self.model)

    def check(self, status):
        if status != 0:
            raise RuntimeError(self.error.message.decode())

    def made(self, function, argument):
        """The handle that a constructor gives."""
        handle = ctypes.c_void_p()
        self.check(function(argument, ctypes.byref(handle), ctypes.byref(self.error)))
        return handle

    def call(self, function, *arguments):
        self.function = getattr(self.library, function)
        self.arguments = (self.session, *arguments, ctypes.byref(self.error))
        return self

    def decode(self, latents, conditions, stamp_len):
        """galgen_session_decode of f32 [batch, latent] and [batch, conditions]."""
        self.result = np.zeros((len(latents), stamp_len), np.float32)
        self.inputs = latents, conditions
        return self.call(
            "galgen_session_decode",
            pointer(latents), size(latents.size),
            pointer(conditions), size(conditions.size),
            size(len(latents)),
            pointer(self.result), size(self.result.size),
            None, None,
        )  # fmt: skip

    def log_likelihood(self, stamps):
        """galgen_session_log_likelihood of f32 [batch, pixels], unconditional."""
        self.result = np.zeros(len(stamps), np.float64)
        self.inputs = stamps
        return self.call(
            "galgen_session_log_likelihood",
            ctypes.c_uint64(0), ctypes.c_uint32(1),
            pointer(stamps), size(stamps.size),
            None, size(0),
            None, None,
            size(len(stamps)),
            pointer(self.result), None,
        )  # fmt: skip

    def sample_images(self, batch, stamp_len):
        """galgen_session_sample_images, unconditional."""
        self.result = np.zeros((batch, stamp_len), np.float32)
        return self.call(
            "galgen_session_sample_images",
            ctypes.c_uint64(0), None,
            None, size(0),
            size(batch),
            ctypes.c_uint32(PIXELS_DRAWN),
            pointer(self.result), size(self.result.size),
            None, None,
        )  # fmt: skip

    def run(self):
        self.check(self.function(*self.arguments))

    def output(self):
        return self.result
