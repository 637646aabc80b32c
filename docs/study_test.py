#!/usr/bin/env python3
"""study_test.py FOLDER TWTRACE

Runs study.ipynb, which stands beside it, in FOLDER: once over the dataset of the demo, and once over that of a study that the
tutorial makes, whose numbers must be those that `twtrace rates` prints. Both figures must be drawn: FOLDER/demo and
FOLDER/study keep them. Then reads `-f arrow` from standard output with Polars and DuckDB, as cookbook.md has it."""
import csv, io, os, re, subprocess, sys

import nbformat
from nbclient import NotebookClient

here = os.path.dirname(os.path.abspath(__file__))
folder, program = map(os.path.abspath, sys.argv[1:3])
study = os.path.join(folder, "study")


def twtrace(*args):
    return subprocess.run([program, *args], check=True, capture_output=True).stdout


def execute(where):
    """The notebook in a folder that has a dataset; the data of its figures, as CSV that the kernel writes."""
    nb = nbformat.read(os.path.join(here, "study.ipynb"), as_version=4)
    nbformat.validate(nb)
    assert not any(c.get("outputs") for c in nb.cells), "study.ipynb is kept without outputs"
    nb.cells.append(nbformat.v4.new_code_cell("figure1.write_csv('figure1.csv'); figure2.write_csv('figure2.csv')"))
    NotebookClient(nb, timeout=120, resources={"metadata": {"path": where}}).execute()
    shown = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs if "image/png" in o.get("data", {})]
    assert len(shown) == 2, f"{len(shown)} figures are shown, want 2"
    for n in ("1", "2"):
        with open(os.path.join(where, f"figure{n}.png"), "rb") as f:
            png = f.read()
        assert png[:8] == b"\x89PNG\r\n\x1a\n" and len(png) > 10_000, f"figure{n}.png holds {len(png)} bytes"
    return [list(csv.DictReader(open(os.path.join(where, f"figure{n}.csv"), encoding="utf8"))) for n in ("1", "2")]


os.makedirs(os.path.join(folder, "demo"))
twtrace("demo", "-q", "-o", os.path.join(folder, "demo", "out"))
calls, messages = execute(os.path.join(folder, "demo"))
# the sizes that the demo has, recorded and simulated
assert {r["x"] for r in calls} == {"5", "20", "60", "100", "200", "400"}, {r["x"] for r in calls}
assert {"20", "160", "170", "400"} <= {r["x"] for r in messages}, {r["x"] for r in messages}

runs = os.path.join(study, "runs")
twtrace("simulate", "-o", runs, "--calls", "100,200,400", "--rate", "0.9/s", "--burst", "16", "--repeat", "3", "-q")
twtrace("simulate", "-o", os.path.join(runs, "messages"), "--messages", "100", "--bytes", "20,170,400", "-q")
twtrace("batch", runs, "-o", os.path.join(study, "out"), "-q")
figures = dict(zip(("calls", "messages"), execute(study)))
wanted = list(csv.DictReader(io.StringIO(twtrace("rates", runs, "-f", "csv").decode())))
for kind, rows in figures.items():
    want = sorted((r for r in wanted if r["kind"] == kind), key=lambda r: (int(r["x"]), r["experiment"]))
    assert len(want) == len(rows) > 0, f"{kind}: {len(rows)} points, want {len(want)}"
    for w, got in zip(want, rows):
        for name, value in got.items():
            same = value == w[name] if name in ("experiment", "verdict") else float(value) == float(w[name])
            assert same, f"{kind}: {got['experiment']}: {name}: {value}, want {w[name]}"

# the blocks of the cookbook that read standard output
text = open(os.path.join(here, "cookbook.md"), encoding="utf8").read()
blocks = re.findall(r"(?ms)^```sh\n(twtrace rates .*?)^```$", text)
assert len(blocks) == 2, f"{len(blocks)} blocks read standard output, want 2"
for block in blocks:
    path = os.path.dirname(program) + os.pathsep + os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    out = subprocess.run(["bash", "-o", "pipefail", "-c", block.replace("experiments/", runs)], check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}).stdout
    assert re.search(r"calls\W+9\b", out) and re.search(r"messages\W+3\b", out), out
print("study.ipynb: figures drawn twice, numbers those of twtrace rates; -f arrow read by Polars and DuckDB")
