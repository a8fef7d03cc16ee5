"""Made-up records and verdicts, for the tests of claims and of what shows them."""

from alexnet_lib.evidence import claims, verdicts

LEDGER = claims.ledger()


def run(arm: str, seed: int, errors=(), device="cpu", sums=("a", "b"), **metrics: float) -> dict:
    """A record; errors are the training errors of its epochs, sums the checksums of training and test images."""
    curve = [{"epoch": i, "train_error": error} for i, error in enumerate(errors, 1)]
    data = {role: {"name": f"set-{s}", "checksum": s} for role, s in zip(("train", "test"), sums, strict=True)}
    environment = {"device": device}
    return {
        "experiment": "e",
        "arm": arm,
        "seed": seed,
        "metrics": metrics,
        "curve": curve,
        "data": data,
        "environment": environment,
    }


def pair(name: str, arm: list[float], control: list[float], metric: str = "test_top1_error", **facts) -> verdicts.Verdict:
    claim = LEDGER[name]
    found = [run(claim.arm, s, **{metric: v}) for s, v in enumerate(arm)]
    found += [run(claim.control, s, **{metric: v}, **facts) for s, v in enumerate(control)]
    return verdicts.judge(claim, found, planned=min(len(arm), len(control)))


BASE = [20.0, 20.1, 19.9, 20.05, 19.95]


def shifted(by: float, noise: float = 0.0) -> list[float]:
    return [value + by + noise * (-1) ** i for i, value in enumerate(BASE)]
