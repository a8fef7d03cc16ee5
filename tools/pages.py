"""Opens pages of the rendered book in headless Chromium, cut off from the network."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-quic --hide-scrollbars --virtual-time-budget=8000"
).split()


def browser() -> str | None:
    """The browser's command, None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def open_page(page: Path, *words: str) -> subprocess.CompletedProcess:
    """Loads a page from disk in a browser with a fresh profile and no name resolution at all."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser(), *FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", *words]
        return subprocess.run([*command, page.resolve().as_uri()], capture_output=True, text=True, timeout=120)


def document(page: Path) -> str:
    """The page's HTML after its scripts have run."""
    return open_page(page, "--dump-dom").stdout


def requests(page: Path) -> set[str]:
    """Addresses outside this machine that the page asked for while it loaded."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "net.json"
        open_page(page, f"--log-net-log={log}", "--dump-dom")
        return set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text()))


def screenshot(page: Path, to: Path, dark: bool = False, width: int = 1300, height: int = 2400) -> None:
    """A picture of the page in the light or the dark theme."""
    words = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    open_page(page, f"--screenshot={to}", f"--window-size={width},{height}", *words)
