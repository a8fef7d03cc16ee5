"""The arms that measure section 4.1, and a chapter's training that watches a second data set."""

from dataclasses import replace

from helpers import tiny_model

from alexnet_lib import TrainConfig, open_dataset
from alexnet_lib.book import chapter
from alexnet_lib.evidence import experiment


def test_arms_change_the_augmentation_and_nothing_else():
    none = {"random_crop": False, "mirror": False}
    changes = {"colour_noise": {"colour_noise": "eigenvalue"}, "colour_noise_2012": {"colour_noise": "deviation"}}
    for name, changed in (("ablations", changes), ("overfitting", {"no_augmentation": none})):
        arms, _ = experiment.arms(name)
        whole = arms["whole"]
        assert whole.train.random_crop and whole.train.mirror and whole.train.colour_noise == "none"
        for arm, change in changed.items():
            assert arms[arm].model == whole.model and arms[arm].train == replace(whole.train, **change)


def test_a_chapter_may_watch_images_while_it_trains():
    here = chapter.begin({"profile": "quick", "seed": 0, "rerun": False}, ["augmentation"])
    few, watched = (open_dataset("photos10", split).subset(range(0, 300, 10)) for split in ("train", "test"))
    recipe = TrainConfig.preset("quick", epochs=2, batch_size=10, holdout=0, evaluate_every=2)
    _, result = here.train(tiny_model(), recipe, few, watched)
    assert "valid_error" not in result.curve[0] and 0 <= result.curve[1]["valid_error"] <= 100
    _, result = here.train(tiny_model(), recipe, few)
    assert all("valid_error" not in epoch for epoch in result.curve)
