"""Draw docs/assets/viewer.png: the viewer with both methods side by side, and the panel of a pixel.

deepcrop demo --out demo
python benchmarks/viewer_picture.py demo/maps demo/region.zarr docs/assets/viewer.png

Needs Chromium, at the path below, and the package playwright.
"""

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import sleep

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PORT = 8793


def main() -> None:
    maps, cube, out = map(Path, sys.argv[1:])
    address = f"http://127.0.0.1:{PORT}/"
    command = [sys.executable, "-m", "deepcrop", "view", maps, "--cube", cube, "--port", str(PORT)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            while not answers(address):
                sleep(0.2)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                page.goto(address)
                page.wait_for_timeout(4000)
                page.get_by_label("Compare side by side").check()
                box = page.locator("#map-left").bounding_box()
                page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.45 * box["height"])
                page.locator(".spread").first.wait_for()  # the last of the charts
                page.wait_for_timeout(4000)
                page.screenshot(path=out)
                browser.close()
        finally:
            server.terminate()


def answers(address: str) -> bool:
    """Whether the server is up."""
    try:
        return urllib.request.urlopen(address).status == 200
    except urllib.error.URLError:
        return False


if __name__ == "__main__":
    main()
