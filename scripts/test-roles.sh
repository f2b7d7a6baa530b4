#!/usr/bin/env bash
# Each role's molecule scenarios, on lab nodes.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1")
export PATH=$bin:$PATH
for scenario in roles/*/molecule/*/molecule.yml; do
  role=$(cut -d / -f 2 <<<"$scenario")
  name=$(cut -d / -f 4 <<<"$scenario")
  echo "molecule: role $role, scenario $name"
  (cd "roles/$role" && molecule test --scenario-name "$name")
done
