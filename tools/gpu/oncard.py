"""A training run that leaves the card alone: all images are on it, and a step is one CUDA graph that nothing waits for.

The recipe and the draws are those of alexnet_lib.training: the same Batches, the same masks. A small network's step is some
two hundred kernels of a few microseconds, and starting them one by one takes longer than they do. The learning rate is a
tensor here, since a graph keeps every number that was written into it; sums are rounded otherwise, nothing else differs.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from alexnet_lib import training
from alexnet_lib.batches import Batches, mix
from alexnet_lib.training import FIRST_STEPS, Trainer

WARMUP = 3  # steps before a graph is taken, as torch wants; what they change is put back


def use() -> None:
    """From here on `fit` trains in this way, in this process, and float32 is float32: a card would round to TF32."""
    training.Trainer = CardTrainer
    torch.backends.cudnn.allow_tf32 = False


class CardBatches(Batches):
    """Batches of a data set that lies on the device whole."""

    def __init__(self, *args):
        super().__init__(*args)
        self.images = torch.from_numpy(self.dataset.take(range(len(self.dataset)))).to(self.device)
        self.labels = torch.from_numpy(self.dataset.labels).to(self.device)

    def ahead(self, first: int, last: int):
        for step in range(first, last):
            chosen = torch.from_numpy(self.chosen(step)).to(self.device, non_blocking=True)
            yield self.images[chosen], self.labels[chosen]


class CardTrainer(Trainer):
    """A Trainer on one device whose steps are replayed from a graph; on a processor the same without one."""

    def __init__(self, model, train_set, valid_set, config, *rest):
        super().__init__(model, train_set, valid_set, config, *rest)
        self.batches = CardBatches(train_set, model.config, self.config, self.device)
        self.graph, self.grouping, self.groups = None, None, []
        self.found = torch.zeros_like(self.tally)

    def _take_step(self, images: Tensor, labels: Tensor) -> None:
        rates = self.schedule.rates((self.step + 0.5) / self.steps_per_epoch)
        batch = self.batches.augment(images, self.step, noise=rates.colour_noise)
        self._set_rates(rates.by_parameter(self.model))
        if self.graph is None:
            self._prepare(batch, labels)
        self.last_batch.copy_(batch)
        self.y.copy_(labels)
        torch.manual_seed(mix(self.config.seed, self.step, 1))  # the dropout masks, in a replay too
        self.graph.replay() if self.device.type == "cuda" else self._step()
        if self.step < FIRST_STEPS:
            self.first_losses.append(self.found[0].item() / self.batches.size)

    def _set_rates(self, rates: dict[str, float]) -> None:
        """Parameters of the same rate and decay are moved together; another grouping needs another graph."""
        decay = self.optimiser.decay
        members: dict[tuple[float, float], list[str]] = {}
        for name, rate in rates.items():
            if rate > 0:
                members.setdefault((rate, decay[name]), []).append(name)
        if (grouping := sorted(members.values())) != self.grouping:
            self.grouping, self.graph = grouping, None
            self.groups = [(names, decay[names[0]], torch.zeros((), device=self.device)) for names in grouping]
        for names, _, rate in self.groups:
            rate.fill_(rates[names[0]])

    def _prepare(self, batch: Tensor, labels: Tensor) -> None:
        self.last_batch, self.y = batch.clone(), labels.clone()
        if self.device.type != "cuda":
            self.graph = self._step
            return
        state = [*self.optimiser.parameters.values(), *self.optimiser.velocity.values(), self.tally, self.found]
        with torch.no_grad():
            before = [x.clone() for x in state]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARMUP):
                self._step()
        torch.cuda.current_stream().wait_stream(aside)
        self.optimiser.zero_grad()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self._step()
        with torch.no_grad():
            for x, old in zip(state, before, strict=True):
                x.copy_(old)

    def _step(self) -> None:
        """Forward, backward, update and counts, on the tensors that are always the same."""
        self.optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16", cache_enabled=False):
            logits = self.network(self.last_batch)
        loss = cross_entropy(logits.float(), self.y)
        loss.backward()
        self._update()
        with torch.no_grad():
            wrong = (logits.argmax(1) != self.y).sum()
            self.found.copy_(torch.stack([loss.double() * len(self.y), wrong, torch.full_like(wrong, len(self.y))]))
            self.tally += self.found

    @torch.no_grad()
    def _update(self) -> None:
        """PaperSGD's rule with the rate as a tensor: v <- momentum v - rate (decay w + gradient); w <- w + v."""
        parameters, velocity = self.optimiser.parameters, self.optimiser.velocity
        for names, decay, rate in self.groups:
            weights, velocities = [parameters[n] for n in names], [velocity[n] for n in names]
            moves = torch._foreach_add([w.grad for w in weights], weights, alpha=decay)
            torch._foreach_mul_(moves, rate)
            torch._foreach_mul_(velocities, self.optimiser.momentum)
            torch._foreach_sub_(velocities, moves)
            torch._foreach_add_(weights, velocities)
