"""Somebody at a browser that has never been anywhere: Debian's chromium, driven by selenium."""

from __future__ import annotations

import json
import shutil
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # seconds
_FAINT = """
    const numbers = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
    const light = (colour) => {
        const [r, g, b] = numbers(colour).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        for (; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor, alpha = numbers(colour)[3];
            if (alpha !== 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const faint = [];
    for (const one of document.querySelectorAll("body *")) {
        const text = [...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!text || !one.checkVisibility() || one.closest("script, style, .off")) continue;
        const a = light(getComputedStyle(one).color), b = light(behind(one));
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faint.push(`${one.outerHTML.slice(0, 80)} ${contrast.toFixed(2)}`);
    }
    return faint;
"""
_PHONE = 600  # pixels, which no phone has


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """Run a browser that has never been anywhere, for the time of a block."""
    from selenium import webdriver  # noqa: PLC0415 - it may be missing

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for option in (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
        *("--window-size=1280,1100", f"--user-data-dir={folder}"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


class Person:
    """Somebody at a browser.

    Attributes:
        driver: What drives it.
        home: What is before each path.
    """

    def __init__(self, driver: Any, home: str, pictures: Path | None) -> None:
        self.driver = driver
        self.home = home
        self._pictures = pictures

    def go(self, path: str) -> None:
        """Go to a page."""
        self.driver.get(f"{self.home}{path}")

    def find(self, css: str) -> Any:
        """Find one thing on the page."""
        return self.driver.find_element("css selector", css)

    def count(self, css: str) -> int:
        """Count what is on the page."""
        return len(self.driver.find_elements("css selector", css))

    def click(self, css: str) -> None:
        """Click what leads to another page, and wait until that is there."""
        before = self.find("html")
        self.find(css).click()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(Exception):  # between two pages there is none
                if self.find("html") != before and self.script("return document.readyState") == (
                    "complete"
                ):
                    return
            time.sleep(0.01)
        message = f"{css} leads nowhere"
        raise AssertionError(message)

    def script(self, code: str, *given: object) -> Any:
        """Run JavaScript in the page."""
        return self.driver.execute_script(code, *given)

    @property
    def text(self) -> str:
        """What the page says."""
        return str(self.find("body").text)

    def picture(self, name: str) -> None:
        """Keep what the whole page looks like, if that is asked for."""
        if self._pictures is None:
            return
        size = self.script(
            "const all = document.documentElement; return [all.clientWidth, all.scrollHeight]"
        )
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 3000), "scale": 1}
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        (self._pictures / f"{name}.png").write_bytes(b64decode(shot["data"]))

    def look_at(
        self, width: int = 1200, *, dark: bool = False, script: bool = True, media: str = ""
    ) -> None:
        """Have a screen so wide, or print, in the light or in the dark, and run scripts or none."""
        device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < _PHONE}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command = self.driver.execute_cdp_cmd
        command("Emulation.setDeviceMetricsOverride", device)
        command("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
        command("Emulation.setScriptExecutionDisabled", {"value": not script})

    def too_wide(self) -> int:
        """Give by how many pixels the page is wider than the screen."""
        root = "document.documentElement"
        return int(self.script(f"return {root}.scrollWidth - {root}.clientWidth"))

    def faint(self) -> list[str]:
        """Give what is written with a contrast to what is behind it of less than 4.5."""
        found: list[str] = self.script(_FAINT)
        return found

    def heard(self) -> list[tuple[str, str]]:
        """Give what a screen reader is told of, in order: the role and the name of each thing."""
        tree = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        nodes = {node["nodeId"]: node for node in tree}

        def told(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
            if not node["ignored"]:
                yield node["role"]["value"], node.get("name", {}).get("value", "")
            for child in node["childIds"]:
                yield from told(nodes[child])

        return [*told(tree[0])]

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        from selenium.webdriver import ActionChains, Keys  # noqa: PLC0415 - it may be missing

        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key)).perform()

    def until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(Exception):  # while a part of the page is swapped it is not there
                if is_so():
                    return
            time.sleep(0.05)
        message = f"it never came: {what}: {self.text}"
        raise AssertionError(message)

    def asked_for(self) -> list[str]:
        """Give the addresses that the browser has asked for, since it was asked last."""
        told = [json.loads(one["message"])["message"] for one in self.driver.get_log("performance")]
        sent = [one for one in told if one["method"] == "Network.requestWillBeSent"]
        return [one["params"]["request"]["url"] for one in sent]

    def complaints(self) -> list[str]:
        """Give what the browser has to say about the pages, since it was asked last."""
        return [one["message"] for one in self.driver.get_log("browser")]
