"""The Chinese pages: made from the English as it is now, complete, marked as Chinese, and found by Chinese words."""

import copy
import json
import os
import re
from dataclasses import asdict, replace
from string import Formatter

import chinese
import ledger
import pdf
import pytest
import translations
import yaml
from browsing import Opened
from helpers import ROOT, words
from ledgers import BASE, pair, run, shifted

from alexnet_lib import InputError
from alexnet_lib.book import cards
from alexnet_lib.evidence import claims, verdicts
from alexnet_lib.evidence.language import Language, Said, read

LEDGER, ZH = claims.ledger(), Language("zh")
PAGES = sorted(translations.SOURCES)
CHAPTERS = yaml.safe_load((ROOT / "book" / "chapters.yml").read_text())["chapters"]
WITH_BROWSER = pytest.mark.skipif(
    not pdf.browser() and "REQUIRE_BROWSER" not in os.environ, reason="chromium is not installed; .ci/run requires it"
)


def test_every_chinese_text_is_made_from_the_english_as_it_is():
    assert not translations.outdated(), "read the Chinese beside what changed, then: python tools/translations.py --accept"


def test_a_change_of_the_english_is_said_with_its_page_and_its_source(monkeypatch):
    english, there = translations.english, chinese.glossary()
    changed = LEDGER | {"lrn": replace(LEDGER["lrn"], paper="-1.5 points"), "new": replace(LEDGER["lrn"], id="new")}
    changed.pop("k-two")
    monkeypatch.setattr(translations, "english", lambda source: english(source) + " more" * ("claims.md" in source))
    monkeypatch.setattr(claims, "ledger", lambda: changed)
    monkeypatch.setattr(chinese, "glossary", lambda: there | {"kernel": ("卷积核", "Something else.")})
    assert translations.outdated() == [
        "book/zh_claims.md: book/claims.md has changed",
        "book/glossary_zh.yml: kernel has changed",
        "alexnet_lib/evidence/claims_zh.json: k-two is gone: take it out",
        "alexnet_lib/evidence/claims_zh.json: lrn has changed",
        "alexnet_lib/evidence/claims_zh.json: new is new",
    ]


def test_a_chapter_s_opening_and_its_three_lines_are_what_the_chinese_page_says_again():
    text = translations.english("notebooks/04_overlapping_pooling.ipynb")
    assert text.startswith("# Overlapping pooling") and "**In three lines.**" in text and "## Exercises" not in text
    assert "ablation" not in translations.english("book/glossary.md")


def test_checksums_are_written_where_they_are_read(monkeypatch, tmp_path):
    for name in (*PAGES, "book/glossary_zh.yml", "alexnet_lib/evidence/claims_zh.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(
            re.sub(r'((?:"of"|of|\.md|\.ipynb): "?)\w{8}\b', r"\g<1>00000000", (ROOT / name).read_text())
        )
    english = {name: translations.english(name) for names in translations.SOURCES.values() for name in names}
    monkeypatch.setattr(translations, "english", english.get)
    monkeypatch.setattr(translations, "ROOT", tmp_path)
    monkeypatch.setattr(translations, "GLOSSARY", tmp_path / "book/glossary_zh.yml")
    monkeypatch.setattr(translations, "CLAIMS", tmp_path / "alexnet_lib/evidence/claims_zh.json")
    translations.accept()
    for path in tmp_path.rglob("*.*"):
        assert path.read_text() == (ROOT / path.relative_to(tmp_path)).read_text(), path.name


def test_every_sentence_of_the_ledger_can_be_said_in_chinese():
    """The verdicts there are, and those that may come: of every word, of runs that get nowhere or cannot be compared."""
    speed = LEDGER["relu-speed-2012"]
    curves = {"fast": [[60, 20], [60, 22]], "slow": [[60, 50], [70, 60]], "late": [[70, 40, 24], [71, 40, 22]]}
    judged = [(LEDGER[name], verdict) for name, verdict in verdicts.verdicts().items()]
    for arm, control in (("fast", "slow"), ("slow", "fast"), ("slow", "slow"), ("fast", "late")):
        found = [run("relu", s, c) for s, c in enumerate(curves[arm])] + [
            run("tanh", s, c) for s, c in enumerate(curves[control])
        ]
        judged += [(speed, verdicts.judge(speed, found, planned=planned)) for planned in (2, 5)]
    for by, noise in ((-1.4, 0), (0, 3.0), (0, 0), (-0.75, 0.1), (1.4, 0)):
        judged.append((LEDGER["lrn"], pair("lrn", shifted(by, noise), BASE)))
    for facts in ({"sums": ("a", "c")}, {"sums": ("x", "b")}, {"device": "H100"}):
        judged.append((LEDGER["lrn"], pair("lrn", shifted(-1.4), BASE, **facts)))
    assert {verdict.word for _, verdict in judged} == set(verdicts.WORDS)
    for claim, verdict in judged:
        for holds in (True, False):
            card = cards.Card([claim.id], {claim.id: verdict}, {claim.id: holds}, ZH)._repr_html_()
        shown = re.sub(r"<[^>]*>|\{[^}]*\}", " ", card) + cards.sentence(claim, verdict, ZH)
        assert not re.search(
            r"\b(the|of|runs?|seeds?|points|where|far|least|most)\b", re.sub(r"`[^`]*`|python -m .*", "", shown)
        ), shown
    waiting = next(verdict for _, verdict in judged if verdict.word == "not measured yet")
    every = verdicts.verdicts() | {"lrn": waiting}
    said = cards.tally_text(every, ZH) + ledger.controls(every, ZH) + ledger.picture(every, ZH)
    said += ledger.shared_runs(every, {}, 0.0, ZH) + ledger.shared_runs(every, {"lrn": True}, 1.5, ZH)
    assert "尚未测量" in said and "claims</span>" not in said


def test_what_stands_in_a_row_has_the_comma_of_its_language():
    found = [run(arm, 1, sums=sums, test_top1_error=20.0) for arm, sums in (("whole", ("a", "b")), ("no_lrn", ("c", "b")))]
    judged = verdicts.judge(LEDGER["lrn"], found)
    assert judged.source == "set-a, set-b, set-c, cpu"
    assert ZH(judged.source) == "set-a，set-b，set-c，cpu"
    assert judged.reason.endswith("(set-a, set-c)") and ZH(judged.reason).endswith("（set-a，set-c）")


def test_a_sentence_without_a_translation_is_an_error_and_not_english():
    with pytest.raises(InputError, match="has no 'a new sentence'"):
        ZH("a new sentence")
    with pytest.raises(InputError, match="has no 'new'"):
        ZH.claim(replace(LEDGER["lrn"], id="new"))
    with pytest.raises(InputError, match="language"):
        Language("de")


def test_translations_are_filled_with_what_the_english_is_filled_with():
    def fields(text):
        return sorted((name, form) for _, name, form, _ in Formatter().parse(text) if name is not None)

    for template, its in read("words_zh.json").items():
        assert fields(template) == fields(its), template


def test_a_sentence_is_english_text_and_survives_a_copy():
    said = Said("so far {value}", value=Said("{count} of {runs}", count=1, runs=8))
    assert said == "so far 1 of 8" and json.loads(json.dumps({"value": said})) == {"value": "so far 1 of 8"}
    assert ZH(copy.deepcopy(said)) == ZH(said) == "目前 1 / 8"
    assert asdict(verdicts.Verdict("undecided", value=said))["value"] == said


def test_the_chinese_ledger_has_every_claim_its_rule_and_its_verdict(book):
    shown = words(book, "book/zh_claims")
    for name, claim in LEDGER.items():
        for text in (ZH.claim(claim).claim, ZH(verdicts.judge(claim).word), ZH(claims.rule_in_words(claim))):
            assert " ".join(text.split()) in shown, f"{name}: {text}"
    table = (ROOT / "book" / "zh_claims.md").read_text().split("| --- | --- |")[1].split("\n\n")[0]
    explained = [word for row in table.strip().splitlines() for word in row.split("|")[1].strip().split("、")]
    assert sorted(explained) == sorted(ZH(word) for word in verdicts.WORDS)
    assert (
        len(list((book / "_static").glob("claims.*"))) == 2
        and "../_static/claims.csv" in (book / "book/zh_claims.html").read_text()
    )


def test_the_chinese_introduction_names_every_claim_and_every_chapter_and_types_no_verdict(book):
    shown, page = words(book, "book/zh"), (book / "book" / "zh.html").read_text()
    for name, claim in LEDGER.items():
        verdict = verdicts.judge(claim)
        text = re.sub(r"[*`]", "", cards.sentence(claim, verdict, ZH, command=False))
        assert re.sub(r"\s", "", text) in re.sub(r"\s", "", shown), name
    for chapter in CHAPTERS:
        assert f'href="../notebooks/{chapter}.html"' in page
    source = (ROOT / "book" / "zh.md").read_text().replace("“尚未测量”", "")
    assert not [word for word in verdicts.WORDS if ZH(word) in source]


def test_the_chinese_glossary_explains_every_term(book):
    page = (book / "book" / "zh_glossary.html").read_text()
    for term, (its, _) in chinese.glossary().items():
        anchor = chinese.anchors()[its]
        assert re.search(rf'<dt id="{anchor}">\s*{its}', page), its
        assert len(re.findall(r"[\u4e00-\u9fff]", chinese.definitions()[term]["zh"])) > 8, term
    names = re.findall(r'<dt id="zh-[^"]*">\s*([^<]+)<', page)
    assert names[0] == "半衰期" and names[-1] == "转置卷积" and len(names) == len(chinese.glossary())
    for name in PAGES:
        for anchor in re.findall(r'href="(?:zh_glossary.html)?#(zh-[^"]+)"', (book / name.replace(".md", ".html")).read_text()):
            assert f'id="{anchor}"' in page


def test_chinese_is_marked_as_chinese_and_the_first_page_leads_there(book):
    for name in PAGES:
        page = (book / name.replace(".md", ".html")).read_text()
        assert re.search(r'<article class="bd-article">\s*<section [^>]*lang="zh"[^>]*>\s*<h1>', page), name
    assert 'lang="zh"' not in (book / "book" / "symbols.html").read_text()
    assert (
        '<a class="reference internal" href="zh.html" lang="zh"><span class="std std-doc">中文</span></a>'
        in (book / "book" / "intro.html").read_text()
    )
    assert '<dt id="zh-kernel"' in (book / "book" / "zh_glossary.html").read_text()


@WITH_BROWSER
@pytest.mark.parametrize("word", ["局部响应归一化", "重叠池化", "过拟合", "池化", "数据增强", "多 GPU 训练", "权重初始化"])
def test_a_chinese_word_finds_its_chapter(chromium, book, word):
    with Opened(chromium, book / "search.html") as page:
        page.tab.fill("input[name=q]:visible", word)
        page.tab.keyboard.press("Enter")
        page.tab.wait_for_function("/finished|did not match/.test(document.querySelector('.search-summary')?.textContent)")
        found = page.tab.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
        for chapter, its in CHAPTERS.items():
            if word in its["zh"]:
                assert any(f"/{chapter}.html" in link for link in found), (chapter, found)


@WITH_BROWSER
def test_the_chinese_ledger_is_filtered_and_its_pages_are_named_in_chinese(chromium, book):
    counts = verdicts.tally()
    with Opened(chromium, book / "book" / "zh_claims.html", width=360) as page:
        page.tab.select_option("#ledger-word", label="已复现")
        assert page.tab.inner_text("#ledger-count") == f"显示 {counts['reproduced']} 项，共 {len(LEDGER)} 项"
        assert page.tab.locator("table.claims tbody tr:visible").count() == counts["reproduced"]
        page.tab.select_option("#ledger-word", "")
        page.tab.fill("#ledger-text", "重叠池化")
        assert 0 < page.tab.locator("table.claims tbody tr:visible").count() < 9
        marked = page.tab.evaluate(
            "[...document.querySelectorAll('.bd-sidebar-primary a[lang=zh]')].map(a => a.textContent.trim())"
        )
        assert marked == ["中文导读", "论断与判定", "术语表"]
        assert not page.complaints and not page.asked
