"""The learning rates of section 5 as the authors' recorded runs have them, from layer-params-*.cfg of the 2012 release.

Epochs are taken at face value: rates change once so many passes are done. The source counts epochs from 1, so that a
change "at 25" may have come up to one pass earlier. Rates are for lr 0.01 and scale with TrainConfig.lr. What the runs
attained is in the release's own log (chapter 12); none has been repeated on ImageNet here.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Run:
    """What was changed by hand in a run, and from which epoch on.

    Attributes:
        epochs: where it was stopped.
        rates: (from epoch, rate of all weights).
        conv1_slow: conv1's weights learn at 0.00001.
        conv1_frozen: nothing of conv1 is changed any more.
        no_noise: (from, to): colour noise is off.
        slow_biases: the rate of the biases is a tenth.
    """

    epochs: int
    rates: tuple[tuple[float, float], ...]
    conv1_slow: float = inf
    conv1_frozen: float = inf
    no_noise: tuple[tuple[float, float], ...] = ()
    slow_biases: float = inf


def by_hand(epochs: int, *drops: float, **more) -> Run:
    """Divided by ten at each of these epochs."""
    return Run(epochs, tuple((start, 0.01 * 10.0**-i) for i, start in enumerate((0.0, *drops))), **more)


def in_stages(factor: float, no_noise: float, conv1_frozen: float) -> Run:
    """Four stages of equal length from 0.01 down by `factor` in equal ratios, biases in two (lr.cu, dexp).

    Of 95 epochs, which layer-params-169.cfg names; the other files do not say.
    """
    epochs, rates = 95, tuple((95 * i / 4, 0.01 * factor ** (-i / 3)) for i in range(4))
    return Run(epochs, rates, conv1_frozen=conv1_frozen, no_noise=((no_noise, inf),), slow_biases=epochs / 2)


RUN_2012 = by_hand(91, 25, 51, 79, conv1_slow=67, conv1_frozen=72, no_noise=((67, inf),))  # layer-params-145.cfg
RAISED = (*RUN_2012.rates, (91.0, 0.001), (107.0, 0.0001), (124.0, 0.00001))  # the same run, taken up once more

RUNS = {
    "run_2012": RUN_2012,
    "run_2012_continued": Run(135, RAISED, conv1_slow=67, conv1_frozen=72, no_noise=((67, 91), (124, inf))),
    "run_2010": by_hand(93, 23, 51, 78, conv1_slow=68, conv1_frozen=72, no_noise=((68, inf),)),  # layer-params-145-2010.cfg
    # the file ends at a rate of 0.00001 and does not say since when
    "run_145_half": by_hand(96, 20, 48, conv1_slow=66, conv1_frozen=72, no_noise=((66, inf),)),
    "run_147": by_hand(90, 23, 51, 79, conv1_frozen=79),
    "run_148": by_hand(97, 22, 44, 86, conv1_slow=69, conv1_frozen=73, no_noise=((69, inf),)),
    "run_150": by_hand(92, 25, 49, 79, conv1_slow=66, conv1_frozen=72, no_noise=((66, inf),)),
    "run_165": in_stages(500, no_noise=63, conv1_frozen=78),
    "run_166": in_stages(1000, no_noise=64, conv1_frozen=73),
    "run_167": in_stages(1000, no_noise=63, conv1_frozen=73),
    "run_169": in_stages(500, no_noise=60, conv1_frozen=73),
    "run_170": in_stages(250, no_noise=68, conv1_frozen=74),
    "run_177": in_stages(250, no_noise=60, conv1_frozen=73),
}
