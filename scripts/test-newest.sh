#!/usr/bin/env bash
# The pure tests on the newest Python here that pip gives a newer ansible-core than 3.11 gets.
set -euo pipefail
cd "$(dirname "$0")/.."
python=
for version in 3.12 3.13 3.14; do
  if "python$version" -c 'import venv, ensurepip' 2>/dev/null; then python=python$version; fi
done
if [ -z "$python" ]; then
  echo "not tested: Python 3.12 or later with ansible-core 2.20+ (no such interpreter on this machine)"
  exit 0
fi
echo "pure tests on $($python --version)"
wanted=$(sha256sum pyproject.toml | cut -c -16)
if [ "$(cat .venv-newest/.installed 2>/dev/null)" != "$wanted" ]; then
  "$python" -m venv .venv-newest
  .venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
  echo "$wanted" >.venv-newest/.installed
fi
.venv-newest/bin/ansible --version | head -n 1
.venv-newest/bin/pytest tests/unit
