"""The bibliography's order: by author, organisations among the people, as the text cites them (bibtex_default_style: book)."""

from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.sorting.author_year_title import SortingStyle


class ByAuthor(SortingStyle):
    def person_key(self, person) -> str:
        return super().person_key(person).replace("{", "")  # which keeps the words of an organisation's name together


class Book(Style):
    default_sorting_style = "by_author"


def setup(app) -> dict:
    register_plugin("pybtex.style.sorting", "by_author", ByAuthor)
    register_plugin("pybtex.style.formatting", "book", Book)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
