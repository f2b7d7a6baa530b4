#!/usr/bin/env bash
# Each role's molecule scenarios, on lab nodes, as many at a time as there are processors. Every scenario has a lab of
# its own, so none can disturb another; what one printed is shown when it has ended.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$(realpath "$1"):$PATH
export PATH
# One root file system and one set of packages serve all labs: made here, or the scenarios would wait for each other.
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
rigdeploy lab up --inventory .config/molecule/inventory --state "$state" >/dev/null
rigdeploy lab down --inventory .config/molecule/inventory --state "$state" >/dev/null

one() {
  role=$(cut -d / -f 2 <<<"$1")
  scenario=$(cut -d / -f 4 <<<"$1")
  log=$(mktemp)
  started=$SECONDS
  if (cd "roles/$role" && molecule test --scenario-name "$scenario") >"$log" 2>&1; then
    echo "molecule: role $role, scenario $scenario: passed in $((SECONDS - started)) s"
    rm -f "$log"
  else
    cat "$log"
    echo "molecule: role $role, scenario $scenario: FAILED"
    rm -f "$log"
    return 1
  fi
}
export -f one
printf '%s\n' roles/*/molecule/*/molecule.yml | xargs --max-procs "$(nproc)" --replace bash -c 'one "$1"' _ {}
