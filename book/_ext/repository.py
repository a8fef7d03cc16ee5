"""The links to the repository, where there is one: its address is the value of BOOK_REPOSITORY when the book is built.

The buttons open the branch `launch`, whose notebooks begin with the cell that fetches the library (tools/launch.py).
"""

import os

BRANCH = "launch"


def point_to(app, config) -> None:
    address = os.environ.get("BOOK_REPOSITORY", "").removesuffix(".git").rstrip("/")
    options = config.html_theme_options
    if not address:
        options.pop("launch_buttons", None)
        return
    options |= {
        "repository_url": address,
        "repository_branch": BRANCH,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
    }


def setup(app) -> dict:
    app.connect("config-inited", point_to, priority=100)  # before the theme reads its options
    return {"parallel_read_safe": True, "parallel_write_safe": True}
