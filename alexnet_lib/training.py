"""fit(): one training loop for every profile, on one processor or on many."""

import os
import signal
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
from .evaluation import evaluate
from .model import AlexNet
from .optim import PaperSGD, Schedule
from .progress import bar


class DivergedError(InputError):
    """The loss is no longer a number."""


@dataclass
class Result:
    """What fit() gives back: the curve (one dict an epoch), steps taken, seconds spent, and the last checkpoint."""

    curve: list[dict]
    step: int
    seconds: float
    checkpoint: Path | None


def fit(model: AlexNet, train_set, valid_set, config: TrainConfig, run_dir: Path | str, *, device: str | None = None, progress: bool = True) -> Result:
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
        InputError: run_dir holds a run with another configuration or data set, or the images do not fit the network.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the step is finished and its checkpoint is written.
    """
    trainer = Trainer(model, train_set, valid_set, config, Path(run_dir), device, progress)
    trainer.resume()
    with stop_requests() as stop:
        trainer.run(stop)
    return Result(trainer.curve, trainer.step, trainer.seconds, trainer.saved)


class Trainer:
    """The state of a run and the steps that change it. `fit` is the way to use it."""

    def __init__(self, model, train_set, valid_set, config, run_dir, device=None, progress=True):
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        self.device = torch.device(device or pick_device())
        self.config, self.run_dir, self.train_set, self.valid_set = config, run_dir, train_set, valid_set
        if train_set.size < model.config.image_size:
            raise InputError(f"the network wants crops of {model.config.image_size} pixels, the images of {train_set.name} have {train_set.size}")
        if len(train_set.classes) > model.config.classes:
            raise InputError(f"{train_set.name} has {len(train_set.classes)} classes, the network {model.config.classes}: set classes")
        self.batch_size = min(config.batch_size, len(train_set))
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
        self.step, self.seconds, self.curve, self.saved = 0, 0.0, [], None
        self.tally = torch.zeros(3, dtype=torch.float64, device=self.device)  # loss, wrong, images of this epoch so far

    def run(self, stop: threading.Event) -> None:
        last = self.config.epochs * self.steps_per_epoch
        started, saved_at, before = time.perf_counter(), time.perf_counter(), self.seconds
        writer = self._tensorboard()
        self.model.train()
        with bar(total=last * self.batch_size, initial=self.step * self.batch_size, unit="img", unit_scale=True, disable=not self.show) as shown:
            for images, labels in self._batches(last):
                self._take_step(images, labels)
                self.step += 1
                shown.update(self.batch_size)
                at_end = self.step % self.steps_per_epoch == 0
                due = time.perf_counter() - saved_at > 60 * self.config.checkpoint_minutes
                if self.device.type == "cpu" or at_end or due or self.step % 20 == 0:
                    self._check_finite()
                self.seconds = before + time.perf_counter() - started
                if at_end:
                    self._finish_epoch(shown, writer)
                if at_end or due or stop.is_set():
                    self.save()
                    saved_at = time.perf_counter()
                if stop.is_set():
                    raise KeyboardInterrupt
                if at_end and self.schedule.finished:
                    break
            shown.finish(f"trained for {self.step // self.steps_per_epoch} epochs, {self.step} steps")

    def _take_step(self, images: Tensor, labels: Tensor) -> None:
        c, m = self.config, self.model.config
        epoch = self.step / self.steps_per_epoch
        rates = self.schedule.rates(epoch)
        # The draws are for the whole batch, whichever part of it is ours: the number of processes changes nothing.
        generator = torch.Generator(self.device).manual_seed(mix(c.seed, self.step))
        torch.manual_seed(mix(c.seed, self.step, self.rank + 1))  # the dropout masks
        part = slice(self.rank, None, self.world)
        shape = images.new_empty(self.batch_size, *images.shape[1:]) if self.world > 1 else images
        draws = random_crops(shape, m.image_size, generator, crop=c.random_crop, mirror=c.mirror, images_per_draw=c.images_per_draw)
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
        with torch.no_grad():
            self.tally[0] += loss.detach().double() * len(labels)
            self.tally[1] += (logits.argmax(1) != labels).sum()
            self.tally[2] += len(labels)

    def _batches(self, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from this step on, each fetched while the one before it is trained on."""

        def fetch(step: int) -> tuple[Tensor, Tensor]:
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != fetch.epoch:
                fetch.epoch, fetch.order = epoch, np.random.default_rng(mix(self.config.seed, epoch)).permutation(len(self.train_set))
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

    def _finish_epoch(self, shown, writer) -> None:
        epoch = self.step // self.steps_per_epoch
        if self.world > 1:
            torch.distributed.all_reduce(self.tally)
        loss, wrong, images = self.tally.tolist()
        self.tally.zero_()
        entry = {"epoch": epoch, "step": self.step, "lr": self.optimiser.rates[next(iter(self.optimiser.rates))]}
        entry |= {"train_loss": loss / images, "train_error": 100 * wrong / images, "seconds": round(self.seconds, 3)}
        if self.valid_set is not None and (epoch % self.config.evaluate_every == 0 or epoch == self.config.epochs):
            found = evaluate(self.model, self.valid_set, "centre")
            entry |= {"valid_loss": found["loss"], "valid_error": found["top1_error"]}
            self.schedule.observe(found["top1_error"])
        self.curve.append(entry)
        shown.set_postfix_str(" ".join(f"{k} {entry[k]:.4g}" for k in ("train_loss", "train_error", "valid_error") if k in entry))
        if writer:
            for key, value in entry.items():
                writer.add_scalar(key, value, self.step)

    def _check_finite(self) -> None:
        if not torch.isfinite(self.tally[0]):
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
            facts |= {"torch_threads": torch.get_num_threads(), "processes": self.world, "batch_size": self.batch_size}
            self.saved = checkpoint.save_step(self.run_dir, self.step, tensors, facts, self.config.keep_checkpoints)

    def resume(self) -> None:
        """Takes up the newest sound checkpoint in the run's folder, if there is one."""
        found = checkpoint.newest(self.run_dir)
        if found is None:
            return
        path, tensors, facts = found
        asked, saved = self.config, TrainConfig.from_dict(facts["train"])
        free = ("precision", "channels_last", "compile", "tensorboard", "checkpoint_minutes", "keep_checkpoints", "data")
        checkpoint.check_same("model", path, type(self.model.config).from_dict(facts["model"]), self.model.config)
        checkpoint.check_same("training", path, saved, replace(asked, **{f: getattr(saved, f) for f in free}))
        if facts["data"] != self.train_set.checksum:
            raise InputError(f"{path.parent} holds a run on other data. Name another run folder, or remove that one")
        self.model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
        for name, velocity in self.optimiser.velocity.items():
            velocity.copy_(tensors[f"velocity.{name}"])
        self.tally.copy_(tensors["tally"])
        self.schedule.load_state(facts["schedule"])
        self.step, self.seconds, self.curve, self.saved = facts["step"], facts["seconds"], facts["curve"], path

    def _tensorboard(self):
        if not (self.config.tensorboard and self.rank == 0):
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.run_dir / "tensorboard")


def split_holdout(dataset, config: TrainConfig):
    """(training set, validation set or None): config.holdout images drawn with config.holdout_seed validate.

    config.limit then keeps the first so many of the training images. Raises InputError where too few are left.
    """
    if config.holdout >= len(dataset):
        raise InputError(f"holdout = {config.holdout} leaves none of the {len(dataset)} images of {dataset.name} to train on")
    if not config.holdout:
        return dataset if config.limit is None else dataset.subset(range(min(config.limit, len(dataset)))), None
    order = np.random.default_rng(config.holdout_seed).permutation(len(dataset))
    held, kept = np.sort(order[: config.holdout]), np.sort(order[config.holdout :])[: config.limit]
    return dataset.subset(kept), dataset.subset(held)


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C or SIGTERM into a request to stop after the step; the second stops at once."""
    stop, before = threading.Event(), {}

    def ask(number, frame):
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers, the same on every machine."""
    return int(np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def pick_device() -> str:
    """The GPU of this process, or the CPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def join_processes(device: torch.device) -> None:
    """Joins the processes that torchrun started, once."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
