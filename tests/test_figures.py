"""Figures: that they can be drawn, what is on them, and colours that no theme or printer hides."""

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from helpers import ROOT, tiny_model

from alexnet_lib import AlexNet, introspection
from alexnet_lib.book import figures
from alexnet_lib.evaluation import predict
from alexnet_lib.evidence import claims, verdicts

matplotlib.use("Agg")


def test_one_image_is_enough():
    image = np.zeros((1, 32, 32, 3), np.uint8)
    assert len(figures.guesses_figure(image, torch.tensor([[0.6, 0.4]]), [1], ["a", "b"]).axes) == 2
    assert len(figures.neighbours_figure(image, image[None], image[None]).axes) == 5
    matplotlib.pyplot.close("all")


def test_outputs_that_no_class_has_are_no_guesses():
    image, p = np.zeros((1, 32, 32, 3), np.uint8), torch.tensor([[0.1, 0.2, 0.7]])
    (_, below) = figures.guesses_figure(image, p, [1], ["a", "b"]).axes
    assert [text.get_text() for text in below.texts] == ["b", "a"]


@pytest.mark.parametrize("name", [r"$\bad$", "$x^2$", "cost in $"])
def test_names_before_rows_are_drawn_as_they_are(name):
    figure = figures.rows_figure([np.zeros((2, 8, 8, 3), np.uint8)], [name])
    figure.canvas.draw()
    label = figure.axes[0].yaxis.label
    assert label.get_text() == name and not label.get_parse_math()


def test_without_a_home_nothing_is_said_on_import():
    """As in a container of a user without one: what a library says on import would be on a chapter's page."""
    nowhere = {"HOME": "/dev/null", "PATH": os.environ["PATH"]}
    program = [sys.executable, "-c", "from alexnet_lib.book import figures; figures.use_style()"]
    done = subprocess.run(program, cwd=ROOT, env=nowhere, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def contrast(first: str, second: str) -> float:
    """Ratio of luminances as WCAG 2 defines it, 1 to 21."""

    def luminance(colour: str) -> float:
        rgb = np.array(matplotlib.colors.to_rgb(colour))
        return np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_and_curves_stand_out_from_the_card():
    """The card is opaque, so that these hold on a dark page too."""
    assert matplotlib.colors.to_rgba(figures.CARD)[3] == 1
    assert contrast(figures.INK, figures.CARD) >= 7
    assert all(contrast(colour, figures.CARD) >= 3 for colour in figures.COLOURS[:3])
    figures.use_style()
    assert matplotlib.rcParams["savefig.facecolor"] == figures.CARD


def test_figures_can_be_drawn(photos10):
    test = photos10[1].subset(range(0, 1000, 200))
    net = AlexNet(tiny_model(), seed=0)
    weights = introspection.kernels(net)
    figures.use_style()
    drawn = [
        figures.curve_figure([{"epoch": 1, "train_loss": 2.0, "train_error": 80.0}, {"epoch": 2, "train_loss": 1.0, "train_error": 40.0, "valid_loss": 1.1, "valid_error": 44.0}]),
        figures.kernels_figure(weights, introspection.colour_selectivity(weights), 2),
        figures.guesses_figure(test.take(range(5)), predict(net, test), test.labels, test.classes),
        figures.neighbours_figure(test.take([0, 1]), test.take([0, 1, 2, 3]).reshape(2, 2, 32, 32, 3), test.take([0, 1, 2, 3]).reshape(2, 2, 32, 32, 3)),
        figures.rows_figure([test.take([0, 1])], ["a"]),
    ]  # fmt: skip
    assert [a.get_ylabel() for a in drawn[0].axes] == ["loss (nats)", "top-1 error (%)"]
    assert len(drawn[1].axes) == 2 and len(drawn[2].axes) == 10
    luminance = [np.dot(matplotlib.colors.to_rgb(c), (0.299, 0.587, 0.114)) for c in figures.COLOURS[:4]]
    assert (np.diff(luminance) > 0.08).all()  # told apart in grey
    matplotlib.pyplot.close("all")


def test_evidence_shows_seeds_interval_and_the_papers_number():
    claim = claims.ledger()["ten-views"]
    verdict = verdicts.Verdict(verdicts.REPRODUCED, seeds=3, planned=3, effects=(-1.2, -1.5, -1.8), interval=(-1.5, -2.2, -0.8))
    (axes,) = figures.evidence_figure([(claim, verdict)]).axes
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        "no effect",
        "the paper",
        "0.5 to 2 times that",
        "ours, a seed each",
        "95 % interval",
    }
    assert axes.get_title("left") == "ten-views: reproduced" and axes.get_xlabel() == "difference (points)"
    (axes,) = figures.evidence_figure([(claim, verdicts.Verdict(verdicts.NOT_YET))]).axes
    assert axes.get_title("left") == "ten-views: not measured yet" and not axes.lines  # none runs through the command
    assert "python -m alexnet_lib measure" in axes.texts[0].get_text()
    (ledger,) = figures.ledger_figure([(claim, verdict)]).axes
    assert ledger.lines[-1].get_xdata() == pytest.approx([1.0]) and "no effect" not in figures.svg(ledger.figure)


def test_a_slider_holds_a_frame_for_each_value_and_shows_one():
    def draw(value):
        figure, axes = matplotlib.pyplot.subplots()
        axes.plot([0, value])
        return figures.done(figure)

    page = figures.Slider(draw, [1, 2, 3], "gain", "a line", start=1)._repr_html_()
    assert page.count("<img") == 3 and page.count("display:none") == 2
    assert 'alt="a line; gain = 2"' in page and 'max="2"' in page and "http" not in page
    assert 'aria-valuetext="gain = 2"' in page and "setAttribute(&#x27;aria-valuetext&#x27;" in page and "aria-label" not in page


def test_a_number_that_only_the_authors_log_has_is_not_called_the_papers():
    verdict = verdicts.Verdict(verdicts.SAME_DIRECTION, "", 2, effects=(-1.0, -1.1))
    for name, source in (("two-towers", "the paper"), ("towers-never-talk", "the authors' log")):
        (axes,) = figures.evidence_figure([(claims.ledger()[name], verdict)]).axes
        assert {text.get_text() for text in axes.get_legend().get_texts()} & {"the paper", "the authors' log"} == {source}
