#!/usr/bin/env python3
"""Builds the documentation as a site with search. `.ci/run site` calls it with everything it needs.

    build.py --mdbook MDBOOK --figures DIRECTORY --rustdoc DIRECTORY --out DIRECTORY

The pages are the Markdown files of the repository. This script generates formulas as MathML, the gallery of granule's
pictures, the page of the protocol, and the links to the documentation of the crates. It copies files of the repository
that a page links to. At the end it follows every link and anchor within the site.
"""

import argparse
import html
import posixpath
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[2]
TOP = ["README.md", "ARCHITECTURE.md", "BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md"]
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")


def with_formulas(text):
    """Converts formulas between dollars to MathML, outside of code."""
    pieces = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    for at in range(0, len(pieces), 2):
        formula = lambda match, display: convert(match[1].strip(), display=display)
        pieces[at] = re.sub(r"\$\$(.+?)\$\$", lambda match: formula(match, "block"), pieces[at], flags=re.S)
        pieces[at] = re.sub(r"(?<![\\\w$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\w)", lambda match: formula(match, "inline"), pieces[at])
    return "".join(pieces)


class Site:
    def __init__(self, source):
        self.source = source
        self.pages = {path: path.name for path in (ROOT / "docs").glob("*.md")}
        self.pages |= {ROOT / name: name for name in TOP}

    def target(self, page, link):
        """Returns the target of a page's link in the site. Copies the file if it is not a page."""
        parts = urlsplit(link)
        if parts.scheme or not parts.path:
            return link
        path = (page.parent / parts.path).resolve()
        if not path.exists():
            sys.exit(f"{page}: there is no {parts.path}")
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        if path in self.pages:
            # mdBook makes the index from the first page.
            return ("index.html" if path == ROOT / "README.md" else self.pages[path]) + anchor
        if path.is_dir():
            # A directory of the repository has no page.
            return None
        copy = Path("files") / path.relative_to(ROOT)
        (self.source / copy).parent.mkdir(parents=True, exist_ok=True)
        # A page of another directory is shown as text.
        if path.suffix == ".md":
            copy = copy.with_suffix(".txt")
        shutil.copy(path, self.source / copy)
        return copy.as_posix() + anchor

    def add_pages(self):
        for page, name in self.pages.items():
            def rewritten(match, page=page):
                target = self.target(page, match[2])
                return match[1] + target + match[3] if target else re.sub(r"^!?\[|\]\($", "", match[1])
            text = LINK.sub(rewritten, page.read_text(encoding="utf-8"))
            (self.source / name).write_text(with_formulas(text), encoding="utf-8")
        shutil.copy(ROOT / "docs/site/contents.txt", self.source / "SUMMARY.md")

    def add_gallery(self, figures):
        pictures = sorted(figures.rglob("*.svg"))
        if not pictures:
            sys.exit(f"{figures}: there are no figures")
        entries = []
        for picture in pictures:
            copy = Path("figures") / picture.relative_to(figures)
            (self.source / copy).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, self.source / copy)
            name = html.escape(copy.with_suffix("").relative_to("figures").as_posix())
            image = f'<img src="{copy.as_posix()}" alt="Figure {name} of the paper\'s sweep" loading="lazy">'
            entries.append(f'<figure><a href="{copy.as_posix()}">{image}</a><figcaption>{name}</figcaption></figure>')
        gallery = "# Picture gallery\n\nAll pictures that `granule figures out/paper` draws of the paper's sweep. [Figures](figures.md)\ndefines each of them.\n\n"
        (self.source / "gallery.md").write_text(gallery + f'<div class="gallery">\n{"".join(entries)}\n</div>\n', encoding="utf-8")

    def add_protocol(self):
        proto = (ROOT / "proto/proto/granule.proto").read_text(encoding="utf-8")
        page = "# Messages of the protocol\n\nCoordinator and workers exchange these messages over gRPC. This is `proto/proto/granule.proto`, from which the code is generated.\n\n"
        (self.source / "protocol.md").write_text(f"{page}```protobuf\n{proto}\n```\n", encoding="utf-8")

    def add_rustdoc(self, crates):
        lines = [f'- <a href="rustdoc/{crate.replace("-", "_")}/index.html">{crate}</a>' for crate in crates]
        page = "# Rust documentation\n\nThe documentation of each crate. [Architecture](ARCHITECTURE.md) says what each crate is for.\n\n"
        (self.source / "rustdoc.md").write_text(page + "\n".join(lines) + "\n", encoding="utf-8")


# Repairs of what axe finds in the theme of mdBook. Each change must apply, so that a new version of mdBook cannot disable it unnoticed.
REPAIRS = [
    # A label with the state of a button, which only a mouse can press.
    (
        r'(?s)<label id="mdbook-sidebar-toggle" class="icon-button" for="(mdbook-sidebar-toggle-anchor)"(.*?)</label>',
        r"""<button type="button" id="mdbook-sidebar-toggle" class="icon-button" onclick="document.getElementById('\1').click()"\2</button>""",
    ),
    # Content outside of landmarks.
    (r'<div id="mdbook-menu-bar" ', r'<div id="mdbook-menu-bar" role="banner" '),
    # Regions that scroll, but not with the keyboard.
    (r"<pre>", r'<pre tabindex="0">'),
    (r'<div class="table-wrapper">', r'<div class="table-wrapper" tabindex="0">'),
    (r'display="block">', r'display="block" tabindex="0">'),
    # Headers without text.
    (r"<thead>\s*<tr>(?:\s*<th[^>]*></th>)+\s*</tr>\s*</thead>", ""),
    (r"<th([^>]*)></th>", r"<td\1></td>"),
]


def repair(out):
    """Makes the pages accessible where the theme of mdBook is not."""
    applied = [0] * len(REPAIRS)
    for page in out.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for at, (pattern, instead) in enumerate(REPAIRS):
            text, count = re.subn(pattern, instead, text)
            applied[at] += count
        page.write_text(text, encoding="utf-8")
    unused = [pattern for (pattern, _), count in zip(REPAIRS, applied) if count == 0]
    if unused:
        sys.exit(f"these repairs of pages do not apply any more: {unused}")


class Links(HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        self.links += [attributes[key] for key in ("href", "src") if attributes.get(key)]


def broken_links(out):
    """Returns broken links within the site. Pages of rustdoc are only targets: rustdoc checks its own links."""
    parsed = {path: Links(path.read_text(encoding="utf-8")) for path in out.rglob("*.html") if "rustdoc" not in path.relative_to(out).parts}
    broken, followed = [], 0
    for page, found in parsed.items():
        for link in found.links:
            parts = urlsplit(link)
            # The page for addresses that do not exist has a link to the root of the server.
            if parts.scheme or parts.netloc or link == "/":
                continue
            followed += 1
            path = Path(posixpath.normpath((page.parent / unquote(parts.path)).as_posix())) if parts.path else page
            if path.is_dir():
                path /= "index.html"
            if not path.is_file():
                broken.append(f"{page.relative_to(out)}: {link}: no such file")
            elif parts.fragment and path in parsed and unquote(parts.fragment) not in parsed[path].anchors:
                broken.append(f"{page.relative_to(out)}: {link}: no such anchor")
    return broken, followed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mdbook", "figures", "rustdoc", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    work = out.with_name(out.name + "-source")
    for directory in (work, out):
        shutil.rmtree(directory, ignore_errors=True)
    (work / "src").mkdir(parents=True)
    for name in ("book.toml", "site.css"):
        shutil.copy(ROOT / "docs/site" / name, work)
    site = Site(work / "src")
    crates = sorted(path.parent.name.replace("_", "-") for path in arguments.rustdoc.glob("granule*/index.html"))
    if not crates:
        sys.exit(f"{arguments.rustdoc}: there is no documentation of crates")
    site.add_pages()
    site.add_gallery(arguments.figures)
    site.add_protocol()
    site.add_rustdoc(crates)
    subprocess.run([arguments.mdbook, "build", work, "--dest-dir", out], check=True)
    repair(out)
    shutil.copytree(arguments.rustdoc, out / "rustdoc", dirs_exist_ok=True)
    broken, followed = broken_links(out)
    print(f"{len(list(out.glob('*.html')))} pages, {followed} links")
    if broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
