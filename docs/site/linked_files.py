"""Makes the project's files that pages link to, such as its README and benchmarks' results, part of the site.

The README is the site's first page. A link of a page that leads out of `docs`, and a link of what it leads to, is
followed: a page of Markdown becomes a page of the site, anything else a file of it, below `project/` under the path that it
has there. A folder stands for its README.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=(?:#[^)\s]*)?\))")  # the path in [text](path#anchor) and ![text](path)


def in_project(uri: str) -> str:
    """The path in the project of a page of the site."""
    if uri == "index.md":
        return "README.md"
    return uri.removeprefix("project/") if uri.startswith("project/") else f"docs/{uri}"


def in_site(path: str) -> str:
    """The place in the site of a file of the project."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else f"project/{path}"


def target(source: str, link: str) -> str:
    """The file of the project that `source`, one of its pages, links to; "" if it isn't there."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if (ROOT / path).is_dir():
        path = posixpath.join(path, "README.md")
    return path if (ROOT / path).is_file() else ""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the first page, what pages link to, and what that links to in its turn."""
    waiting = ["README.md", *(in_project(file.src_uri) for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        uri = in_site(source)
        if files.get_file_from_path(uri) is None:
            level = InclusionLevel.INCLUDED if uri == "index.md" else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / source), inclusion=level))
        if source.endswith(".md"):
            found = {target(source, link) for link in LINK.findall((ROOT / source).read_text())} - seen - {""}
            seen |= found
            waiting += found
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Has links lead to where the files are in the site; those that lead nowhere stay, and stop the build."""
    here = page.file.src_uri

    def placed(match: re.Match[str]) -> str:
        found = target(in_project(here), match[1])
        return posixpath.relpath(in_site(found), posixpath.dirname(here) or ".") if found else match[1]

    return LINK.sub(placed, markdown)
