"""What the ledger of claims counts, each for the preset paper, without a run."""

from ..config import ModelConfig
from ..summary import dense_parameters, layer_table, totals


def _total(key: str) -> int:
    return totals(layer_table(ModelConfig.preset("paper")))[key]


QUANTITIES = {
    "parameters": lambda: _total("parameters"),
    "neurons": lambda: _total("neurons"),
    "conv1_neurons": lambda: layer_table(ModelConfig.preset("paper"))[0].neurons,
    "dense_ratio": lambda: dense_parameters(ModelConfig.preset("paper")) // _total("parameters"),
}
