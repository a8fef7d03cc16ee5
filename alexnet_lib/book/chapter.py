"""What every chapter begins and ends with: parameters checked, claims beside what was measured, a verdict."""

import inspect
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import replace

from ..batches import split_holdout
from ..config import InputError, ModelConfig, TrainConfig
from ..data.dataset import PackedDataset, open_dataset
from ..evidence import claims, experiment, verdicts
from ..evidence.plans import plan_of
from ..model import AlexNet
from ..system.memory import keep_pages
from ..training import Result, fit
from . import cards, figures
from .parameters import check

DATA = {"quick": "photos10", "laptop": "cifar10"}
KNOWN = {"profile": str, "seed": int, "rerun": bool}


class Chapter:
    """One chapter's parameters, data and claims. `begin` makes it."""

    def __init__(self, profile: str, seed: int, rerun: bool, names: Sequence[str], source: str):
        self.profile, self.seed, self.rerun, self.names, self.source = profile, seed, rerun, tuple(names), source

    @property
    def card(self) -> cards.Card:
        """The chapter's claims, what the paper and the authors' logs say, what was measured, the verdicts."""
        return cards.Card(self.names)

    def data(self) -> tuple[PackedDataset, PackedDataset]:
        """(training, test) of the profile: photos10, or CIFAR-10."""
        return open_dataset(self.source, "train"), open_dataset(self.source, "test")

    def train(
        self, model: ModelConfig, train: TrainConfig, train_set: PackedDataset, valid_set: PackedDataset | None = None
    ) -> tuple[AlexNet, Result]:
        """A short training in a temporary folder, without a progress bar: the network and what fit() returns.

        The network gets the outputs that the data needs, and its weights from the chapter's seed. Of train_set only
        train.limit images are used, and none is held out. With a valid_set the curve has errors on that too (centre crop).
        """
        train_set, _ = split_holdout(train_set, replace(train, holdout=0))
        net = AlexNet(replace(model, classes=len(train_set.classes)), seed=self.seed)
        with tempfile.TemporaryDirectory() as folder:
            return net, fit(net, train_set, valid_set, replace(train, seed=self.seed), folder, progress=False)

    def measured(self):
        """What the committed records say of the claims, with error bars; with rerun=True they are measured first."""
        ledger = [claims.ledger()[name] for name in self.names if claims.ledger()[name].experiment]
        if self.rerun:
            wanted: dict[str, set[str]] = {}
            for claim in ledger:
                wanted.setdefault(claim.experiment, set()).update({claim.arm, claim.control} - {""})
            for name, arms in wanted.items():
                if by := plan_of(name).get("by"):
                    print(f"{name} is measured by {by}")
                    continue
                for arm, seed, done in experiment.measure(name, sorted(arms), record=True):
                    print(f"{name} {arm.name} seed {seed}: {'recorded before' if done is None else 'recorded'}")
        return figures.evidence_figure([(claim, verdicts.judge(claim)) for claim in ledger])

    def verdict(self):
        """One sentence a claim, as Markdown."""
        from IPython.display import Markdown

        return Markdown("\n".join(f"- {cards.sentence(claims.ledger()[name])}" for name in self.names))


def begin(namespace: dict, claims: Sequence[str], more: dict[str, str] | None = None) -> Chapter:
    """Checks the parameters of a chapter, applies the style of its figures, keeps the memory of large tensors.

    Args:
        namespace: `globals()` in the cell below the parameters.
        claims: ids of the ledger.
        more: profiles that this chapter alone has, and their data.

    Raises:
        InputError: a parameter that does not exist or is of a wrong type, or a profile without data for a chapter.
    """
    given = check(namespace, KNOWN, Chapter)
    sources = DATA | (more or {})
    if given["profile"] not in sources:
        raise InputError(
            f"a chapter's profile is {' or '.join(sources)}, not {given['profile']!r}; 14_reproduction has the others"
        )
    figures.use_style()
    keep_pages()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "flush_timeout"):  # a kernel's: after ten seconds on a busy machine it complains in the page
            stream.flush_timeout = 600
    return Chapter(given["profile"], given["seed"], given["rerun"], claims, sources[given["profile"]])


def show(*objects):
    """The source of classes and functions of the library, as Markdown, so that a page shows what the library really does."""
    from IPython.display import Markdown

    sources = [textwrap.dedent(inspect.getsource(each)).rstrip() for each in objects]
    return Markdown("```python\n" + "\n\n\n".join(sources) + "\n```")
