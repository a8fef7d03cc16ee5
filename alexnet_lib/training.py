"""fit(): one training loop for every profile, on one processor or on many."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from . import checkpoint
from .augment import colour_noise, cut, random_crops
from .config import InputError, TrainConfig
from .evaluation import check_fits, evaluate
from .model import AlexNet
from .optim import PaperSGD, Schedule
from .processes import join_processes, pick_device, stop_requests
from .progress import bar

FIRST_STEPS = 100  # whose losses are kept one by one: how a run starts says whether it is set up right


class DivergedError(InputError):
    """The loss is no longer a number."""


@dataclass
class Result:
    """What fit() gives back: the curve (one dict an epoch), the losses of the first steps, steps taken, seconds spent,
    and the last checkpoint."""

    curve: list[dict]
    first_losses: list[float]
    step: int
    seconds: float
    checkpoint: Path | None


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

    Under torchrun each process takes its part of every batch of config.batch_size images. Everything random follows
    from config.seed and the number of the step, so that a run that was stopped and resumed takes the same steps.

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
    return Result(trainer.curve, trainer.first_losses, trainer.step, trainer.seconds, trainer.saved)


class Trainer:
    """The state of a run and the steps that change it. `fit` is the way to use it."""

    def __init__(self, model, train_set, valid_set, config, run_dir, device=None, progress=True):
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = torch.device(pick_device(device))
        self.config, self.run_dir, self.train_set, self.valid_set = config, run_dir, train_set, valid_set
        for dataset in (train_set, valid_set) if valid_set is not None else (train_set,):
            check_fits(model.config, dataset)
        if config.schedule == "plateau" and valid_set is None and config.epochs > config.patience:
            raise InputError(
                "the plateau schedule watches a validation error, and nothing is held out: set holdout or another schedule"
            )
        self.batch_size = min(config.batch_size, len(train_set))
        if self.batch_size % self.world:
            raise InputError(
                f"a batch of {self.batch_size} images does not divide among {self.world} processes: set another batch_size"
            )
        self.steps_per_epoch = len(train_set) // self.batch_size
        self.model = model.to(self.device)
        if config.channels_last:
            model.to(memory_format=torch.channels_last)
        self.network: nn.Module = torch.compile(model) if config.compile else model
        if self.world > 1:
            join_processes(self.device)
            self.network = nn.parallel.DistributedDataParallel(self.network)
        self.optimiser = PaperSGD(model, config.momentum, config.weight_decay, config.decay_biases)
        self.schedule = Schedule(config)
        self.mean_image = torch.from_numpy(train_set.mean_image).to(self.device)
        self.axes = tuple(torch.as_tensor(a, dtype=torch.float32, device=self.device) for a in train_set.colour_axes)
        self.show = progress and self.rank == 0
        self.step, self.seconds, self.curve, self.first_losses, self.saved = 0, 0.0, [], [], None
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, wrong, images of this epoch so far

    def run(self, stop: threading.Event) -> None:
        last = self.step if self.schedule.finished else self.config.epochs * self.steps_per_epoch
        started, saved_at, before = time.perf_counter(), time.perf_counter(), self.seconds
        self.model.train()
        counted = {"total": last * self.batch_size, "initial": self.step * self.batch_size, "unit": "img", "unit_scale": True}
        with self._tensorboard() as writer, bar(**counted, disable=not self.show) as shown:
            for images, labels in self._batches(last):
                self._take_step(images, labels)
                self.step += 1
                shown.update(self.batch_size)
                self.seconds = before + time.perf_counter() - started
                at_end = self.step % self.steps_per_epoch == 0
                if self.device.type != "cpu" and not at_end and self.step % 20:
                    continue  # a GPU is not waited for after every step
                evaluated = at_end and (self.step // self.steps_per_epoch % self.config.evaluate_every == 0 or self.step == last)
                stopping = self._any_process(stop.is_set())
                saving = evaluated or stopping or time.perf_counter() - saved_at > 60 * self.config.checkpoint_minutes
                self._check_finite(weights=saving)
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
        c, m = self.config, self.model.config
        epoch = self.step / self.steps_per_epoch
        rates = self.schedule.rates(epoch)
        # Crops are drawn for the whole batch, whichever part of it is ours: they do not depend on the number of processes.
        # Dropout masks and colour noise do, since each process draws its own.
        generator = torch.Generator(self.device).manual_seed(mix(c.seed, self.step))
        torch.manual_seed(mix(c.seed, self.step, self.rank + 1))  # the dropout masks
        part = slice(self.rank, None, self.world)
        shape = images.new_empty(self.batch_size, *images.shape[1:]) if self.world > 1 else images
        draws = random_crops(
            shape, m.image_size, generator, crop=c.random_crop, mirror=c.mirror, images_per_draw=c.images_per_draw
        )
        batch = cut(images, self.mean_image, m.image_size, *(d[part] for d in draws), m.pixel_std)
        if c.colour_noise != "none" and rates.colour_noise:
            noise_seed = torch.Generator(self.device).manual_seed(mix(c.seed, self.step, -1 - self.rank))
            batch = colour_noise(batch, self.axes, c.colour_noise, noise_seed, sigma=c.colour_sigma, pixel_std=m.pixel_std)
        batch = batch.contiguous(memory_format=torch.channels_last if c.channels_last else torch.contiguous_format)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=c.precision == "bfloat16"):
            logits = self.network(batch)
        loss = cross_entropy(logits.float(), labels)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.rates = rates.by_parameter(self.model)
        self.optimiser.step()
        if self.step < FIRST_STEPS:
            self.first_losses.append(loss.item())
        with torch.no_grad():
            self.tally[0] += loss.detach().double() * len(labels)
            self.tally[1] += (logits.argmax(1) != labels).sum()
            self.tally[2] += len(labels)

    def _batches(self, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from this step on, each fetched while the one before it is trained on."""

        def fetch(step: int) -> tuple[Tensor, Tensor]:
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != fetch.epoch:
                fetch.epoch, fetch.order = (
                    epoch,
                    np.random.default_rng(mix(self.config.seed, epoch)).permutation(len(self.train_set)),
                )
            chosen = fetch.order[position * self.batch_size : (position + 1) * self.batch_size][self.rank :: self.world]
            images, labels = torch.from_numpy(self.train_set.take(chosen)), torch.from_numpy(self.train_set.labels[chosen])
            if self.device.type == "cuda":
                images, labels = images.pin_memory(), labels.pin_memory()
            return images, labels

        fetch.epoch, fetch.order = -1, None
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(fetch, self.step) if self.step < last else None
            for step in range(self.step, last):
                images, labels = waiting.result()
                if step + 1 < last:
                    waiting = ahead.submit(fetch, step + 1)
                yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def _finish_epoch(self, evaluated: bool, shown, writer) -> None:
        epoch = self.step // self.steps_per_epoch
        if self.world > 1:
            torch.distributed.all_reduce(self.tally)
        loss, wrong, images = self.tally.tolist()
        self.tally.zero_()
        entry = {"epoch": epoch, "step": self.step, "lr": self.schedule.rates((self.step - 1) / self.steps_per_epoch).weights}
        entry |= {"train_loss": loss / images, "train_error": 100 * wrong / images, "seconds": round(self.seconds, 3)}
        if self.valid_set is not None and evaluated:
            found = evaluate(self.model, self.valid_set, "centre")
            errors = torch.tensor([found["loss"], found["top1_error"]], dtype=torch.float64, device=self.device)
            if self.world > 1:
                torch.distributed.broadcast(errors, 0)  # two GPUs may round apart; their schedules must not
            entry["valid_loss"], entry["valid_error"] = errors.tolist()
            self.schedule.observe(entry["valid_error"])
        self.curve.append(entry)
        shown.set_postfix_str(" ".join(f"{k} {entry[k]:.4g}" for k in ("train_loss", "train_error", "valid_error") if k in entry))
        if writer:
            for key, value in entry.items():
                writer.add_scalar(key, value, self.step)

    def _any_process(self, flag: bool) -> bool:
        """Whether the flag is up in any process: all of them must stop after the same step."""
        if self.world > 1:
            flags = torch.tensor(float(flag), device=self.device)
            torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
            flag = flags.item() > 0
        return flag

    def _check_finite(self, weights: bool) -> None:
        """Looks at the loss, and before a checkpoint at the weights too: the last good one stays good."""
        numbers = [self.tally[0], *(self.model.parameters() if weights else ())]
        if not all(torch.isfinite(n).all() for n in numbers):
            good = f"The last good checkpoint is {self.saved}" if self.saved else "There is no checkpoint from before"
            raise DivergedError(
                f"the loss is not finite at step {self.step}. {good}. Try a lower lr (it is {self.config.lr:g}), "
                "smaller initial weights or precision float32"
            )

    def save(self) -> None:
        """Writes a checkpoint of this moment (first process only)."""
        if self.rank == 0:
            tensors = {f"model.{n}": t for n, t in self.model.state_dict().items()}
            tensors |= {f"velocity.{n}": t for n, t in self.optimiser.velocity.items()} | {"tally": self.tally}
            facts = {"model": asdict(self.model.config), "train": asdict(self.config), "data": self.train_set.checksum}
            facts |= {"step": self.step, "seconds": self.seconds, "schedule": self.schedule.state(), "curve": self.curve}
            facts |= {"first_losses": self.first_losses}
            facts |= {"torch_threads": torch.get_num_threads(), "processes": self.world, "batch_size": self.batch_size}
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
        if self.world > 1:
            ends = torch.tensor([self.step, -self.step], device=self.device)
            torch.distributed.all_reduce(ends, torch.distributed.ReduceOp.MAX)
            if ends.sum() != 0:
                raise InputError(
                    f"the processes find different checkpoints in {self.run_dir}: it must be a folder that all machines share"
                )

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
        if self.rank == 0:  # the other processes' part of an epoch begun is not in the file
            self.tally.copy_(tensors["tally"])
        self.schedule.load_state(facts["schedule"])
        self.step, self.seconds, self.curve, self.saved = facts["step"], facts["seconds"], facts["curve"], path
        self.first_losses = facts["first_losses"]

    @contextmanager
    def _tensorboard(self):
        """A writer, or None where there is to be none."""
        if not (self.config.tensorboard and self.rank == 0):
            yield None
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(self.run_dir / "tensorboard") as writer:
            yield writer


def split_holdout(dataset, config: TrainConfig):
    """(training set, validation set or None): config.holdout images validate, and config.limit of the others train.

    Of a small set no more than a tenth is held out, so that a preset made for ImageNet also serves a taste of it. Both
    parts are drawn with config.holdout_seed: folders come class by class, and the first images would be of one class.
    """
    count = min(config.holdout, len(dataset) // 10)
    order = np.random.default_rng(config.holdout_seed).permutation(len(dataset))
    held, kept = np.sort(order[:count]), np.sort(order[count:][: config.limit])
    train_set = dataset if len(kept) == len(dataset) else dataset.subset(kept)
    return train_set, dataset.subset(held) if count else None


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers, the same on every machine."""
    return int(np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)[0] >> np.uint64(1))
