"""The network in the page book/live.md: its script fits the code and the record, and JavaScript computes what torch computes."""

import base64
import io
import json
from dataclasses import asdict

import live
import live_page
import numpy as np
import pytest
import torch
from browsing import Opened, needs_browser
from helpers import ROOT
from PIL import Image

from alexnet_lib import InputError, TrainConfig
from alexnet_lib.augment import centre_view
from alexnet_lib.config import preset
from alexnet_lib.evidence import records

STATIC = ROOT / "book" / "_static"
SCRIPTS = ("live_net.js", "live_forward.js")
OFF = ([False, False], [True, False], [False, True], [True, True])
BOUND = 1e-3  # of a logit


@pytest.fixture(scope="module")
def network() -> dict:
    return live.read()


@pytest.fixture(scope="module")
def computed(chromium, tmp_path_factory) -> list:
    """What JavaScript says of each stored patch, with the towers of each line of OFF switched off: logits and maps' sums."""
    page = tmp_path_factory.mktemp("live") / "page.html"
    scripts = "".join(f'<script src="{(STATIC / name).as_uri()}"></script>' for name in SCRIPTS)
    page.write_text(f"<!doctype html><html lang=en><title>t</title>{scripts}")
    with Opened(chromium, page) as opened:
        found = opened.tab.evaluate(
            """offs => { const net = LiveForward.unpack(LIVE_NET); return net.patches.map(({pixels}) => offs.map(off => {
            const {logits, stages} = LiveForward.run(net, pixels, off);
            return {logits, stages: stages.map(({layer, step, maps}) => [layer, step, maps.count, maps.side,
            maps.data.reduce((a, b) => a + b, 0)])}; })); }""",
            OFF,
        )
        assert not opened.complaints
    return found


def views(network: dict, test_set) -> torch.Tensor:
    """What goes into the network for the stored patches: the library's centre view of the library's own patches."""
    pixels, model = torch.from_numpy(test_set.take(network["patches"]["places"])), network["model"]
    return centre_view(pixels, torch.from_numpy(test_set.mean_image), model["image_size"], model["pixel_std"])[0]


def silenced(net, off: list[bool]):
    """The network with the maps of some towers set to zero behind each convolution."""

    def zero(module, inputs, maps):
        parts = maps.chunk(len(off), 1)
        return torch.cat([part * (not is_off) for part, is_off in zip(parts, off, strict=True)], 1)

    for name, layer in net.named_layers().items():
        if name.startswith("conv"):
            layer.register_forward_hook(zero)
    return net


def test_the_script_is_the_network_of_the_preset_and_of_its_record(network, photos10):
    record = records.read(records.results_root() / network["record"])
    model, train = preset(live.PROFILE)
    assert network["model"] == record["model"] == json.loads(json.dumps(asdict(model))), "run make live"
    assert TrainConfig.from_dict(record["train"]) == train, "run make live"
    for role, part in zip(("train", "test"), photos10, strict=True):
        if role == "test":
            assert record["data"][role]["checksum"] == part.checksum, "run make live"
    assert network["classes"] == list(photos10[1].classes)


def test_its_patches_and_mean_image_are_those_of_the_data(network, photos10):
    places, test_set = network["patches"]["places"], photos10[1]
    assert network["patches"]["pixels"] == live.text(test_set.take(places))
    assert network["mean_image"] == live.text(test_set.mean_image)
    assert network["patches"]["labels"] == test_set.labels[places].tolist()
    assert set(network["patches"]["labels"]) == set(range(10))


def test_its_logits_are_torch_s_and_rounding_the_weights_changes_no_guess_shown(network, photos10):
    with torch.inference_mode():
        now = live.unpacked(network["model"], network["layers"])(views(network, photos10[1]))
    said = {name: np.array(logits) for name, logits in network["patches"]["logits"].items()}
    assert np.abs(now.numpy() - said["int8"]).max() < BOUND
    assert (said["int8"].argmax(1) == said["float32"].argmax(1)).all()


def test_weights_come_back_within_half_a_step_of_their_kernel_s_scale():
    layer = torch.nn.Conv2d(3, 4, 5)
    packed = live.packed_layer(layer)
    steps, scale = live.values(packed["weight"], "i1").view(4, 3, 5, 5), live.values(packed["scale"], "<f4").view(4, 1, 1, 1)
    assert ((steps * scale - layer.weight).abs() <= 0.5001 * scale).all() and steps.abs().amax((1, 2, 3)).eq(127).all()
    assert torch.equal(live.values(packed["bias"], "<f4"), layer.bias.detach())


def test_an_altered_script_or_another_record_is_refused(network, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "FILE", tmp_path / "live_net.js")
    live.write(network)
    assert live.read() == network
    live.write(network | {"parameters": 1})
    with pytest.raises(InputError, match="was altered"):
        live.read()
    live.FILE.write_text(live.FILE.read_text()[:-999])
    with pytest.raises(InputError, match="was altered"):
        live.read()
    other = {name: part for name, part in network.items() if name != "checksum"} | {"record_checksum": "0"}
    live.write(other | {"checksum": records.checksum(other)})
    with pytest.raises(InputError, match="not the network of"):
        live.read()


@needs_browser
def test_javascript_gives_torch_s_logits_with_either_tower_off_too(computed, network, photos10):
    x, guesses = views(network, photos10[1]), []
    for i, off in enumerate(OFF):
        net = silenced(live.unpacked(network["model"], network["layers"]), off)
        with torch.inference_mode():
            wanted = net(x).numpy()
        found = np.array([patch[i]["logits"] for patch in computed])
        assert np.abs(found - wanted).max() < BOUND
        guesses.append(found.argmax(1))
    assert (guesses[0] == np.array(network["patches"]["logits"]["float32"]).argmax(1)).all()
    assert (guesses[1] != guesses[0]).any() and (guesses[2] != guesses[0]).any()


@needs_browser
def test_the_maps_are_torch_s_step_by_step(computed, network, photos10):
    net, seen = live.unpacked(network["model"], network["layers"]), []
    steps = [module for module in net.features if not isinstance(module, torch.nn.Conv2d)]
    for module in steps:
        module.register_forward_hook(lambda m, i, maps: seen.append(maps.double().sum((1, 2, 3)).numpy()))
    with torch.inference_mode():
        net(views(network, photos10[1]))
    found = np.array([[stage[4] for stage in patch[0]["stages"]] for patch in computed])
    assert np.allclose(found, np.stack(seen, 1), rtol=1e-4)
    assert [stage[:2] for stage in computed[0][0]["stages"]] == [
        [name, step] for name, conv in preset(live.PROFILE)[0].convs for step in conv.then
    ]


def shares(tab) -> list[str]:
    return tab.locator("#live-bars li > :nth-child(2)").all_inner_texts()


@needs_browser
def test_a_reader_chooses_patches_and_towers_by_keyboard_and_hears_the_guess(chromium, book, network):
    with Opened(chromium, book / "book" / "live.html") as page:
        tab, classes = page.tab, network["classes"]
        guess = tab.locator("#live-guess")
        for place in (0, 1):
            logits = np.array(network["patches"]["logits"]["int8"][place])
            wanted = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            assert guess.inner_text().startswith(f"It says {classes[logits.argmax()]}, {100 * wanted.max():.1f}\u00a0%.")
            assert shares(tab) == [f"{100 * share:.1f}\u00a0%" for share in wanted]
            tab.locator("#live-patches input").nth(place).focus()
            tab.keyboard.press("ArrowRight")
        assert guess.get_attribute("role") == "status" and "Both towers" not in guess.inner_text()
        before = shares(tab)
        tab.locator("#live-layers .live-tower-1").focus()
        tab.keyboard.press("Space")
        assert tab.locator(".live-tower-1:checked").count() == 0 and tab.locator(".live-tower-0:checked").count() == 3
        assert "Both towers together say" in guess.inner_text() and shares(tab) != before
        second = tab.locator("#live-layers figure .live-pair > :nth-child(2)").all_inner_texts()
        assert len(second) == 10 and all(text.strip() == "tower 2, off: largest 0.00, 100.0\u00a0% zeros" for text in second)
        tab.keyboard.press("Space")
        assert shares(tab) == before
        assert not page.complaints and not page.asked


@needs_browser
def test_normalisation_is_shown_for_any_map_and_its_window_ends_with_its_tower(chromium, book):
    with Opened(chromium, book / "book" / "live.html") as page:
        knob, said = page.tab.locator("#live-map"), page.tab.locator("#live-said")
        assert knob.input_value() != "1" and "NaN" not in said.inner_text()
        knob.focus()
        page.tab.keyboard.press("Home")
        for presses, key, window in (
            (2, "ArrowRight", "1 to 5."),
            (13, "ArrowRight", "14 to 16, as far"),
            (1, "ArrowRight", "17 to 19, as far"),
            (1, "End", "30 to 32, as far"),
        ):
            for _ in range(presses):
                page.tab.keyboard.press(key)
            assert f"is maps {window}" in said.inner_text()
        assert knob.get_attribute("aria-valuetext") == "32 of 32, tower 2"
        page.tab.locator("#live-layer").select_option("conv2")
        assert "The window of map 32 is maps 30 to 32, as far" in said.inner_text() and knob.get_attribute("max") == "64"


@needs_browser
def test_a_picture_of_one_s_own_is_cut_to_its_central_square(chromium, book, network, tmp_path):
    """A stored patch between two black borders is the patch again, chosen or dropped; what is no picture is said to be none."""
    size, place = network["patches"]["size"], 4
    pixels = live.values(network["patches"]["pixels"], "u1").view(-1, size, size, 3)[place].numpy()
    wide = np.zeros((size, size + 12, 3), np.uint8)
    wide[:, 6:-6] = pixels
    file = io.BytesIO()
    Image.fromarray(wide).save(file, "png")
    (tmp_path / "wide.png").write_bytes(file.getvalue())
    (tmp_path / "words.png").write_text("no picture")
    with Opened(chromium, book / "book" / "live.html") as page:
        tab = page.tab
        first = shares(tab)
        tab.locator("#live-patches input").nth(place).check(force=True)
        wanted = shares(tab)
        assert wanted != first
        tab.locator("#live-patches input").nth(0).check(force=True)
        tab.locator("#live-file").set_input_files(tmp_path / "wide.png")
        tab.get_by_text("no other names").wait_for()
        assert shares(tab) == wanted and tab.locator("#live-patches input:checked").count() == 0
        tab.locator("#live-patches input").nth(0).check(force=True)
        dropped = tab.evaluate_handle(
            """text => { const moved = new DataTransfer(), bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
            moved.items.add(new File([bytes], "wide.png", {type: "image/png"})); return moved; }""",
            base64.b64encode(file.getvalue()).decode(),
        )
        tab.dispatch_event("#live-drop", "drop", {"dataTransfer": dropped})
        tab.get_by_text("no other names").wait_for()
        assert shares(tab) == wanted
        tab.locator("#live-file").set_input_files(tmp_path / "words.png")
        tab.get_by_text("words.png is no picture").wait_for()
        assert shares(tab) == wanted and not page.complaints and not page.asked


@needs_browser
def test_on_paper_and_without_javascript_a_sentence_says_what_is_on_a_screen(chromium, book):
    with Opened(chromium, book / "book" / "live.html") as page:
        page.tab.emulate_media(media="print")
        assert page.tab.get_by_text("On a screen this page is live").is_visible()
        assert page.tab.locator("#live-guess").is_visible() and not page.tab.locator("#live-file").is_visible()
        assert not page.tab.get_by_text("Nothing runs here").is_visible()
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((book / "book" / "live.html").as_uri())
    assert tab.get_by_text("Nothing runs here without JavaScript").is_visible() and not tab.locator("#live-top").is_visible()
    context.close()


@needs_browser
def test_without_the_script_that_holds_the_network_the_page_stays_as_it_is(chromium, tmp_path):
    scripts = "".join(f'<script src="{(STATIC / name).as_uri()}"></script>' for name in ("live_forward.js", "live.js"))
    (tmp_path / "page.html").write_text(
        f'<!doctype html><html lang=en><title>t</title><div id="live-top" hidden>x</div>{scripts}'
    )
    with Opened(chromium, tmp_path / "page.html") as page:
        assert not page.complaints and not page.tab.get_by_text("x").is_visible()


def test_the_page_gives_the_errors_of_the_record_and_is_small(book, network):
    shown = " ".join((book / "book" / "live.html").read_text().split())
    error = records.read(records.results_root() / network["record"])["metrics"]["test_centre_top1_error"]
    assert (
        f"{error:.1f} % wrong by the centre crop" in live_page.markdown() and f"{error:.1f} % wrong by the centre crop" in shown
    )
    files = [book / "book" / "live.html", *(book / "_static").glob("live*")]
    assert len(files) == 5 and sum(path.stat().st_size for path in files) < 3e6
    assert 'href="live.html"' in (book / "book" / "intro.html").read_text()
