"""What a row of the comparison is."""

from dataclasses import dataclass
from typing import Callable

import numpy as np


@dataclass
class Call:
    """One thing to be timed with so many items, here and elsewhere."""

    # What a peer's module gets.
    inputs: list
    # Galgen's session to the same session with the call made.
    ours: Callable
    # A peer's output, in f64, to what galgen gives.
    finish: Callable = lambda raw: raw


@dataclass
class Row:
    """A model with random weights, in the form of each engine."""

    # Of the model file.
    card: dict
    tensors: dict
    # Name of a form ("", "folded") to PyTorch module: peers get each, the fastest counts.
    forms: dict
    # Batch to the call of so many items.
    call: Callable
    # Largest difference between engines, in units of the largest output.
    tolerance: float
    # Multiply-adds of an item, of the layers as written.
    multiply_adds: int = 0
    batches: tuple = (1, 16)
    # Whether the ratio of batch 1 has the row's name alone.
    bare: bool = False
    # Calls of a peer that do what one of ours does, of which one is timed; answers are then not compared.
    calls: int = 1

    # Engines that are not run.
    without: frozenset = frozenset()

    def key(self, name, batch):
        """What its ratio is called."""
        return name if self.bare and batch == 1 else f"{name}_b{batch}"


def noise(batch, *shape, seed=1):
    return np.random.default_rng(seed).standard_normal((batch, *shape)).astype(np.float32)
