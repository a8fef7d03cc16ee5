"""The Chinese pages: their glossary, their words in the index and the search, and what is marked as Chinese.

{chinese-glossary} makes the glossary from the terms of glossary.md and the definitions of glossary_zh.yml; {cn}`重叠池化` links to
its entry there. A page whose front matter says `lang: zh` is Chinese. `zh` in chapters.yml has the words that lead to a chapter.
"""

import re
from functools import cache
from pathlib import Path

import yaml
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import ReferenceRole, SphinxDirective

BOOK = Path(__file__).parents[1]
PAGE = "book/zh_glossary"
HAN = re.compile(r"[\u4e00-\u9fff]")


def glossary() -> dict[str, tuple[str, str]]:
    """English term -> (Chinese term, English definition), from glossary.md."""
    text = (BOOK / "glossary.md").read_text(encoding="utf-8").split("```{glossary}\n")[1].split("\n```\n")[0]
    entries = re.findall(r"^(\S.*)\n(\S.*)\n((?:  .*\n?|\n(?=  ))+)", text + "\n", flags=re.M)
    return {term: (its, re.sub(r"^  ", "", said, flags=re.M).strip()) for term, its, said in entries}


def definitions() -> dict[str, dict]:
    """English term -> zh, the definition in Chinese, and of, the checksum of the English one that it was made from."""
    return yaml.safe_load((BOOK / "glossary_zh.yml").read_text(encoding="utf-8"))


@cache
def anchors() -> dict[str, str]:
    """Chinese term -> the id of its entry on the Chinese page."""
    return {its: "zh-" + nodes.make_id(term) for term, (its, _) in glossary().items()}


class ChineseGlossary(SphinxDirective):
    """Every term, by the sound of its Chinese name: the common characters stand in that order in GBK, which has 重 as zhòng."""

    def run(self) -> list:
        for name in ("glossary.md", "glossary_zh.yml"):
            self.env.note_dependency(str(BOOK / name))
        entries, said = nodes.definition_list(classes=["glossary"]), definitions()
        for term, (its, _) in sorted(glossary().items(), key=lambda entry: entry[1][0].replace("重叠", "崇叠").encode("gbk")):
            anchor = anchors()[its]
            chinese = nodes.term("", its, addnodes.index(entries=[("single", its, anchor, "main", None)]), ids=[anchor])
            english = nodes.term("", "", *self.parse_inline(f"{{term}}`{term}`")[0], classes=["language-en"])
            meaning = nodes.definition("", *self.parse_text_to_nodes(said[term]["zh"]))
            entries += nodes.definition_list_item("", chinese, english, meaning)
        return [entries]


class Term(ReferenceRole):
    """A link to an entry of the Chinese glossary; {cn}`words <term>` gives it other words."""

    def run(self):
        if self.target not in anchors():
            message = self.inliner.reporter.error(f"the glossary has no Chinese term {self.target!r}", line=self.lineno)
            return [nodes.problematic("", self.text)], [message]
        to = self.env.app.builder.get_relative_uri(self.env.docname, PAGE) + "#" + anchors()[self.target]
        return [nodes.reference("", self.title, refuri=to, internal=True)], []


def say_language(app, doctree) -> None:
    """Marks Chinese, for fonts and for voices: docutils makes lang="zh" of the class. A page of that language as a whole,
    and elsewhere the terms of the glossary."""
    if app.env.metadata[app.env.docname].get("lang") == "zh":
        for section in doctree.children:
            if isinstance(section, nodes.section):
                section["classes"].append("language-zh")
        return
    for term in doctree.findall(nodes.term):
        if HAN.match(term.astext()):
            term["classes"].append("language-zh")


class ChineseWords(SphinxTransform):
    """A chapter's Chinese words become entries of the index, where the search looks too."""

    default_priority = 500  # before Sphinx collects the entries

    def apply(self) -> None:
        chapters = yaml.safe_load((BOOK / "chapters.yml").read_text(encoding="utf-8"))["chapters"]
        words = chapters.get(self.env.docname.removeprefix("notebooks/"), {}).get("zh", ())
        first = next(iter(self.document.findall(nodes.section)), None)
        if first is not None and words:
            self.env.note_dependency(str(BOOK / "chapters.yml"))
            first.insert(1, addnodes.index(entries=[("single", word, first["ids"][0], "main", None) for word in words]))


def setup(app) -> dict:
    app.add_directive("chinese-glossary", ChineseGlossary)
    app.add_role("cn", Term())
    app.connect("doctree-read", say_language)
    app.add_transform(ChineseWords)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
