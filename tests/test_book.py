"""The book: it builds without a warning, is complete, and asks nothing of the network."""

import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from urllib.parse import unquote

import code_links
import draw_network
import front
import jpeg
import nbformat
import readme
import reference
import repository
import yaml
from helpers import ROOT, listed, words
from PIL import Image, JpegImagePlugin

from alexnet_lib import ModelConfig
from alexnet_lib.book.diagram import overview
from alexnet_lib.book.differences import differences
from alexnet_lib.evidence import claims, records, verdicts

# Elements that a browser loads by itself; a link that a reader may follow is not one.
LOADED = {"src", "srcset", "poster"}
LOADED_LINKS = {"stylesheet", "icon", "shortcut icon", "preload", "modulepreload", "preconnect", "dns-prefetch"}
ADDRESS = re.compile(r"(https?:)?//")


def test_every_page_and_notebook_is_there(book):
    for name in listed():
        assert (book / f"{name}.html").is_file()
    notebooks = {f"notebooks/{p.stem}" for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks <= set(listed())


class Loads(HTMLParser):
    def __init__(self):
        super().__init__()
        self.addresses, self.pictures = [], []

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        self.addresses += [values[name] for name in LOADED & set(values)]
        self.addresses += re.findall(r"url\([\"']?([^\"')]+)", values.get("style", ""))
        if tag == "link" and values.get("rel") in LOADED_LINKS:
            self.addresses.append(values.get("href", ""))
        if tag == "object":
            self.addresses.append(values.get("data", ""))
        if tag == "img":
            self.pictures.append(values)


def loads(text: str) -> Loads:
    found = Loads()
    found.feed(text)
    return found


def test_no_page_loads_anything_from_the_network(book):
    for page in book.rglob("*.html"):
        assert not [a for a in loads(page.read_text()).addresses if ADDRESS.match(a)], page.name
    for sheet in book.rglob("*.css"):
        named = re.findall(r"(?:@import\s+|url\(\s*)[\"']?([^\"')\s;]+)", sheet.read_text())
        assert not [a for a in named if ADDRESS.match(a)], sheet.name


def test_what_would_be_loaded_is_found():
    page = '<link rel="stylesheet" href="//a/b.css"><script src="https://a/b.js"></script><a href="https://a"></a>'
    assert [a for a in loads(page).addresses if ADDRESS.match(a)] == ["//a/b.css", "https://a/b.js"]


def test_every_picture_of_the_book_has_words_in_its_place(book):
    for name in listed():
        for picture in loads((book / f"{name}.html").read_text()).pictures:
            words = picture.get("alt", "")  # Sphinx puts the file's name where there is none
            assert len(words.split()) >= 3 or "_images" not in picture["src"], f"{name}: {picture['src']} has alt {words!r}"


def test_no_page_has_three_megabytes(book):
    """With its own pictures; what the theme brings serves all pages."""
    sizes = {}
    for name in listed():
        page = book / f"{name}.html"
        pictures = {picture["src"].split("?")[0] for picture in loads(page.read_text()).pictures if "_images" in picture["src"]}
        sizes[name] = sum(path.stat().st_size for path in (page, *(page.parent / unquote(picture) for picture in pictures)))
    assert not {name: size for name, size in sizes.items() if size >= 3e6}


def test_the_first_picture_is_drawn_from_the_preset():
    assert draw_network.FILE.read_text() == overview(ModelConfig.preset("paper"))


def test_the_claims_page_has_every_claim_and_its_rule(book):
    shown = words(book, "book/claims")
    for name, claim in claims.ledger().items():
        for said in (claim.claim, verdicts.judge(claim).word, claims.rule_in_words(claim)[:40]):
            assert " ".join(said.split()) in shown, f"{name}: {said}"


def test_a_claim_that_is_not_the_paper_s_has_no_section_of_it():
    assert not [name for name, c in claims.ledger().items() if c.paper == "not in the paper" and c.section[0].isdigit()]


def test_the_data_card_says_what_jpeg_costs_in_pixels():
    assert jpeg.sentence("photos10") in " ".join((ROOT / "book" / "data_cards.md").read_text().split())


def test_the_jpeg_copy_is_coded_as_its_data_card_says(samples):
    like = io.BytesIO()
    Image.new("RGB", (32, 32)).save(like, "JPEG", **jpeg.CODING)
    for path in list((samples / "cifar10-jpeg" / "test" / "cat").iterdir())[:5]:
        with Image.open(path) as there, Image.open(like) as made:
            assert there.quantization == made.quantization
            assert JpegImagePlugin.get_sampling(there) == JpegImagePlugin.get_sampling(made)


def test_the_table_of_trainings_is_made_from_the_presets(book):
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (book / "book" / "many_machines.html").read_text()))
    for line in differences("paper", "code_2012", "fast").splitlines()[2:]:
        assert " ".join(line.replace("|", " ").split()) in shown


def test_the_readme_is_up_to_date():
    """Its tree names every file of the library and the length of the core, and its tally is the ledger's."""
    assert readme.README.read_text() == readme.written(), "run python tools/readme.py"
    tree = readme.README.read_text()
    assert "the core, about " in tree
    for path in (ROOT / "alexnet_lib").rglob("*.py"):
        assert path.stem == "__init__" or f"  {path.name} " in tree


def test_the_readme_gives_the_recorded_error_and_time():
    record = records.read(records.results_root() / front.RUN)
    said = f"{record['training_seconds'] / 60:.0f} minutes ({record['metrics']['test_top1_error']:.1f} % test error"
    assert said in readme.README.read_text()


def test_the_first_page_has_the_tally_the_training_and_every_chapter(book):
    shown = words(book, "book/intro")
    for word, count in verdicts.tally().items():
        assert f"{count} {word}" in shown
    assert (
        f"{records.read(records.results_root() / front.RUN)['metrics']['test_top1_error']:.1f} % of the test images wrong"
        in shown
    )
    chapters = yaml.safe_load(front.CHAPTERS.read_text())
    assert [f"notebooks/{name}" for name in chapters["chapters"]] == [p for p in listed() if p.startswith("notebooks/")]
    for section in chapters["sections"]:
        for module in section["code"]:
            assert f'href="api.html#module-{module}"' in (book / "book" / "intro.html").read_text()


def test_the_first_page_opens_with_what_the_records_say(book):
    page, judged = (book / "book" / "intro.html").read_text(), verdicts.verdicts()
    for word in verdicts.tally(judged):
        assert f'href="claims.html?verdict={word.replace(" ", "+")}#the-ledger"' in page
    shown = re.findall(r'<li data-verdict="([^"]+)"><a href="claims.html#claim-([\w-]+)">', page)
    assert len(shown) >= 3 and all(judged[name].word == word for word, name in shown)
    said = f"{judged['tower-specialisation'].word} ({judged['tower-specialisation'].value} runs)"
    assert said in words(book, "book/intro")
    gap = records.read(records.results_root() / front.RUN)["metrics"]["tower_selectivity_gap"]
    assert f"differ by {gap:.2f}." in page


def test_names_of_the_library_in_code_lead_to_their_entries(book):
    there = set(re.findall(r'id="([\w.]+)"', (book / "book" / "api.html").read_text()))
    for name in (each for each in listed() if each.startswith("notebooks/")):
        links = re.findall(r'<a class="to-entry" href="\.\./book/api\.html#([\w.]+)"', (book / f"{name}.html").read_text())
        assert links and set(links) <= there, name


def test_only_what_a_chapter_imports_is_linked_and_once_a_block():
    name, dot = '<span class="n">{}</span>'.format, '<span class="o">.</span>'
    code = name("fit") + name("net") + dot + name("fit") + name("layers") + dot + name("conv_out") + name("fit") + name("other")
    found = code_links.linked(code, {"fit": "a.fit"}, {"layers": "alexnet_lib.layers"}, "api.html")
    assert re.findall(r'href="api.html#([\w.]+)">(.*?)</a>', found) == [
        ("a.fit", name("fit")),
        ("alexnet_lib.layers.conv_out", name("layers") + dot + name("conv_out")),
    ]
    assert re.sub(r"</?a[^>]*>", "", found) == code


def test_signatures_are_written_as_python_is(book):
    page = (book / "book" / "api.html").read_text()
    signatures = [re.sub(r"<[^>]+>", "", found) for found in re.findall(r'<dt class="sig.*?</dt>', page, re.S)]
    assert not [said for said in signatures if re.search(r"~|typing\.|&lt;factory|alexnet_lib\.\w+\.[A-Z]|Annotated", said)]
    said = "Side in pixels of the images that its crops are cut from: 256 for 224"
    assert said in words(book, "book/api")  # of a property, whose first words are no type


def test_the_reference_has_every_public_entry_and_its_chapters(book):
    shown = (book / "book" / "api.html").read_text()
    for module in reference.modules():
        for name in reference.public(module).values():
            assert f'id="{name}"' in shown, name
    assert "Used in chapters" in shown and "Alias for field number" not in shown and "–data" not in shown
    assert "parameters, gradients, velocity; image; kept: what autograd" in shown  # none of which is a type
    assert 'api.html#alexnet_lib.model.AlexNet"' in (book / "notebooks" / "05_architecture.html").read_text()


def test_every_exercise_is_listed_and_leads_there(book):
    shown = (book / "book" / "lists.html").read_text()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            for label in re.findall(r"{exercise}[^\n]*\n:label: (\S+)", cell.source):
                assert f'href="../notebooks/{path.stem}.html#{label}"' in shown
                assert f'id="{label}"' in (book / "notebooks" / f"{path.stem}.html").read_text()


def test_every_word_of_the_glossary_has_its_chinese_name():
    lines = (ROOT / "book" / "glossary.md").read_text().split("```{glossary}\n")[1].split("\n```")[0].splitlines()
    terms = [line for line in lines if line and not line.startswith(" ")]
    assert all(
        re.match(r"[A-Za-z]", word) and re.match(r"[\u4e00-\u9fff]", its)
        for word, its in zip(terms[::2], terms[1::2], strict=True)
    )


def test_buttons_are_shown_where_the_repository_is_named_and_only_there(book, monkeypatch):
    shown = (book / "notebooks" / "01_relu.html").read_text()
    assert "colab" not in shown and "mybinder" not in shown and "github.com" not in shown
    config = SimpleNamespace(html_theme_options={"launch_buttons": {"colab_url": "x"}})
    monkeypatch.setenv("BOOK_REPOSITORY", "https://github.com/someone/book.git")
    repository.point_to(None, config)
    options = config.html_theme_options
    assert options["repository_url"] == "https://github.com/someone/book" and options["launch_buttons"]


def test_versions_agree():
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
