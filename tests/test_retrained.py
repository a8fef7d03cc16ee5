"""The figures of others who trained the network, which chapter 10 shows: each with its page."""

import json

import pytest
import torchvision

from alexnet_lib.evidence import records

FOUND = json.loads((records.REPOSITORY / "tools" / "retrained.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("each", FOUND, ids=lambda each: each["name"])
def test_each_names_its_page_and_what_it_changed(each):
    top1, top5 = each["right"]  # percent of the validation images right, centre view
    assert 50 < top1 < top5 < 100
    assert each["url"].startswith("https://") and each["page"] and each["changed"]


def test_torchvisions_figures_are_those_of_the_package():
    said = torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]
    (row,) = (each for each in FOUND if each["name"] == "torchvision")
    assert row["right"] == [said["acc@1"], said["acc@5"]]
