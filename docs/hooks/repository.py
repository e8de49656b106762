"""Pages from the repository's root, and links to files that are not part of the site."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root; their links are relative to the root."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        inside = re.sub(r"\]\(docs/", "](", text)
        outside = re.sub(r"\]\((?!https?:|#|\w+\.md)", "](../", inside)
        files.append(File.generated(config, page, content=outside))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that leave docs/ at the repository."""
    return re.sub(r"\]\(\.\./(?=[^)])", f"]({config.repo_url}/blob/main/", markdown)
