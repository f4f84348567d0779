"""Checks that the PDF and the SVG of each figure look like its PNG, as poppler and librsvg draw them.

    python pictures.py DIRECTORY

The directory has figures in all three formats, as `granule figures` writes them. Needs numpy, matplotlib, pdftoppm,
rsvg-convert and cargo.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.image
import numpy as np

# Programs smooth edges in different ways, and place letters with subpixel precision. So pictures are compared as means
# of squares this many pixels wide. The means may differ by these parts of the range from black to white.
SQUARE = 8
BOUND = 0.25
MEAN_BOUND = 0.01


def dots_per_inch(png):
    """Returns the resolution in the PNG's chunk pHYs, which has pixels per metre."""
    content = png.read_bytes()
    begin = content.index(b"pHYs") + 4
    return round(struct.unpack(">I", content[begin : begin + 4])[0] * 0.0254)


def squares(path):
    pixels = matplotlib.image.imread(path)
    pixels = pixels[..., :3] if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    height, width = (side // SQUARE for side in pixels.shape[:2])
    pixels = pixels[: height * SQUARE, : width * SQUARE]
    return pixels.reshape(height, SQUARE, width, SQUARE, 3).mean(axis=(1, 3))


def font_settings(directory):
    """Writes a configuration with which librsvg finds granule's fonts."""
    command = ("cargo", "metadata", "--format-version", "1", "--locked", "--offline")
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    crate = next(Path(package["manifest_path"]).parent for package in packages if package["name"] == "notosans")
    settings = directory / "fonts.conf"
    settings.write_text(f"<fontconfig><dir>{crate}/fonts</dir><cachedir>{directory}/cache</cachedir></fontconfig>")
    return settings


def compare(png, drawn):
    expected, actual = squares(png), squares(drawn)
    # Programs round the sides differently, by a pixel.
    height, width = (min(sides) for sides in zip(expected.shape[:2], actual.shape[:2]))
    assert max(expected.shape[0] - height, expected.shape[1] - width) <= 1, f"{png}: {expected.shape} {actual.shape}"
    difference = np.abs(expected[:height, :width] - actual[:height, :width])
    return difference.max(), difference.mean()


def main():
    pngs = sorted(Path(sys.argv[1]).rglob("*.png"))
    assert pngs, "no figures"
    worst = {}
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        environment = {**os.environ, "FONTCONFIG_FILE": str(font_settings(directory))}
        for png in pngs:
            dots = str(dots_per_inch(png))
            drawn = directory / "drawn.png"
            pdf, svg = png.with_suffix(".pdf"), png.with_suffix(".svg")
            for what, command in {
                "PDF": ("pdftoppm", "-r", dots, "-png", "-singlefile", pdf, drawn.with_suffix("")),
                "SVG": ("rsvg-convert", "-d", dots, "-p", dots, "-o", drawn, svg),
            }.items():
                subprocess.run(command, check=True, env=environment)
                largest, mean = compare(png, drawn)
                worst[what] = max(worst.get(what, (0, 0, "")), (largest, mean, str(png)))
                assert largest < BOUND and mean < MEAN_BOUND, f"{what} of {png}: {largest:.3f}, on average {mean:.5f}"
    print(len(pngs), "figures;", ", ".join(f"{what} differs by {at[0]:.3f} at most" for what, at in worst.items()))


main()
