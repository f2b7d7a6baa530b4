#!/usr/bin/env bash
# Install what is missing, and say so: system packages by apt, Python packages into .venv.
#   scripts/setup.sh runtime    what rigdeploy and its lab need
#   scripts/setup.sh dev        that, and what tests and linters need
set -euo pipefail
cd "$(dirname "$0")/.."
extra=$1

packages=(python3-venv)
while read -r name; do packages+=("$name"); done < <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' rigdeploy/lab/host-packages.txt)
# FreeIPMI: a second opinion, beside ipmitool's, on what a BMC was told.
if [ "$extra" = dev ]; then packages+=(freeipmi-tools); fi
# Some tests log in to a real sshd that they start themselves. Where services are managed, installing one would open this
# machine's own port 22, so it is left to its owner; those tests then say that they were skipped.
if [ "$extra" = dev ] && [ ! -d /run/systemd/system ]; then packages+=(openssh-server); fi
# The report's page is looked at in a real browser; the fonts are what it is drawn with.
if [ "$extra" = dev ]; then packages+=(chromium chromium-driver fonts-liberation); fi
missing=()
for name in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || missing+=("$name")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "these system packages are missing; install them as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "installing system packages: ${missing[*]}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    # Debian's way to say: install, and start nothing (invoke-rc.d(8)).
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f "$log" /usr/sbin/policy-rc.d' EXIT
  fi
  if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } \
    >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "apt could not install them (see above)" >&2
    exit 1
  fi
fi

wanted=$(sha256sum pyproject.toml | cut -c -16)
stamp=.venv/.installed-$extra
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
  target=.
  [ "$extra" = runtime ] || target=".[$extra]"
  echo "installing Python packages into .venv"
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$target"
  echo "$wanted" >"$stamp"
fi
