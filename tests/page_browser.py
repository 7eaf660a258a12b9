"""A headless Chromium for the page's tests, and how long a page of 1,000 questions takes to open.

python tests/page_browser.py        writes such a page with its clips and opens it three times
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1280,900",
)
QUESTIONS = 1000


@contextmanager
def open_browser(profile: Path) -> Iterator[Any]:
    """Debian's Chromium with a fresh profile; closed at the end, whatever happens."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    # Named, so that selenium looks for no driver and fetches none.
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver") or "")
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


@contextmanager
def phone(driver: Any) -> Iterator[None]:
    """A screen of 390 by 844 points."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def opening(driver: Any, page: Path) -> tuple[float, float]:
    """From the request to the end of `load`, when the list can be used.

    Returns:
        Seconds of the clock, and of the processor on the page's own thread: the second does not
        depend on what else the machine does.
    """
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    driver.get(page.as_uri())
    script = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    clock = float(driver.execute_script(script)) / 1000
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return clock, next(float(it["value"]) for it in metrics if it["name"] == "ThreadTime")


def main() -> None:
    """Write the page and say how long it takes to open."""
    from page_run import write_run

    from routerlab.cli import main as routerlab

    with tempfile.TemporaryDirectory() as home:
        run = write_run(Path(home) / "001", QUESTIONS, clips=QUESTIONS, ood=False)
        for mode in ("embed", "beside"):
            routerlab(["report", str(run), "--audio", mode])
            with open_browser(Path(home) / mode) as driver:
                for _ in range(3):
                    clock, processor = opening(driver, run / "report.html")
                    print(
                        f"{mode}: {QUESTIONS} questions open in {clock:.2f} s, "
                        f"{processor:.2f} s of the processor"
                    )


if __name__ == "__main__":
    main()
