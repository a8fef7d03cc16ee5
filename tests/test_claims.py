"""Which records a verdict rests on; the rules themselves are tested in test_learned."""

from alexnet_lib import claims, records


def write(root, arm: str, seeds, gain: float) -> None:
    for seed in seeds:
        record = {
            "experiment": "small_cifar10",
            "arm": arm,
            "seed": seed,
            "metrics": {"neighbours_gain": gain + seed / 10},
        }
        records.write(record, records.results_path(record, root))


def test_another_arm_is_no_other_seed(tmp_path, monkeypatch):
    reading = records.read_experiment
    monkeypatch.setattr(records, "read_experiment", lambda name: reading(name, tmp_path))
    claim = claims.ledger()["neighbours"]
    assert claim.arm == "laptop"
    write(tmp_path, "laptop", range(2), 30.0)
    write(tmp_path, "no-dropout", range(2), -50.0)
    assert claims.judge(claim) == claims.Verdict(claims.NOT_YET, "+30.00, +30.10", 2)
    write(tmp_path, "laptop", range(3), 30.0)
    found = claims.judge(claim)
    assert found.word == claims.SAME_DIRECTION and found.seeds == 3


def test_a_claim_names_an_arm_where_it_names_an_experiment():
    for claim in claims.ledger().values():
        assert (claim.arm is None) == (claim.experiment is None)
        assert claim.rule["text"] and claim.command
