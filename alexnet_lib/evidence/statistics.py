"""The statistics behind the verdicts. scipy and statsmodels compute; this file says what is asked of them."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL, POWER = 0.95, 0.9
MOST = 10_000  # seeds: whoever would need more gets this number


@dataclass(frozen=True)
class Estimate:
    """An effect: its mean, its 95 % interval, and p, the two-sided probability of one as large by chance alone."""

    mean: float
    low: float
    high: float
    p: float


def within(values: Sequence[float] | np.ndarray) -> Estimate:
    """Student's interval of the mean of effects that are measured inside a run each, against 0. Two values or more."""
    from scipy.stats import ttest_1samp

    values = _at_least_two(values)
    return _estimate(values.mean(), np.ptp(values), lambda: ttest_1samp(values, 0))


def between(arm: Sequence[float] | np.ndarray, control: Sequence[float] | np.ndarray) -> Estimate:
    """Welch's interval of the difference of two means. Two values or more on each side.

    Runs of two arms with one seed share the order of the images and their crops, and hardly more: the networks differ,
    so their initial weights do, and a step later everything does. So they count as independent.
    """
    from scipy.stats import ttest_ind

    arm, control = _at_least_two(arm), _at_least_two(control)
    return _estimate(arm.mean() - control.mean(), np.ptp(arm) + np.ptp(control), lambda: ttest_ind(arm, control, equal_var=False))


def _at_least_two(values: Sequence[float] | np.ndarray) -> np.ndarray:
    if len(values) < 2:
        raise ValueError("an interval needs two values or more")
    return np.asarray(values, dtype=float)


def _estimate(mean: float, spread: float, test) -> Estimate:
    mean = float(mean)
    if spread == 0:  # a test divides by it
        return Estimate(mean, mean, mean, 0.0 if mean else 1.0)
    tested = test()
    low, high = tested.confidence_interval(LEVEL)
    return Estimate(mean, float(low), float(high), float(tested.pvalue))


def seeds_for(deviation: float, effect: float, arms: int = 2) -> int:
    """Seeds an arm with which a true effect of this size is found in nine cases of ten.

    Args:
        deviation: standard deviation of a run's figure over seeds.
        effect: in the same unit.
        arms: 2 where two groups of runs are compared, 1 where the effect is measured inside each run.
    """
    from statsmodels.stats.power import TTestIndPower, TTestPower

    if deviation == 0:
        return 2
    power, size = TTestIndPower() if arms == 2 else TTestPower(), min(abs(effect) / deviation, 20.0)
    return 2 + bisect_left(range(2, MOST), POWER, key=lambda seeds: power.power(size, seeds, 1 - LEVEL))


def share(successes: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(successes, of, 1 - LEVEL, method="beta")
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[bool]:
    """Which of several effects hold, by Holm's method, where the chance that any of them is an accident is to stay 5 %."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(p_values, 1 - LEVEL, method="holm")[0].tolist() if len(p_values) else []


def mcnemar(wrong: np.ndarray, other_wrong: np.ndarray) -> float:
    """p of McNemar's exact test: whether two networks differ on the images that just one of them gets wrong.

    Args:
        wrong, other_wrong: bool (N,), the same images in the same order.
    """
    from statsmodels.stats.contingency_tables import mcnemar as test

    table = [
        [np.sum(~wrong & ~other_wrong), np.sum(~wrong & other_wrong)],
        [np.sum(wrong & ~other_wrong), np.sum(wrong & other_wrong)],
    ]
    return float(test(table, exact=True).pvalue)


def with_images(estimate: Estimate, arm: np.ndarray, control: np.ndarray) -> tuple[float, float]:
    """The interval of a difference in error, in points, for other seeds and other test images of the same kind.

    The variance over images is added to that over seeds. It holds part of the latter already, which makes the interval
    rather too wide than too narrow.

    Args:
        estimate: of the difference, over seeds.
        arm, control: bool (runs, N), whether a run got an image wrong.
    """
    from scipy.stats import norm

    by_image = 100 * (arm.mean(0) - control.mean(0))
    z = norm.ppf(0.5 + LEVEL / 2)
    half = math.hypot((estimate.high - estimate.low) / 2, z * by_image.std(ddof=1) / math.sqrt(len(by_image)))
    return estimate.mean - half, estimate.mean + half


def towers_differ(values: Sequence[Sequence[float]], resamples: int = 9999) -> float:
    """p of a permutation test: whether two towers' kernels differ in mean more than kernels dealt out at random would.

    Args:
        values: one number a kernel, tower by tower.
    """
    from scipy.stats import permutation_test

    def gap(first, second, axis=-1):
        return np.abs(np.mean(first, axis=axis) - np.mean(second, axis=axis))

    first, second = (np.asarray(v, dtype=float) for v in values)
    test = permutation_test(
        (first, second), gap, n_resamples=resamples, alternative="greater", vectorized=True, rng=np.random.default_rng(0)
    )
    return float(test.pvalue)
