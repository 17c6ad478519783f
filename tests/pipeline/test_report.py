"""The report of the slice in a real browser without network: no error, and the table and the plots are there."""

import html
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from project import snakemake

BROWSER = shutil.which("chromium")
WATCH = """<script>
window.problems = [];
console.error = (...words) => problems.push(words.join(" "));
addEventListener("error", event => problems.push(String(event.message || event.target.src || event.target.href)), true);
addEventListener("unhandledrejection", event => problems.push(String(event.reason)));
</script>"""
# Opens each category, and looks at the first picture among the training curves.
VISIT = """<script>
(async () => {
  const until = async found => {
    for (let tries = 0; !found() && tries < 200; tries++) await new Promise(done => setTimeout(done, 100));
    return found();
  };
  const link = name => [...document.querySelectorAll("a")].filter(a => a.textContent.trim() === name).pop();
  const picture = () => [...document.querySelectorAll("img")].find(image => image.naturalWidth > 200);
  const seen = {};
  for (const [category, label] of [["Metrics", "bm25"], ["Results", "Table of all systems"], ["Training", "Loss"]]) {
    (await until(() => link(category))).click();
    await until(() => document.getElementById("app").innerText.includes(label));
    seen[category] = document.getElementById("app").innerText;
    if (category === "Training") {
      document.querySelector("#app tbody a").click();
      seen.picture = Boolean(await until(picture));
    } else {
      document.querySelector("nav nav a").click();
      await until(() => link("Statistics"));  // the menu is back
    }
  }
  document.body.append(Object.assign(document.createElement("pre"), {
    id: "seen", textContent: JSON.stringify({seen, problems}),
  }));
})();
</script>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not BROWSER, reason="THE REPORT ISN'T OPENED IN A BROWSER: apt-get install chromium"),
]


def document_of(page: Path, folder: Path) -> str:
    """The page as the browser has it in the end, without network."""
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        "--virtual-time-budget=60000",
    ]
    command = [BROWSER, *options, "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.resolve().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout


def test_one_file_shows_table_and_plots_without_errors(own_slice, tmp_path):
    snakemake(own_slice, "--report", "results/report.html")
    text = (own_slice / "results/report.html").read_text()
    page = tmp_path / "report.html"
    page.write_text(text.replace("<head>", "<head>" + WATCH, 1) + VISIT)
    found = re.search(r'<pre id="seen">(.*?)</pre>', document_of(page, tmp_path / "browser"), flags=re.DOTALL)
    assert found, "the visit didn't come to its end"
    told = json.loads(html.unescape(found[1]))
    assert told["problems"] == []
    assert "Table of all systems" in told["seen"]["Results"] and "Rules" in told["seen"]["Results"]
    assert all(system in told["seen"]["Metrics"] for system in ("bm25", "sft", "ddro"))
    assert "MRR@10" in told["seen"]["Training"] and told["seen"]["picture"]


def test_the_archive_has_the_table_as_a_page(own_slice, tmp_path):
    snakemake(own_slice, "--report", "results/report.zip")
    with zipfile.ZipFile(own_slice / "results/report.zip") as archive:
        archive.extractall(tmp_path)
    (table,) = tmp_path.rglob("summary.html")
    rows = re.findall(r"<tr.*?</tr>", document_of(table, tmp_path / "browser"), flags=re.DOTALL)
    assert all(any(system in row for row in rows) for system in ("bm25", "sft", "ddro"))
