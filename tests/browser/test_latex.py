"""The tables of LaTeX compile as they are: the file of a report, and what the page's button copies."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from mixbench.report.formats.html import html
from mixbench.report.formats.latex import latex
from mixbench.results.tables import tables
from tests.fake_runs import done, full_run, trial, write_run
from tests.test_formats import HOSTILE

DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
\input{table}
\end{document}
"""


def compiled(text: str, folder: Path) -> str:
    """Return the text of the page that pdfLaTeX makes of a table."""
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-base, texlive-latex-recommended, poppler-utils)")
    (folder / "table.tex").write_text(text, encoding="utf-8")
    (folder / "main.tex").write_text(DOCUMENT, encoding="utf-8")
    command = [compiler, "-halt-on-error", "-interaction=nonstopmode", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    found = subprocess.run(
        ["pdftotext", "-layout", folder / "main.pdf", "-"], capture_output=True, text=True, check=True
    )
    return found.stdout


def test_the_files_table_compiles(tmp_path: Path) -> None:
    text = compiled(latex(tables(full_run(tmp_path / "run"))), tmp_path)
    assert "convmixer_256_8" in text and "594,186" in text and re.search(r"94\.\d", text)


def test_names_with_every_sign_that_latex_knows_compile_and_stand_as_written(tmp_path: Path) -> None:
    labels = [
        " ".join(label.split()) for label in HOSTILE if label.isascii() and label.isprintable() and len(label) < 99
    ]
    trials = [trial(f"model_{index}", label=label) for index, label in enumerate(labels)]
    run = write_run(tmp_path / "run", trials, [done(each, 80.0 + index) for index, each in enumerate(trials)])
    text = compiled(latex(tables(run)), tmp_path)
    assert len(labels) > 15 and "100 % & #1 {a}_b" in text and "<script>alert(1)</script>" in text


def test_what_the_page_copies_compiles(context: BrowserContext, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html(tables(full_run(tmp_path / "run")), drawings=[]), encoding="utf-8")
    page = context.new_page()
    page.goto(path.as_uri())
    page.get_by_label("Relative to").select_option("splitmixer_v_256_8")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="LaTeX").click()
    expect(page.locator("#shown")).to_have_text("9 rows copied")
    text = compiled(page.evaluate("navigator.clipboard.readText()"), tmp_path)
    assert "vs splitmixer_v_256_8" in text and "convmixer_256_8" in text and "Measured on AMD EPYC" in text
