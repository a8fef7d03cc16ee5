"""The pictures of a network: well-formed, inside their frame, with the numbers of the network that they show."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from helpers import MODELS

from alexnet_lib import ModelConfig
from alexnet_lib.book.diagram import figure2, overview
from alexnet_lib.summary import layer_table

SVG = "{http://www.w3.org/2000/svg}"


def words(picture: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", MODELS)
def test_figure_2_of_every_preset(name):
    config = ModelConfig.preset(name)
    said = words(figure2(config))
    for row in layer_table(config):
        assert row.name in said
        share = row.output[0] if row.name == "fc8" else row.output[0] // config.towers
        assert f"{share:,}" in said
        if len(row.output) == 3:
            assert {str(row.output[1]), str(row.passes_on[1])} <= set(said)
    assert ("tower 2" in said) == (config.towers == 2)


def test_figure_2_shows_the_papers_kernels_a_tower():
    said = words(figure2(ModelConfig.preset("paper")))
    kernels = ["48 of 11×11×3", "128 of 5×5×48", "192 of 3×3×256", "192 of 3×3×192", "128 of 3×3×192"]
    assert [f"{a} {b}" for a, b in pairwise(said) if a.endswith(" of")] == kernels
    assert [f"{a} {b}" for a, b in pairwise(said) if b == "units"] == ["2,048 units", "2,048 units", "1,000 units"]


@pytest.mark.parametrize("draw", [overview, figure2])
@pytest.mark.parametrize("name", ["paper", "small"])
def test_nothing_lies_outside_the_frame(draw, name):
    picture = draw(ModelConfig.preset(name))
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture).groups())
    for points in re.findall(r'points="([^"]+)"', picture):
        for x, y in (map(float, point.split(",")) for point in points.split()):
            assert 0 <= x <= width and 0 <= y <= height
    for x, y in re.findall(r'<text x="([\d.-]+)" y="([\d.-]+)"', picture):
        assert 10 <= float(x) <= width - 10 and 10 <= float(y) <= height - 4


def test_towers_cross_where_the_paper_says():
    """Dark dashes join the towers before conv3, fc6 and fc7: four corners of maps, two ends of a bar, there and back."""
    crossing = figure2(ModelConfig.preset("paper")).count('stroke="#14213d" stroke-width="1.1"')
    assert crossing == 2 * 4 + 2 * 4 + 2 * 2
    apart = figure2(ModelConfig.preset("no_communication")).count('stroke="#14213d" stroke-width="1.1"')
    assert apart == 0
