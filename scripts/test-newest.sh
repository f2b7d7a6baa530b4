#!/usr/bin/env bash
# The pure tests on a Python for which pip chooses a newer ansible-core than it does for 3.11.
# NEWEST_PYTHON names one; otherwise the newest on the PATH or among pyenv's is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
python=
for candidate in python3.12 "$HOME"/.pyenv/versions/3.12*/bin/python3 \
  python3.13 "$HOME"/.pyenv/versions/3.13*/bin/python3 \
  python3.14 "$HOME"/.pyenv/versions/3.14*/bin/python3 "${NEWEST_PYTHON:-}"; do
  if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then python=$candidate; fi
done
if [ -z "$python" ]; then
  echo "not tested: Python 3.12 or later with ansible-core 2.20+ (no such interpreter on this machine)"
  exit 0
fi
echo "pure tests on $("$python" --version)"
wanted=$("$python" --version)-$(sha256sum pyproject.toml | cut -c -16)
if [ "$(cat .venv-newest/.installed 2>/dev/null)" != "$wanted" ]; then
  rm -rf .venv-newest
  "$python" -m venv .venv-newest
  .venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
  echo "$wanted" >.venv-newest/.installed
fi
.venv-newest/bin/ansible --version | sed -n 1p
.venv-newest/bin/pytest tests/unit
