"""fit(): the training loop (section 5), one for every profile, on one processor or on many.

The loop is `Trainer.run`, a step of it `Trainer._take_step`; the update rule and the schedules are in optim.py. What it
attains: the small network reaches 12.4 % test error on CIFAR-10 (ten views) after 60 epochs of the profile laptop; the
record is in results/small_cifar10/.
"""

import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy

from . import checkpoint
from .batches import Batches, mix
from .config import InputError, TrainConfig
from .evaluation import DivergedError, check_fits, evaluate, testing
from .layers import Dropout
from .model import AlexNet
from .optim import PaperSGD, Schedule
from .system.files import sole_use
from .system.memory import enough_memory, fitting
from .system.precision import settled
from .system.processes import join_processes, pick_device, rank_and_world
from .system.progress import bar, tensorboard
from .system.stopping import Stop, stop_requests
from .system.strict import check_compiler, path_of

FIRST_STEPS = 100  # whose losses are kept one by one: how a run starts says whether it is set up right


@dataclass
class Result:
    """What fit() gives back: the curve (one dict an epoch), the losses of the first steps, steps taken, seconds spent, and
    the processes that trained (the most there were at any time)."""

    curve: list[dict]
    first_losses: list[float]
    step: int
    seconds: float
    processes: int


def fit(
    model: AlexNet, train_set, valid_set, config: TrainConfig, run_dir: Path | str, *, device: str | None = None,
    progress: bool = True,
) -> Result:  # fmt: skip
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
        DivergedError: loss, weights or outputs are not finite; the checkpoints from before remain.
        InputError: run_dir holds a run with another configuration or data set, or is in use, or its checkpoints cannot be
            read; the images do not fit the network, or the memory; a plateau schedule has no validation error to watch.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or a closed terminal, once the step is finished and its checkpoint written.
    """
    return Trainer(model, train_set, valid_set, config, path_of(run_dir), device, progress).train()


class Trainer:
    """The state of a run and the steps that change it. `fit` is the way to use it."""

    def __init__(self, model, train_set, valid_set, config, run_dir, device=None, progress=True, share=None):
        self.rank, self.world = map(int, share or rank_and_world())  # (rank, world): of the processes that share each batch
        self.processes = self.world
        self.device = torch.device(pick_device(device))
        if config.compile:
            check_compiler()
        self.run_dir, self.train_set, self.valid_set = run_dir, train_set, valid_set
        self.config = config = replace(config, precision=settled(config.precision, self.device))
        for dataset in (train_set, valid_set) if valid_set is not None else (train_set,):
            check_fits(model.config, dataset)
        if config.schedule == "plateau" and valid_set is None and config.epochs > config.patience:
            raise InputError("the plateau schedule watches images held out, at most a tenth: set holdout or another schedule")
        self.batches = Batches(train_set, model.config, config, self.device, self.rank, self.world)
        self.steps_per_epoch = self.batches.per_epoch
        self.model = model.to(self.device)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        self.network: nn.Module = model
        if self.world > 1:
            if model.config.norm.kind == "batch":
                raise InputError("batch normalisation sees one process's images: train with one, or set model.norm.kind")
            join_processes(self.device)
            for layer in model.modules():
                if isinstance(layer, Dropout):
                    layer.batch, layer.part = self.batches.size, self.batches.part
            self.network = nn.parallel.DistributedDataParallel(model)
        if config.compile:  # around the other: the compiler then leaves room to send gradients while others are computed
            self.network = torch.compile(self.network)  # type: ignore[assignment]  # it stays a module
        self.optimiser = PaperSGD(model, config.momentum, config.weight_decay, config.decay_biases)
        self.schedule = Schedule(replace(config, batch_size=self.batches.size))
        self.show = progress and self.rank == 0
        self.step, self.seconds, self.curve, self.first_losses, self.saved = 0, 0.0, [], [], None
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, wrong, images of this epoch so far
        self.last_batch: Tensor | None = None  # augmented, as the network saw it: (n, 3, S, S)

    def train(self) -> Result:
        """The whole of a run, from its newest checkpoint on, in a folder that no other run uses meanwhile."""
        with sole_use(self.run_dir) if self.rank == 0 else nullcontext(True) as unused_folder, enough_memory(self._smaller_batch):
            if self._in_any_process(not unused_folder)[0]:
                raise InputError(f"another run is using {self.run_dir}: wait until it ends, or name another run folder")
            self.resume()
            with stop_requests() as stop:
                self.run(stop)
        return Result(self.curve, self.first_losses, self.step, self.seconds, self.processes)

    def run(self, stop: Stop) -> None:
        """The training loop: a step, and then whatever is due before the next one."""
        size, last = self.batches.size, self.config.epochs * self.steps_per_epoch
        started, before = time.perf_counter(), self.seconds
        counted = {"total": last * size, "initial": self.step * size, "unit": "img", "unit_scale": True}
        self.model.train()
        self.saved_at = started
        log = self.run_dir / "tensorboard" if self.config.tensorboard and self.rank == 0 else None
        with tensorboard(log) as writer, bar(**counted, disable=not self.show) as shown:
            if self.step == (len(self.curve) + 1) * self.steps_per_epoch:  # stopped before it was evaluated
                self._finish_epoch(stop, shown, writer)
            for images, labels in self.batches.ahead(self.step, self.step if self.schedule.finished else last):
                self._take_step(images, labels)
                self.step += 1
                self.seconds = before + time.perf_counter() - started
                shown.update(size)
                at_end = self.step % self.steps_per_epoch == 0
                if self.device.type != "cpu" and not at_end and self.step % 20:
                    continue  # a GPU is not waited for after every step
                due = time.perf_counter() - self.saved_at > 60 * self.config.checkpoint_minutes
                stopping, due, broken = self._in_any_process(stop.is_set(), due, not self.tally[0].isfinite())
                if broken:
                    raise self._diverged("loss is")
                if stopping:
                    break
                if at_end:
                    self._finish_epoch(stop, shown, writer)
                elif due:
                    self.save()
                if self.schedule.finished:
                    break
            if self._in_any_process(stop.is_set())[0]:
                self.save()
                raise KeyboardInterrupt
            shown.finish(f"trained for {self.step // self.steps_per_epoch} epochs, {self.step} steps")

    def _take_step(self, images: Tensor, labels: Tensor) -> None:
        """One step of gradient descent on images (n, H, W, 3) and labels (n,), this process's part of the batch."""
        c, size = self.config, self.batches.size
        rates = self.schedule.rates((self.step + 0.5) / self.steps_per_epoch)  # in the middle of the step
        torch.manual_seed(mix(c.seed, self.step, 1))  # the dropout masks
        self.last_batch = self.batches.augment(images, self.step, noise=rates.colour_noise)  # (n, 3, S, S)
        with self._numbers():
            logits = self.network(self.last_batch)  # (n, classes)
        loss = cross_entropy(logits.float(), labels)
        # Gradients are averaged over the processes, and where a batch does not divide, some have an image more.
        self.optimiser.descend(loss * (len(labels) * self.world / size), rates.by_parameter(self.model))
        with torch.no_grad():
            wrong = (logits.argmax(1) != labels).sum()
            counts = torch.stack([loss.double() * len(labels), wrong, torch.full_like(wrong, len(labels))])
            self.tally += counts
        if self.step < FIRST_STEPS:
            self.first_losses.append(self._sum(counts)[0].item() / size)

    def _numbers(self) -> torch.autocast:
        """Mixed precision where the configuration asks for it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _finish_epoch(self, stop: Stop, shown: bar, writer) -> None:
        """Adds the epoch to the curve, with the validation error where it is due, and then writes a checkpoint."""
        c, epoch = self.config, self.step // self.steps_per_epoch
        loss, wrong, images = self._sum(self.tally).tolist()
        entry = {"epoch": epoch, "step": self.step, "lr": self.schedule.rates((self.step - 0.5) / self.steps_per_epoch).weights}
        entry |= {"train_loss": loss / images, "train_error": 100 * wrong / images, "seconds": round(self.seconds, 3)}
        evaluated = epoch % c.evaluate_every == 0 or epoch == c.epochs
        if self.valid_set is not None and evaluated:
            rates = self._validate(stop)
            entry["valid_loss"], entry["valid_error"] = rates["loss"], rates["top1_error"]
            self.schedule.observe(entry["valid_error"])
        self.curve.append(entry)
        self.tally.zero_()
        if evaluated:
            self.save()
        shown.set_postfix_str(" ".join(f"{k} {entry[k]:.4g}" for k in ("train_loss", "train_error", "valid_error") if k in entry))
        if writer:
            for key, value in entry.items():
                writer.add_scalar(key, value, self.step)

    def _validate(self, stop: Stop) -> dict[str, float]:
        """Error rates on the validation set. A process that trains alone can stop in the middle: resumed, it begins here."""
        try:
            with stop.right_there(not distributed.is_initialized()):
                return evaluate(self.model, self.valid_set, "centre", shared=self.world > 1)
        except KeyboardInterrupt:
            self.save()
            raise
        except DivergedError:
            raise self._diverged("outputs are") from None

    def _sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes, as a new tensor; each of them must ask for it."""
        numbers = numbers.clone()
        if self.world > 1:
            distributed.all_reduce(numbers)
        return numbers

    def _in_any_process(self, *flags: bool) -> list[bool]:
        """Which flags are up in any process: all of them must do the same after the same step."""
        return [count > 0 for count in self._sum(torch.tensor(flags, dtype=torch.float32, device=self.device)).tolist()]

    def _smaller_batch(self) -> str:
        """What to do where memory has run out: how large a batch can be, tried out."""
        self.last_batch, side = None, self.model.config.image_size
        self.optimiser.zero_grad()

        def step(size: int) -> None:
            with self._numbers():
                self.model(torch.zeros(-(-size // self.world), 3, side, side, device=self.device)).sum().backward()

        fits, now = fitting(step, self.batches.size), f"a batch is {self.batches.size} images now"
        return f"set train.batch_size={fits}, which fits ({now})" if fits else f"take a smaller network or another device ({now})"

    def _diverged(self, what: str) -> DivergedError:
        """What to say; no checkpoint was written since, so that the last good one stays good."""
        good = f"The last good checkpoint is {self.saved}" if self.saved else "There is no checkpoint from before"
        return DivergedError(
            f"the {what} not finite at step {self.step}. {good}. Try a lower lr (it is {self.config.lr:g}), "
            "smaller initial weights or precision float32"
        )

    def tensors(self) -> dict[str, Tensor]:
        """Weights and velocities of the network, under the names that they have in a checkpoint."""
        parts = {"model": self.model.state_dict(), "velocity": self.optimiser.velocity}
        return {f"{part}.{name}": x for part, state in parts.items() for name, x in state.items()}

    def save(self) -> None:
        """Writes a checkpoint of this moment; every process must call it, and the first one writes.

        Raises DivergedError where the weights, or what the network makes of the last batch, are not finite.
        """
        weights = all(p.isfinite().all() for p in self.model.parameters())
        with torch.no_grad(), testing([self.model]):  # the last step has no next one whose loss would tell that it went too far
            outputs = self.last_batch is None or bool(self.model(self.last_batch).isfinite().all())
        for broken, what in zip(self._in_any_process(not weights, not outputs), ("weights are", "outputs are"), strict=True):
            if broken:
                raise self._diverged(what)
        tensors = self.tensors() | {"tally": self._sum(self.tally)}
        if self.rank == 0:
            facts = {"model": asdict(self.model.config), "train": asdict(self.config), "data": self.train_set.checksum}
            facts |= {"classes": list(self.train_set.classes), "step": self.step, "seconds": self.seconds}
            facts |= {"schedule": self.schedule.state(), "curve": self.curve, "first_losses": self.first_losses}
            facts |= {"processes": self.processes}
            self.saved = checkpoint.save_step(self.run_dir, self.step, tensors, facts, self.config.keep_checkpoints)
        self.saved_at = time.perf_counter()

    def resume(self) -> None:
        """Takes up the newest sound checkpoint in the run's folder, if there is one."""
        if newest := checkpoint.newest(self.run_dir):
            self._load(*newest)
        if self._sum(torch.tensor(float(self.step), device=self.device)) != self.step * self.world:
            raise InputError(f"the processes find different checkpoints in {self.run_dir}: let all machines share the folder")

    def _load(self, path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
        with checkpoint.understood(path):
            model, train = type(self.model.config).from_dict(facts["model"]), TrainConfig.from_dict(facts["train"])
        may_differ = ("precision", "channels_last", "compile", "tensorboard", "checkpoint_minutes", "keep_checkpoints", "data")
        checkpoint.check_same("model", path, model, self.model.config)
        checkpoint.check_same("training", path, train, replace(self.config, **{f: getattr(train, f) for f in may_differ}))
        checkpoint.check_classes(path, facts, self.train_set)
        if facts.get("data") != self.train_set.checksum:
            raise InputError(f"{path.parent} holds a run on other data. Name another run folder, or remove that one")
        with checkpoint.understood(path):
            mine = Trainer.tensors(self) | {"tally": self.tally}
            checkpoint.check_tensors(tensors, mine)
            self.schedule.load_state(facts["schedule"])
            self.step, self.seconds, self.curve = facts["step"], facts["seconds"], facts["curve"]
            self.first_losses, self.processes = facts["first_losses"], max(self.world, facts["processes"])
            past = self.step - len(self.curve) * self.steps_per_epoch  # an epoch, where it was stopped before the evaluation
            if not (0 <= past <= self.steps_per_epoch and all("train_loss" in entry for entry in self.curve)):
                raise InputError(f"its step, {self.step}, and its curve of {len(self.curve)} epochs do not fit together")
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])
        if self.rank:  # the sum over the processes that there were is the first one's
            self.tally.zero_()
        self.saved = path
