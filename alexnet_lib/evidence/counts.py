"""What the ledger of claims counts, each for the preset paper, without a run."""

import itertools

from ..config import ModelConfig
from ..summary import layer_table, totals


def dense_parameters(config: ModelConfig) -> int:
    """Parameters of a fully connected network with as many units in every layer as this one, and the same input."""
    sizes = [3 * config.image_size**2, *(row.neurons for row in layer_table(config))]
    return sum((below + 1) * units for below, units in itertools.pairwise(sizes))


def _total(key: str) -> int:
    return totals(layer_table(ModelConfig.preset("paper")))[key]


QUANTITIES = {
    "parameters": lambda: _total("parameters"),
    "neurons": lambda: _total("neurons"),
    "conv1_neurons": lambda: layer_table(ModelConfig.preset("paper"))[0].neurons,
    "dense_ratio": lambda: dense_parameters(ModelConfig.preset("paper")) // _total("parameters"),
}
