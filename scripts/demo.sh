#!/usr/bin/env bash
# The main job, on virtual twins of the example fleet: from powered off to verified.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1
run() {
  echo
  echo "\$ rigdeploy $*"
  "$bin/rigdeploy" "$@"
}
run lab up
run up --lab --yes
cat <<'END'

The twins are up. Try:
  .venv/bin/rigdeploy verify --lab
  .venv/bin/rigdeploy lab fault rig01 PCIE3 --width 8      then verify again
  .venv/bin/rigdeploy power cycle rig01 --lab
  .venv/bin/rigdeploy lab down
END
