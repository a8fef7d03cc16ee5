"""Figures of a single image, and colours that no theme or printer hides; see also test_learned."""

import matplotlib
import numpy as np
import torch

from alexnet_lib import figures

matplotlib.use("Agg")


def test_one_image_is_enough():
    image = np.zeros((1, 32, 32, 3), np.uint8)
    assert len(figures.guesses_figure(image, torch.tensor([[0.6, 0.4]]), [1], ["a", "b"]).axes) == 2
    assert len(figures.neighbours_figure(image, image[None], image[None]).axes) == 5
    matplotlib.pyplot.close("all")


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
