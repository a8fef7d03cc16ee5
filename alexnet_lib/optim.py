"""The paper's update rule (section 5) and the schedules of the learning rate. Chapter 8 takes the rule apart; results/schedules/
has runs of two schedules, results/ablations/ those without momentum."""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .model import AlexNet
from .runs_2012 import RUNS, Run


class PaperSGD:
    """v <- momentum * v - weight_decay * lr * w - lr * gradient;  w <- w + v.

    The learning rate is inside the velocity. torch.optim.SGD keeps it outside (w <- w - lr * v), so that the two agree
    while lr is constant and part when it changes: here, steps taken at the old rate run out with the momentum; there,
    they shrink at once.

    Every parameter has a rate of its own, set before each step through `rates`. A rate of 0 freezes it: no decay and
    no momentum either, as in the authors' source.

    Args:
        model: the network; all its parameters are trained.
        momentum, weight_decay: 0.9 and 0.0005 in the paper.
        decay_biases: the paper's formula decays every parameter, the source no bias.
    """

    def __init__(self, model: nn.Module, momentum: float = 0.9, weight_decay: float = 0.0005, decay_biases: bool = True):
        self.parameters = dict(model.named_parameters())
        self.momentum = momentum
        self.decay = {name: weight_decay if decay_biases or not name.endswith("bias") else 0.0 for name in self.parameters}
        self.velocity = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self.rates = dict.fromkeys(self.parameters, 0.0)

    def zero_grad(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def descend(self, loss: Tensor, rates: dict[str, float]) -> None:
        """A whole step down a loss of one number: its gradients, then the update at these rates; see Rates.by_parameter."""
        self.zero_grad()
        loss.backward()
        self.rates = rates
        self.step()

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient and a rate above 0."""
        groups: dict[tuple[float, float], list[tuple[Tensor, Tensor, Tensor]]] = {}
        for name, w in self.parameters.items():
            if w.grad is not None and self.rates[name] > 0:
                groups.setdefault((self.rates[name], self.decay[name]), []).append((w, w.grad, self.velocity[name]))
        for (lr, decay), parts in groups.items():
            weights, gradients, velocities = map(list, zip(*parts, strict=True))
            torch._foreach_mul_(velocities, self.momentum)
            if decay:
                torch._foreach_add_(velocities, weights, alpha=-decay * lr)
            torch._foreach_add_(velocities, gradients, alpha=-lr)
            torch._foreach_add_(weights, velocities)


@dataclass(frozen=True)
class Rates:
    """What a schedule says for one step: rates of weights and biases, by default and for single layers."""

    weights: float
    biases: float | None = None  # None: as the weights
    layers: dict[str, tuple[float, float]] = field(default_factory=dict)  # layer -> (weights, biases)
    colour_noise: bool = True

    def by_parameter(self, model: AlexNet) -> dict[str, float]:
        """The rate of each named parameter of an AlexNet."""
        rates, default = {}, (self.weights, self.weights if self.biases is None else self.biases)
        for layer, path in model.paths.items():
            rates[f"{path}.weight"], rates[f"{path}.bias"] = self.layers.get(layer, default)
        return rates


class Schedule:
    """The learning rate over a run: `rates(progress)` before every step, `observe(error)` after every validation.

    "constant": config.lr. "plateau": divided by 10 when the validation error has not improved for config.patience
    validations, config.drops times in all (the paper did this by hand). "run_2012" and the other names of
    runs_2012.RUNS: the epochs of the authors' recorded runs, in proportion to config.lr. "one_cycle": linear up to
    config.lr for a share config.warmup of the run, linear down to 0.

    With config.lr_batch every rate grows in proportion to the batch, as Goyal and others (2017) propose: config.lr is
    meant for lr_batch images, and batch_size of them have batch_size / lr_batch times that rate. It is not there from
    the first step on but climbs, in a straight line from the rate without the rule, for lr_warmup epochs.
    """

    def __init__(self, config: TrainConfig):
        self.config = config
        self.dropped = 0
        self.best = math.inf
        self.since_best = 0

    def rates(self, epoch: float) -> Rates:
        """The rates at a time in epochs, with fractions."""
        rates, factor = self._of_schedule(epoch), self._linear_rule(epoch)
        if factor == 1:
            return rates
        biases = None if rates.biases is None else factor * rates.biases
        layers = {name: (factor * weights, factor * bias) for name, (weights, bias) in rates.layers.items()}
        return replace(rates, weights=factor * rates.weights, biases=biases, layers=layers)

    def _linear_rule(self, epoch: float) -> float:
        c = self.config
        if c.lr_batch is None:
            return 1.0
        climbed = min(1.0, epoch / c.lr_warmup) if c.lr_warmup else 1.0
        return 1 + (c.batch_size / c.lr_batch - 1) * climbed

    def _of_schedule(self, epoch: float) -> Rates:
        c = self.config
        if c.schedule in RUNS:
            return self._recorded(RUNS[c.schedule], epoch)
        if c.schedule == "one_cycle":
            done = epoch / c.epochs
            rate = c.lr * max(0.0, min(done / c.warmup if c.warmup else 1.0, (1 - done) / (1 - c.warmup)))
        else:
            rate = c.lr / 10**self.dropped
        return self._with_biases(rate)

    def _with_biases(self, rate: float, slower: float = 1.0) -> Rates:
        bias, bias12 = (r and r * slower for r in (self.config.bias_lr, self.config.bias_lr_conv12))
        return Rates(rate, bias, {} if bias12 is None else {name: (rate, bias12) for name in ("conv1", "conv2")})

    def _recorded(self, run: Run, epoch: float) -> Rates:
        scale = self.config.lr / 0.01
        rate = scale * next(r for start, r in reversed(run.rates) if epoch >= start)
        rates = self._with_biases(rate, 0.1 if epoch >= run.slow_biases else 1.0)
        if epoch >= run.conv1_slow:
            slow = scale * 0.00001
            bias = next(r for r in (rates.layers.get("conv1", (0, None))[1], rates.biases, slow) if r is not None)
            rates.layers["conv1"] = (slow, bias)
        if epoch >= run.conv1_frozen:
            rates.layers["conv1"] = (0.0, 0.0)
        return replace(rates, colour_noise=not any(start <= epoch < stop for start, stop in run.no_noise))

    def observe(self, error: float) -> bool:
        """Takes note of a validation error in percent; True where the rate falls because of it."""
        if error < self.best:
            self.best, self.since_best = error, 0
            return False
        self.since_best += 1
        if self.config.schedule != "plateau" or self.since_best < self.config.patience or self.dropped >= self.config.drops:
            return False
        self.dropped, self.since_best = self.dropped + 1, 0
        return True

    @property
    def finished(self) -> bool:
        """Whether a plateau schedule has used up its drops and stands still again."""
        c = self.config
        return c.schedule == "plateau" and self.dropped >= c.drops and self.since_best >= c.patience

    def state(self) -> dict:
        """What JSON can hold: no best error yet is None."""
        best = self.best if math.isfinite(self.best) else None
        return {"dropped": self.dropped, "best": best, "since_best": self.since_best}

    def load_state(self, state: dict) -> None:
        best = math.inf if state["best"] is None else float(state["best"])
        self.dropped, self.best, self.since_best = int(state["dropped"]), best, int(state["since_best"])
