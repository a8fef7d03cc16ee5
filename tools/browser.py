"""Opens pages of the rendered book in headless Chromium, cut off from the network.

python tools/browser.py _build/html/book/intro.html PICTURES takes a picture of a page in both themes.
"""

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--allow-file-access-from-files",  # a frame's page may be looked into
    "--virtual-time-budget=8000",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name resolution at all
]
# Shows a page in a frame of a given width, runs a function on the frame's window and writes what it returns.
FRAME = """<!doctype html><iframe src="{page}" style="width: {width}px; height: 2000px"></iframe><pre id="value"></pre>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => setTimeout(async () => {{
  let value;
  try {{ value = await ({function})(frame.contentWindow); }} catch (error) {{ value = {{error: String(error)}}; }}
  document.querySelector("#value").textContent = JSON.stringify(value);
}}, 3000);
</script>"""


def browser() -> str | None:
    """The browser's command, None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def open_page(page: Path, *words: str) -> subprocess.CompletedProcess:
    """Loads a page from disk in a browser with a fresh profile."""
    with tempfile.TemporaryDirectory() as profile:
        command = [browser(), *FLAGS, f"--user-data-dir={profile}", *words]
        return subprocess.run([*command, page.resolve().as_uri()], capture_output=True, text=True, timeout=120)


def load(page: Path) -> tuple[str, set[str]]:
    """The page's HTML after its scripts have run, and the addresses outside this machine that it asked for.

    What the browser asks for of its own accord, such as the time and updates, has no page as its initiator.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "net.json"
        document = open_page(page, f"--log-net-log={log}", "--dump-dom").stdout
        asked = re.findall(r'"initiator":"(?!not an origin)[^"]*".*"url":"((?:https?|wss?)://[^"]+)"', log.read_text())
        return document, set(asked)


def evaluate(page: Path, function: str, width: int = 1300):
    """What a JavaScript function of the page's window returns, the page shown in a frame `width` pixels wide.

    Raises RuntimeError where the function throws or nothing comes back.
    """
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.html"
        frame.write_text(FRAME.format(page=page.resolve().as_uri(), width=width, function=function))
        found = re.search(r'<pre id="value">(.+?)</pre>', open_page(frame, "--dump-dom").stdout)
    value = json.loads(html.unescape(found[1])) if found else {"error": "the page did not load"}
    if isinstance(value, dict) and "error" in value:
        raise RuntimeError(f"{page.name}: {value['error']}")
    return value


def screenshot(page: Path, to: Path, dark: bool = False, width: int = 1300, height: int = 2400) -> None:
    """A picture of the page in the light or the dark theme, as the reader's system asks for it."""
    words = [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--force-prefers-reduced-motion"]
    open_page(page, f"--screenshot={to}", f"--window-size={width},{height}", *words)


if __name__ == "__main__":
    page, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for theme in ("light", "dark"):
        screenshot(page, folder / f"{page.stem}-{theme}.png", theme == "dark")
        print(folder / f"{page.stem}-{theme}.png")
