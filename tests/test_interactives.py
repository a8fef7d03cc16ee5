"""The figures to explore: what they show is the library's and the records', by keyboard, on a phone, on paper, without scripts."""

import cost_explorer
import cost_model
import numpy as np
import pytest
from browsing import AXE, Opened, needs_browser
from safetensors.numpy import load_file

from alexnet_lib import AlexNet, InputError, ModelConfig
from alexnet_lib.book import explore, kernel_browser, race
from alexnet_lib.book.diagram import layout
from alexnet_lib.evidence import records
from alexnet_lib.evidence.verdicts import time_to
from alexnet_lib.summary import layer_table

pytestmark = needs_browser

ARCHITECTURE, EVALUATION = "notebooks/05_architecture.html", "notebooks/11_qualitative_evaluation.html"
RACE, SCALING = "notebooks/01_relu.html", "notebooks/13_scaling.html"
PAPER = ModelConfig.preset("paper")
FACTS = """() => ({
    node: document.activeElement.dataset.node, pressed: document.activeElement.ariaPressed, name: document.activeElement.ariaLabel,
    caption: document.querySelector('.facts caption').innerText,
    rows: [...document.querySelectorAll('.facts tbody tr')].map(r => [...r.cells].map(c => c.innerText)),
    lit: [...document.querySelectorAll('.wire')].filter(w => getComputedStyle(w.firstElementChild).strokeWidth == '4px')
        .map(w => [w.dataset.from, w.dataset.to]),
    read: [...document.querySelectorAll('.layer.read')].map(l => l.dataset.node)})"""
# The pixels of canvases, without their opacity, by the kernel that each shows.
PIXELS = """all => all.map(c => [Number(c.dataset.kernel),
    [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 < 3)])"""


def tab_to(page, what: str) -> None:
    """From the text before a figure as many times Tab as it takes."""
    page.tab.locator(f"p:has(+ figure {what.split()[0]})").click()
    for _ in range(4):
        page.tab.keyboard.press("Tab")
        if page.tab.evaluate("what => document.activeElement.matches(what)", what):
            return
    raise AssertionError(f"Tab does not reach {what}")


def found_by_axe(page) -> list[str]:
    page.tab.evaluate(AXE)
    return page.tab.evaluate("async () => (await axe.run('.interactive', {preload: false})).violations.map(v => v.id)")


def test_tab_reaches_every_box_and_shows_the_library_s_figures_and_what_it_reads(chromium, book):
    table = {row.name: row for row in layer_table(PAPER)}
    lit, seen = {}, []
    with Opened(chromium, book / ARCHITECTURE) as page:
        tab_to(page, ".network .layer")
        for _ in range(16):
            shown = page.tab.evaluate(FACTS)
            seen.append(shown["node"])
            layer, tower = shown["node"].split("-")
            rows = {name: values for name, *values in shown["rows"]}
            assert shown["pressed"] == "true" and shown["caption"] == shown["name"] and layer in shown["name"]
            if layer in table:
                for what in ("parameters", "neurons", "multiply_adds"):
                    whole = getattr(table[layer], what)
                    expected = [f"{whole // 2:,}", f"{whole:,}"] if tower != "0" else [f"{whole:,}"]
                    assert rows[what.replace("_", "-")] == expected
            assert {to for _, to in shown["lit"]} <= {shown["node"]}
            lit[shown["node"]] = {read for read, _ in shown["lit"]}
            assert lit[shown["node"]] == set(shown["read"])
            page.tab.keyboard.press("Tab")
        assert not found_by_axe(page)
        assert not page.complaints and not page.asked
    assert seen == ["image-0", *(f"{name}-{tower}" for name in list(table)[:-1] for tower in (1, 2)), "fc8-0"]
    assert lit["conv3-1"] == lit["conv3-2"] == {"conv2-1", "conv2-2"}
    assert lit["conv4-1"] == {"conv3-1"} and lit["conv4-2"] == {"conv3-2"}
    assert lit["conv1-2"] == {"image-0"} and lit["fc8-0"] == {"fc7-1", "fc7-2"} and lit["image-0"] == set()


def test_shapes_and_kernels_of_a_tower_are_those_of_the_paper():
    found = explore.facts(PAPER, layout(PAPER))
    conv1, conv3 = ({what: values for what, *values in found[name]} for name in ("conv1-1", "conv3-2"))
    assert conv1["output"] == ["55×55×48", "55×55×96"] and conv1["after LRN and pool"] == ["27×27×48", "27×27×96"]
    assert conv3["kernels"] == ["192 of 3×3×256", "384 of 3×3×256"]
    assert conv3["reads"][0] == "conv2 of tower 1: 13×13×128; conv2 of tower 2: 13×13×128"
    assert conv3["is read by"][0] == "conv4 of tower 2"
    assert explore.reads(PAPER)["conv3"] == "conv2, both towers" and explore.reads(PAPER)["conv4"] == "conv3, own tower"
    assert explore.reads(ModelConfig.preset("no_communication"))["conv3"] == "conv2, own tower"


def test_a_box_answers_to_pointer_and_arrows(chromium, book):
    with Opened(chromium, book / ARCHITECTURE) as page:
        caption = page.tab.locator(".facts caption")
        assert caption.inner_text() == "conv3 of tower 1"
        page.tab.locator("[data-node=conv5-2]").hover()
        assert caption.inner_text() == "conv5 of tower 2"
        page.tab.locator("[data-node=conv4-1]").click()
        page.tab.keyboard.press("ArrowRight")
        assert caption.inner_text() == "conv4 of tower 2"


def test_figures_answer_to_a_finger(chromium, book):
    with Opened(chromium, book / ARCHITECTURE, width=360, touch=True) as page:
        page.tab.locator("[data-node=conv3-2]").tap()
        assert page.tab.locator(".facts caption").inner_text() == "conv3 of tower 2"
    with Opened(chromium, book / EVALUATION, width=360, touch=True) as page:
        said = page.tab.locator(".kernels .chosen span")
        before = said.inner_text()
        page.tab.locator(".kernels [role=option]").nth(5).tap()
        assert said.inner_text() != before
    with Opened(chromium, book / RACE, width=360, touch=True) as page:
        slider = page.tab.locator(".race [type=range]")
        slider.scroll_into_view_if_needed()
        before, box = slider.input_value(), slider.bounding_box()
        page.tab.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
        assert slider.input_value() != before


def test_on_a_phone_the_drawing_scrolls_to_the_box_and_the_page_does_not(chromium, book):
    with Opened(chromium, book / ARCHITECTURE, width=360, dark=True) as page:
        box = page.tab.locator(".network .scrolls")
        assert box.get_attribute("tabindex") == "0"
        page.tab.locator("[data-node=fc8-0]").focus()
        assert box.evaluate("b => b.scrollLeft") > 200
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.tab.locator("[data-node=fc6-1]").bounding_box()["width"] >= 44  # of a finger
        assert not found_by_axe(page)


def choose(page, experiment: str, run: str) -> None:
    value = page.tab.locator(f'.kernels optgroup[label="{experiment}"] option', has_text=run).get_attribute("value")
    page.tab.locator(".kernels select").select_option(value)


def expected(weights: np.ndarray) -> np.ndarray:
    """(K, 3, S, S) -> what the canvases should hold: (K, 3 * S * S), rows, columns, channels."""
    scaled = weights / np.abs(weights).max((1, 2, 3), keepdims=True)
    return (255 * (0.5 + 0.5 * scaled)).transpose(0, 2, 3, 1).reshape(len(weights), -1)


@pytest.mark.parametrize("name", ["biases/zeros-seed1", "ablations/whole-seed21", "one_tower/plateau-seed1"])
def test_the_browser_shows_the_kernels_of_the_file_and_of_the_seed(chromium, book, name):
    record = records.read(records.results_root() / f"{name}.json")
    end = load_file(records.results_root() / f"{name}.kernels.safetensors")["conv1"].astype(np.float32)
    start = AlexNet(ModelConfig.from_dict(record["model"]), seed=record["seed"]).named_layers()["conv1"].weight.detach().numpy()
    with Opened(chromium, book / EVALUATION) as page:
        choose(page, record["experiment"], f"{record['arm']}, seed {record['seed']}")
        options, time = page.tab.locator(".kernels [role=option]"), page.tab.locator(".kernels [type=range]")
        assert page.tab.locator(".kernels [role=listbox]").count() == record["model"]["towers"]
        assert time.get_attribute("aria-valuetext") == f"after {record['train']['epochs']} epochs"
        assert f"test error {record['metrics']['test_top1_error']:.1f} %" in page.tab.locator(".kernels .about").inner_text()
        time.focus()
        for weights in (end, start):
            shown = dict(options.evaluate_all(PIXELS))
            assert sorted(shown) == list(range(len(weights)))
            assert np.abs(np.array([shown[k] for k in sorted(shown)]) - expected(weights)).max() <= 0.51
            page.tab.keyboard.press("ArrowLeft")
        assert "before training" in time.get_attribute("aria-valuetext")
        assert page.tab.locator(".kernels output").inner_text() == time.get_attribute("aria-valuetext")


def test_kernels_are_reached_by_keyboard_sorted_named_and_enlarged(chromium, book):
    record = records.read(records.results_root() / "biases/zeros-seed1.json")
    with Opened(chromium, book / EVALUATION) as page:
        page.tab.locator(".kernels [type=range]").focus()
        page.tab.keyboard.press("Tab")
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
            page.tab.keyboard.press(key)
        columns = page.tab.evaluate(
            "(([first, ...all]) => 1 + all.filter(o => o.offsetTop == first.offsetTop).length)"
            "([...document.querySelector('.kernels [role=listbox]').children])"
        )
        by_colour = np.argsort(record["colour_selectivity"][0], kind="stable")
        kernel = int(page.tab.evaluate("document.activeElement.dataset.kernel"))
        assert kernel == by_colour[columns] and page.tab.evaluate("document.activeElement.ariaSelected") == "true"
        words = f"tower 1, kernel {kernel + 1}: colour selectivity {record['colour_selectivity'][0][kernel]:.2f}"
        assert page.tab.evaluate("document.activeElement.ariaLabel") == words
        assert page.tab.locator(".kernels .chosen span").inner_text() == words
        small, large = (
            page.tab.locator(f".kernels {which}").evaluate_all(PIXELS)[0][1] for which in (":focus", ".chosen canvas")
        )
        assert small == large and page.tab.locator(".chosen canvas").bounding_box()["width"] > 100
        page.tab.keyboard.press("Tab")  # one stop a tower
        assert page.tab.evaluate("document.activeElement.dataset.tower") == "tower 2"
        page.tab.locator(".kernels [type=checkbox]").uncheck()
        order = page.tab.locator(".kernels [role=option]").evaluate_all("all => all.map(o => Number(o.dataset.kernel))")
        assert order == list(range(32))
        assert not found_by_axe(page)
        assert not page.complaints and not page.asked
    assert (book / EVALUATION).stat().st_size < 3e6


def test_on_paper_stand_the_drawing_and_two_towers(chromium, book):
    with Opened(chromium, book / ARCHITECTURE) as page:
        page.tab.emulate_media(media="print")
        assert page.tab.locator(".network svg").is_visible() and not page.tab.locator(".network .facts").is_visible()
        faded = page.tab.locator(".network svg g").evaluate_all("all => all.map(g => getComputedStyle(g).opacity)")
        assert set(faded) == {"1"}
    with Opened(chromium, book / EVALUATION) as page:
        still, live = page.tab.locator(".kernels > img"), page.tab.locator(".kernels .live")
        assert live.is_visible() and not still.is_visible()
        page.tab.emulate_media(media="print")
        assert still.is_visible() and not live.is_visible() and "biases, zeros, seed 1" in still.get_attribute("alt")


def test_without_scripts_the_drawing_the_table_and_the_still_picture_remain(chromium, book):
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((book / ARCHITECTURE).as_uri())
    assert tab.locator(".network svg").is_visible() and not tab.locator(".network [tabindex]").count()
    said = tab.locator("table", has_text="connections").inner_text()
    for row in layer_table(PAPER):
        assert all(words in said for words in (row.name, f"{row.parameters:,}", explore.reads(PAPER)[row.name]))
    tab.goto((book / EVALUATION).as_uri())
    assert tab.locator(".kernels > img").is_visible() and not tab.locator(".kernels .live").is_visible()
    context.close()


def test_a_start_that_is_not_the_run_s_own_is_not_shown():
    (record, path), *_ = kernel_browser.with_kernels()
    end = kernel_browser.load_kernels(path)
    assert kernel_browser.start_of(record, end) is not None
    assert kernel_browser.start_of(record | {"seed": record["seed"] + 1}, end) is None
    assert len(kernel_browser.described(record | {"seed": record["seed"] + 1}, path)["moments"]) == 1


def test_a_page_holds_the_first_seeds_of_all_arms_before_the_second_of_any():
    found = kernel_browser.with_kernels()
    first = next(path for record, path in found if record["seed"] == max(r["seed"] for r, _ in found))
    arms = {(record["experiment"], record["arm"]) for record, _ in found}
    firsts: dict = {}
    for record, path in sorted(found, key=lambda pair: pair[0]["seed"]):
        firsts.setdefault((record["experiment"], record["arm"]), path)
    room = 2 * sum(path.stat().st_size for path in firsts.values()) + 2 * first.stat().st_size
    kept = kernel_browser.chosen(found, first, room)
    assert {(r["experiment"], r["arm"]) for r, _ in kept} == arms and first in [path for _, path in kept]
    assert len(kept) == len(arms) + 1 and kernel_browser.chosen(found, first, 2**30) == found
    assert [path for _, path in kernel_browser.chosen(found, first, 0)] == [first]


def test_kernels_whose_record_did_not_come_are_left_out(tmp_path, monkeypatch):
    """They are published before it, and whoever is killed between the two leaves a book that can be built."""
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "a-seed3.kernels.safetensors").write_bytes(b"kernels")
    assert kernel_browser.with_kernels() == []


def test_a_run_without_kernels_is_an_error():
    with pytest.raises(InputError, match="no kernels on record of none/here-seed1"):
        kernel_browser.browser("none/here-seed1")


def test_the_race_is_called_where_the_ledger_calls_it(chromium, book):
    """At every place of the slider and under both conditions: the times of time_to, their ratio, and a dot a crossing."""
    with Opened(chromium, book / RACE) as page:
        slider, words = page.tab.locator(".race [type=range]"), page.tab.locator(".race .words")
        choice = page.tab.locator(".race [type=radio]")
        slider.focus()
        assert slider.get_attribute("aria-valuetext") == "25 percent"
        for place, name in enumerate(race.CONDITIONS):
            choice.nth(place).check()
            assert page.tab.locator(".race [data-race]:visible").get_attribute("data-race") == name
            found = records.read_experiment(name)
            for level in (race.LOWEST, 10, 25, 40, race.HIGHEST):
                slider.fill(str(level))
                times = {u: [time_to(r, level) for r in found if r["arm"] == u] for u in race.UNITS}
                said = words.inner_text()
                listed = [", ".join("never" if np.isinf(t) else f"{t:.1f}" for t in times[unit]) for unit in ("relu", "tanh")]
                assert said.startswith(f"{level} % training error: ReLU after {listed[0]}; tanh after {listed[1]} epochs. ")
                reached = np.isfinite([*times["relu"], *times["tanh"]])
                if reached.all():
                    ratio = np.exp(np.log(times["tanh"]).mean() - np.log(times["relu"]).mean())
                    assert said.endswith(f"tanh takes {ratio:.1f} times as many epochs.")
                else:
                    assert said.endswith("Not every run gets there.")
                assert page.tab.locator(".race circle").count() == reached.sum()
        assert not found_by_axe(page) and not page.complaints and not page.asked


def test_the_race_is_moved_by_keyboard_fits_a_phone_and_stands_still_on_paper(chromium, book):
    with Opened(chromium, book / RACE, width=360, dark=True) as page:
        tab_to(page, ".race [type=radio]")
        page.tab.keyboard.press("ArrowRight")
        assert page.tab.locator(".race [value=relu_today]").is_checked()
        page.tab.keyboard.press("Tab")
        page.tab.keyboard.press("ArrowUp")
        assert page.tab.locator(".race output").inner_text() == "26 %"
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 360
        assert not found_by_axe(page)
        page.tab.emulate_media(media="print")
        assert page.tab.locator(".race svg").is_visible() and not page.tab.locator(".race [type=range]").is_visible()


def test_without_records_the_race_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("ALEXNET_RESULTS", str(tmp_path))
    with pytest.raises(InputError, match=r"no record of relu_2012; .*alexnet_lib measure relu_2012 --record"):
        race.explorable()


def test_a_choice_of_cards_and_batch_shows_the_cost_model_s_step(chromium, book):
    """Bars and rows are those of cost_model.step; what cannot be is said, and leaves no bar."""
    with Opened(chromium, book / SCALING) as page:
        card, (count, batch) = page.tab.locator(".cost select"), page.tab.locator(".cost [type=range]").all()
        words, ends = page.tab.locator(".cost .words"), page.tab.locator(".cost .end")
        for name, n, size in (("H100", 8, 2048), ("GTX 580", 2, 128), ("T4", 1, 65536), ("A100", 1024, 128), ("H200", 256, 512)):
            card.select_option(name)
            count.fill(str(cost_explorer.COUNTS.index(n)))
            batch.fill(str(cost_explorer.BATCHES.index(size)))
            assert count.get_attribute("aria-valuetext") == f"{n:,}" and batch.get_attribute("aria-valuetext") == f"{size:,}"
            assert words.inner_text().startswith(f"{n:,} {name}, a batch of {size:,} in all: ")
            rows = [cells.split("\t") for cells in page.tab.locator(".cost tbody tr").all_inner_texts()]
            seconds = {}
            for (scheme, *shown), end in zip(rows, ends.all_text_contents(), strict=True):
                wide = [float(part.get_attribute("width")) for part in page.tab.locator(f".cost rect.{scheme}").all()]
                if n > size or (scheme, n) == ("towers", 1):
                    assert shown == ["–"] * 3 and not any(wide)
                    assert end == ("more cards than images" if n > size else "needs pairs of cards")
                    continue
                one = cost_model.step(PAPER, cost_model.devices()[name], size, n, scheme)
                seconds[scheme] = one.seconds
                parts = [one.forward, one.backward, one.update, one.exchange, one.reduce - one.hidden]
                np.testing.assert_allclose(wide / np.sum(wide), np.divide(parts, one.seconds), atol=0.01)
                hours = 90 * 1.2e6 / size * one.seconds / 3600
                np.testing.assert_allclose([float(cell.replace(",", "")) for cell in shown],
                                           [1000 * one.seconds, size / one.seconds, hours], rtol=0.01)  # fmt: skip
                assert end == f"{shown[0]} ms"
            fastest = min(seconds, key=seconds.get) if seconds else ""
            assert words.inner_text().endswith(f"{fastest} is fastest." if seconds else "more cards than images.")
        assert not found_by_axe(page) and not page.complaints and not page.asked


def test_the_cost_is_chosen_by_keyboard_fits_a_phone_and_stands_still_on_paper(chromium, book):
    with Opened(chromium, book / SCALING, width=360, dark=True) as page:
        tab_to(page, ".cost select")
        page.tab.keyboard.press("Tab")
        page.tab.keyboard.press("ArrowUp")
        assert page.tab.locator(".cost output").first.inner_text() == "16"
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= 360
        assert not found_by_axe(page)
        page.tab.emulate_media(media="print")
        assert page.tab.locator(".cost svg").is_visible() and not page.tab.locator(".cost [type=range]").first.is_visible()
    assert cost_explorer.figures(0.0012345) == "0.00123" and cost_explorer.figures(12345) == "12,300"
