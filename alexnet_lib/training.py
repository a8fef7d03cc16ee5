"""fit(): one training loop for every profile, on one processor or on many."""

import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy

from . import checkpoint
from .batches import Batches, mix
from .config import InputError, TrainConfig
from .evaluation import check_fits, evaluate
from .layers import Dropout
from .model import AlexNet
from .optim import PaperSGD, Schedule
from .system.processes import join_processes, pick_device, place, stop_requests
from .system.progress import bar
from .system.strict import check_compiler

FIRST_STEPS = 100  # whose losses are kept one by one: how a run starts says whether it is set up right


class DivergedError(InputError):
    """The loss is no longer a number."""


@dataclass
class Result:
    """What fit() gives back: the curve (one dict an epoch), the losses of the first steps, steps taken, seconds spent,
    the last checkpoint, and the processes that trained (the most there were at any time)."""

    curve: list[dict]
    first_losses: list[float]
    step: int
    seconds: float
    checkpoint: Path | None
    processes: int


def fit(
    model: AlexNet,
    train_set,
    valid_set,
    config: TrainConfig,
    run_dir: Path | str,
    *,
    device: str | None = None,
    progress: bool = True,
) -> Result:
    """Trains `model` in place and leaves checkpoints in `run_dir`; goes on from the newest one there.

    Under torchrun each process takes its part of every batch of config.batch_size images, and of the images to evaluate.
    Everything random follows from config.seed and the number of the step: a run that was stopped and resumed takes the
    same steps, and one with another number of processes differs from it by rounding alone.

    Args:
        model: the network; moved to the device.
        train_set, valid_set: PackedDatasets; valid_set (centre crop, every config.evaluate_every epochs) may be None.
        config: how to train.
        run_dir: the run's folder.
        device: "cpu", "cuda", ...; None takes a GPU where there is one.

    Raises:
        DivergedError: the loss is not finite; the checkpoints from before remain.
        InputError: run_dir holds a run with another configuration or data set, the images do not fit the network, or a
            plateau schedule has no validation error to watch.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is finished and its checkpoint is written.
    """
    trainer = Trainer(model, train_set, valid_set, config, Path(run_dir), device, progress)
    trainer.resume()
    with stop_requests() as stop:
        trainer.run(stop)
    return Result(trainer.curve, trainer.first_losses, trainer.step, trainer.seconds, trainer.saved, trainer.processes)


class Trainer:
    """The state of a run and the steps that change it. `fit` is the way to use it."""

    def __init__(self, model, train_set, valid_set, config, run_dir, device=None, progress=True):
        self.rank, self.world = place()
        self.processes = self.world
        self.device = torch.device(pick_device(device))
        if config.compile:
            check_compiler()
        self.config, self.run_dir, self.train_set, self.valid_set = config, run_dir, train_set, valid_set
        for dataset in (train_set, valid_set) if valid_set is not None else (train_set,):
            check_fits(model.config, dataset)
        if config.schedule == "plateau" and valid_set is None and config.epochs > config.patience:
            raise InputError("the plateau schedule watches a validation error: set holdout or another schedule")
        self.batches = Batches(train_set, model.config, config, self.device, self.rank, self.world)
        self.steps_per_epoch = self.batches.per_epoch
        self.model = model.to(self.device)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        self.network: nn.Module = model
        if self.world > 1:
            join_processes(self.device)
            for layer in model.modules():
                if isinstance(layer, Dropout):
                    layer.batch, layer.part = self.batches.size, self.batches.part
            self.network = nn.parallel.DistributedDataParallel(model)
        if config.compile:  # around the other: the compiler then leaves room to send gradients while others are computed
            self.network = torch.compile(self.network)
        self.optimiser = PaperSGD(model, config.momentum, config.weight_decay, config.decay_biases)
        self.schedule = Schedule(replace(config, batch_size=self.batches.size))
        self.show = progress and self.rank == 0
        self.step, self.seconds, self.curve, self.first_losses, self.saved = 0, 0.0, [], [], None
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, wrong, images of this epoch so far

    def run(self, stop: threading.Event) -> None:
        last = self.step if self.schedule.finished else self.config.epochs * self.steps_per_epoch
        started, saved_at, before = time.perf_counter(), time.perf_counter(), self.seconds
        self.model.train()
        size = self.batches.size
        counted = {"total": last * size, "initial": self.step * size, "unit": "img", "unit_scale": True}
        with self._tensorboard() as writer, bar(**counted, disable=not self.show) as shown:
            for images, labels in self.batches.ahead(self.step, last):
                self._take_step(images, labels)
                self.step += 1
                shown.update(size)
                self.seconds = before + time.perf_counter() - started
                at_end = self.step % self.steps_per_epoch == 0
                if self.device.type != "cpu" and not at_end and self.step % 20:
                    continue  # a GPU is not waited for after every step
                evaluated = at_end and (self.step // self.steps_per_epoch % self.config.evaluate_every == 0 or self.step == last)
                due = time.perf_counter() - saved_at > 60 * self.config.checkpoint_minutes
                stopping, due, broken = self._in_any_process(stop.is_set(), due, not self.tally[0].isfinite())
                saving = evaluated or stopping or due
                if broken or (saving and not all(p.isfinite().all() for p in self.model.parameters())):
                    raise self._diverged()
                if at_end:
                    self._finish_epoch(evaluated, shown, writer)
                if saving:
                    self.save()
                    saved_at = time.perf_counter()
                if stopping:
                    raise KeyboardInterrupt
                if self.schedule.finished:
                    break
            shown.finish(f"trained for {self.step // self.steps_per_epoch} epochs, {self.step} steps")

    def _take_step(self, images: Tensor, labels: Tensor) -> None:
        c, size = self.config, self.batches.size
        rates = self.schedule.rates((self.step + 0.5) / self.steps_per_epoch)  # in the middle of the step
        torch.manual_seed(mix(c.seed, self.step, 1))  # the dropout masks
        batch = self.batches.augment(images, self.step, noise=rates.colour_noise)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.precision == "bfloat16"):
            logits = self.network(batch)
        loss = cross_entropy(logits.float(), labels)
        self.optimiser.zero_grad()
        # Gradients are averaged over the processes, and where a batch does not divide, some have an image more.
        (loss * (len(labels) * self.world / size)).backward()
        self.optimiser.rates = rates.by_parameter(self.model)
        self.optimiser.step()
        with torch.no_grad():
            wrong = (logits.argmax(1) != labels).sum()
            found = torch.stack([loss.double() * len(labels), wrong, torch.full_like(wrong, len(labels))])
            self.tally += found
        if self.step < FIRST_STEPS:
            self.first_losses.append(self._sum(found)[0].item() / size)

    def _finish_epoch(self, evaluated: bool, shown, writer) -> None:
        epoch = self.step // self.steps_per_epoch
        loss, wrong, images = self._sum(self.tally).tolist()
        self.tally.zero_()
        entry = {"epoch": epoch, "step": self.step, "lr": self.schedule.rates((self.step - 0.5) / self.steps_per_epoch).weights}
        entry |= {"train_loss": loss / images, "train_error": 100 * wrong / images, "seconds": round(self.seconds, 3)}
        if self.valid_set is not None and evaluated:
            found = evaluate(self.model, self.valid_set, "centre", shared=True)
            entry["valid_loss"], entry["valid_error"] = found["loss"], found["top1_error"]
            self.schedule.observe(entry["valid_error"])
        self.curve.append(entry)
        shown.set_postfix_str(" ".join(f"{k} {entry[k]:.4g}" for k in ("train_loss", "train_error", "valid_error") if k in entry))
        if writer:
            for key, value in entry.items():
                writer.add_scalar(key, value, self.step)

    def _sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, as a new tensor; each of them must ask for it."""
        numbers = numbers.clone()
        if self.world > 1:
            distributed.all_reduce(numbers)
        return numbers

    def _in_any_process(self, *flags: bool) -> list[bool]:
        """Which flags are up in any process: all of them must do the same after the same step."""
        return [count > 0 for count in self._sum(torch.tensor(flags, dtype=torch.float32, device=self.device)).tolist()]

    def _diverged(self) -> DivergedError:
        """What to say; no checkpoint was written since, so that the last good one stays good."""
        good = f"The last good checkpoint is {self.saved}" if self.saved else "There is no checkpoint from before"
        return DivergedError(
            f"the loss is not finite at step {self.step}. {good}. Try a lower lr (it is {self.config.lr:g}), "
            "smaller initial weights or precision float32"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Weights and velocities of the network, under the names that they have in a checkpoint."""
        parts = {"model": self.model.state_dict(), "velocity": self.optimiser.velocity}
        return {f"{part}.{name}": x for part, state in parts.items() for name, x in state.items()}

    def save(self) -> None:
        """Writes a checkpoint of this moment; every process must call it, and the first one writes."""
        tensors = self.tensors() | {"tally": self._sum(self.tally)}
        if self.rank == 0:
            facts = {"model": asdict(self.model.config), "train": asdict(self.config), "data": self.train_set.checksum}
            facts |= {"step": self.step, "seconds": self.seconds, "schedule": self.schedule.state(), "curve": self.curve}
            facts |= {"first_losses": self.first_losses}
            facts |= {"torch_threads": torch.get_num_threads(), "processes": self.processes, "batch_size": self.batches.size}
            self.saved = checkpoint.save_step(self.run_dir, self.step, tensors, facts, self.config.keep_checkpoints)

    def resume(self) -> None:
        """Takes up the newest sound checkpoint in the run's folder, if there is one."""
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write to {self.run_dir}: {error.strerror}. Name another run folder") from error
        found = checkpoint.newest(self.run_dir)
        if found is not None:
            self._load(*found)
        if self._sum(torch.tensor(float(self.step), device=self.device)) != self.step * self.world:
            raise InputError(f"the processes find different checkpoints in {self.run_dir}: let all machines share the folder")

    def _load(self, path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
        asked, saved = self.config, TrainConfig.from_dict(facts["train"])
        free = ("precision", "channels_last", "compile", "tensorboard", "checkpoint_minutes", "keep_checkpoints", "data")
        checkpoint.check_same("model", path, type(self.model.config).from_dict(facts["model"]), self.model.config)
        checkpoint.check_same("training", path, saved, replace(asked, **{f: getattr(saved, f) for f in free}))
        if facts["data"] != self.train_set.checksum:
            raise InputError(f"{path.parent} holds a run on other data. Name another run folder, or remove that one")
        self.model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
        for name, velocity in self.optimiser.velocity.items():
            velocity.copy_(tensors[f"velocity.{name}"])
        if self.rank == 0:  # the sum over the processes that there were
            self.tally.copy_(tensors["tally"])
        self.schedule.load_state(facts["schedule"])
        self.step, self.seconds, self.curve, self.saved = facts["step"], facts["seconds"], facts["curve"], path
        self.first_losses, self.processes = facts["first_losses"], max(self.world, facts["processes"])

    @contextmanager
    def _tensorboard(self):
        """A writer, or None where there is to be none."""
        if not (self.config.tensorboard and self.rank == 0):
            yield None
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(self.run_dir / "tensorboard") as writer:
            yield writer
