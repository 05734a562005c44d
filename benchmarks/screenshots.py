"""Take pictures of the page: `python -m benchmarks.screenshots [FOLDER] [--roots FOLDER]`, by default into docs/images.

They show a store of real images (benchmarks/gallery.py), and need Debian's `chromium`, `chromium-driver`, `mmdebstrap`, `skopeo` and
`docker-registry`. The root file systems are kept in the folder of `--roots`, and made again if there is none.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from selenium.webdriver.chrome.webdriver import WebDriver

from benchmarks.engines import Engine, stowage
from benchmarks.gallery import fill
from benchmarks.workload import file_system
from tests.builders import Layout
from tests.conformance.browser import open_browser
from tests.fake_registry import FakeRegistry
from tests.ports import free_port


@dataclass(frozen=True)
class Shot:
    """A picture: its file, the path of the page, how wide it is and how much of it is shown in CSS pixels, and in which colours."""

    file: str
    path: str
    width: int = 1180
    height: int = 900
    dark: bool = False


SHOTS = (
    Shot("overview.png", "/ui/"),
    Shot("overview-dark.png", "/ui/", dark=True),
    Shot("overview-phone.png", "/ui/", 390, 1500),
    Shot("free.png", "/ui/free?want=120MB"),
    Shot("images.png", "/ui/images?sort=-size"),
    Shot("image.png", "/ui/images/team/api:1.3", height=1150),
    Shot("family.png", "/ui/family", height=760),
    Shot("files.png", "/ui/files/team/api:1.3", height=1150),
    Shot("difference.png", "/ui/difference?left=team/api:1.2&right=team/api:1.3", height=1050),
)
ACTIVITY = Shot("activity.png", "/ui/activity", height=760)
SLOW_LAYERS = (24, 9, 70)
"""The sizes in MiB of the layers of an image that is pulled while the last picture is taken."""


@contextmanager
def pulling(engine: Engine) -> Iterator[None]:
    """Have the engine pull an image from a slow registry meanwhile."""
    layout = Layout()
    image = layout.image([file_system(size, size) for size in SLOW_LAYERS], compression="none")
    layers = json.loads(layout.blobs[image["digest"]])["layers"]
    with FakeRegistry().serve() as registry, closing(engine.connect()) as connection:
        name = registry.publish(layout, image, repository="team/model")
        registry.rates = {layer["digest"]: layer["size"] // 30 for layer in layers}
        connection.request("POST", f"/images/create?fromImage={name}&tag=1", headers={"User-Agent": "Docker-Client/26.1.5 (linux)"})
        time.sleep(10)
        yield


def take(browser: WebDriver, address: str, shot: Shot, folder: Path) -> None:
    """Write one picture."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": shot.width, "height": shot.height, "deviceScaleFactor": 1.5, "mobile": shot.width < 600},
    )
    scheme = "dark" if shot.dark else "light"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get(address + shot.path)
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    (folder / shot.file).write_bytes(base64.b64decode(taken["data"]))


def main() -> None:
    """Fill a store, and take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1] / "docs" / "images")
    parser.add_argument("--roots", type=Path, help="folder of root file systems, to keep them")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as temporary:
        address = f"127.0.0.1:{free_port()}"
        with stowage(Path(temporary) / "root", address) as engine:
            fill(engine, options.roots or Path(temporary))
            browser = open_browser("--hide-scrollbars")
            try:
                for shot in SHOTS:
                    take(browser, f"http://{address}", shot, options.folder)
                with pulling(engine):
                    take(browser, f"http://{address}", ACTIVITY, options.folder)
            finally:
                browser.quit()


if __name__ == "__main__":
    main()
