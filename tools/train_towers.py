"""Trains a network as two processes, one a tower, on two GPUs or on processors:

torchrun --nproc-per-node 2 tools/train_towers.py [--preset quick] [--data ...] [--set FIELD=VALUE ...]

It is `python -m alexnet_lib train` by other means: the same images, masks and steps, and the same checkpoints, written whole.
`python -m alexnet_lib evaluate RUN` reads them, and either command goes on where the other was stopped.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from alexnet_lib import InputError, ModelConfig, TrainConfig, open_dataset
from alexnet_lib.batches import split_holdout
from alexnet_lib.checkpoint import understood
from alexnet_lib.config import merge, overridden, preset
from alexnet_lib.data.sources import absolute
from alexnet_lib.evaluation import evaluate
from alexnet_lib.evidence import records
from alexnet_lib.exchange import Link
from alexnet_lib.system.memory import keep_pages
from alexnet_lib.system.processes import join_processes, pick_device, rank_and_world
from alexnet_lib.system.stopping import stop_as_by_ctrl_c
from alexnet_lib.system.strict import path_of
from alexnet_lib.towers import Tower, join_states, split_state
from alexnet_lib.training import Trainer


class Answered(nn.Module):
    """A tower whose logits (N, classes) all towers see, so that a training loop needs no word on towers.

    Those beside tower 0 get a copy and add nothing to it: their own (N, 0) logits, summed. Their loss is then that of
    tower 0, and its gradient starts the way back in them without giving anything to the copy.
    """

    def __init__(self, tower: Tower):
        super().__init__()
        self.tower = tower

    def forward(self, images: Tensor) -> Tensor:
        own = self.tower(images)
        seen = self.tower.broadcast_logits(own.detach())
        return own if self.tower.link.tower == 0 else seen + own.sum()


class TowerTrainer(Trainer):
    """The training loop in each of the processes that share a network. Tower 0 shows the progress and writes checkpoints."""

    def __init__(self, model: Tower, train_set, valid_set, config: TrainConfig, run_dir: Path, device=None, progress=True):
        if config.compile:
            raise InputError("towers in processes of their own are not compiled: set train.compile=false")
        progress = progress and model.link.tower == 0
        super().__init__(model, train_set, valid_set, config, run_dir, device, progress, share=(0, 1))  # all see every image
        self.network, self.rank = Answered(model), model.link.tower

    def tensors(self) -> dict[str, Tensor]:
        """Those of the whole network, in tower 0."""
        states = {part: self._of(super(TowerTrainer, self).tensors(), part) for part in ("model", "velocity")}
        whole = {part: gather_states(state, self.model.link) or {} for part, state in states.items()}
        return {f"{part}.{name}": x for part, state in whole.items() for name, x in state.items()}

    def _load(self, path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
        with understood(path):
            config, own = ModelConfig.from_dict(facts["model"]), {"tally": tensors["tally"]}
            for part in ("model", "velocity"):
                mine = split_state(self._of(tensors, part), config, self.rank)
                own |= {f"{part}.{name}": x for name, x in mine.items()}
        super()._load(path, own, facts)

    def _of(self, tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
        return {name.removeprefix(f"{part}."): x for name, x in tensors.items() if name.startswith(f"{part}.")}

    def _in_any_process(self, *flags: bool) -> list[bool]:
        raised = torch.tensor(flags, dtype=torch.float32, device=self.device)
        distributed.all_reduce(raised, group=self.model.link.group)
        return [count > 0 for count in raised.tolist()]


def gather_states(state: dict[str, Tensor], link: Link) -> dict[str, Tensor] | None:
    """The state dict of AlexNet in tower 0, from those of all towers, which must all call; None in the others.

    A checkpoint made of it is one of the network in one process, and `split_state` is the way back.
    """
    states: list[dict[str, Tensor]] | None = [{}] * link.towers if link.tower == 0 else None
    distributed.gather_object({name: x.cpu() for name, x in state.items()}, states, group=link.group, group_dst=0)
    return join_states(states) if states else None


def fit_towers(
    group: distributed.ProcessGroup | None, model: ModelConfig, train_set, valid_set, config: TrainConfig, run_dir: Path | str,
    device: str | None = None, progress: bool = True,
) -> TowerTrainer:  # fmt: skip
    """training.fit for a network whose towers are the processes of `group`, all of which call this."""
    tower = Tower(model, group, config.seed)
    trainer = TowerTrainer(tower, train_set, valid_set, config, path_of(run_dir), device, progress)
    trainer.train()
    return trainer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quick", help="network and training, as for alexnet_lib train")
    parser.add_argument("--data", help="a source, a folder or a packed set; by default the preset's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run-dir", help="the run's folder; by default the one that alexnet_lib train has")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="model.FIELD=VALUE or train.FIELD=VALUE"
    )
    parser.add_argument("--device", help="cpu, cuda, ...; by default a GPU where there is one")
    asked = parser.parse_args()
    keep_pages()
    stop_as_by_ctrl_c()
    rank = 0
    try:
        rank, world = rank_and_world()
        train(asked, rank, world)
    except InputError as error:  # of whichever process: another machine may lack the data
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if rank == 0:
            print("stopped. The same command goes on from here", file=sys.stderr)
        return 130
    return 0


def train(asked: argparse.Namespace, rank: int, world: int) -> None:
    """Everything from the command line to the printed error rates."""
    model, config = preset(asked.preset)
    data = {"data": asked.data} if asked.data is not None else {}
    model, config = overridden(model, merge(config, {"seed": asked.seed} | data), asked.set)
    config = replace(config, data=absolute(config.data))  # whoever evaluates its checkpoint may be in another folder
    if world != model.towers:
        raise InputError(f"start it with torchrun --nproc-per-node {model.towers}, one process for each tower")
    device = torch.device(pick_device(asked.device))
    join_processes(device)
    whole = open_dataset(config.data, "train", size=model.packed_size)
    model = replace(model, classes=len(whole.classes))
    train_set, valid_set = split_holdout(whole, config)
    usual = records.run_dir("train", asked.preset, config, preset(asked.preset)[1].data)
    run_dir = usual if asked.run_dir is None else path_of(asked.run_dir)
    trainer = fit_towers(None, model, train_set, valid_set, config, run_dir, str(device))
    if whole.has_split("test"):
        rates = evaluate(trainer.model, open_dataset(config.data, "test", size=model.packed_size))
        if rank == 0:
            print("\n".join(f"test_{name:19} {value:8.3f}" for name, value in rates.items()))
    if rank == 0:
        print(f"trained in {trainer.seconds:.1f} s; checkpoint: {trainer.saved}")
    distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
