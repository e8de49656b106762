#!/usr/bin/env bash
# Build the wheel, check that it holds dupmine/ and nothing else, install it in a clean environment, mine ten rows.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${PYTHON:-python3} -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work" .
rm -rf build
${PYTHON:-python3} - "$work"/dupmine-*.whl <<'P'
import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
strange = [n for n in names if not n.startswith(("dupmine/", "dupmine-")) or "/tests/" in n]
needed = {
    "dupmine/py.typed",
    "dupmine/configs/quickstart.yaml",
    "dupmine/models/quora-minilm-l6/model.safetensors",
    "dupmine/report/assets/page.html.j2",
    "dupmine/report/assets/review.html",
    "dupmine/report/assets/vendor/LICENSE-d3.txt",
    "dupmine/report/assets/vendor/LICENSE-plot.txt",
}
if strange or not needed <= set(names):
    sys.exit(f"the wheel holds {strange} and lacks {sorted(needed - set(names))}")
P
${PYTHON:-python3} -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt "$work"/dupmine-*.whl
head -11 examples/questions.csv > "$work/ten.csv"
cd "$work"
venv/bin/dupmine mine ten.csv --out run --quiet
venv/bin/dupmine report run
test -s run.html
message=$(venv/bin/dupmine review run --no-browser 2>&1 || true) # without the extra it ends with code 2
grep -qF "pip install 'dupmine[report]'" <<< "$message"
venv/bin/python - <<'P'
import json
from pathlib import Path

assert json.loads(Path("run/manifest.json").read_text())["counts"]["documents"] == 10
P
echo "smoke: the wheel installs, mines and reports"
