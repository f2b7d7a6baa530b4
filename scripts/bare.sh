#!/usr/bin/env bash
# Run a command (default: .ci/run) on the committed tree in a bare Debian 12 root: Python 3.11 and git, nothing else.
#   scripts/bare.sh bash -c 'apt-get update && apt-get install -y make && make demo'
# What only works because of something installed on this machine by hand fails there. Needs root and mmdebstrap.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- bash .ci/run
work=$(mktemp -d -t rigdeploy-bare.XXXXXX)
root=$work/root
cleanup() {
  # A command that failed may have left a lab: its nodes would keep the root in use.
  chroot "$root" sh -c 'cd /root/checkout && .venv/bin/rigdeploy lab down' >/dev/null 2>&1 || true
  umount -R "$root/proc" "$root/sys" "$root/dev" "$root/run" 2>/dev/null || true
  findmnt -rn -o TARGET | grep -q "^$root/" || rm -rf --one-file-system "$work"
}
trap cleanup EXIT

sources=(/etc/apt/sources.list.d/debian.sources)
[ -f "${sources[0]}" ] || sources=(/etc/apt/sources.list)
echo "building a bare Debian 12 root"
mmdebstrap --quiet --variant=minbase --include=git,python3,ca-certificates bookworm "$root" "${sources[@]}"
# What the caller's own network needs: name service, certificates, and pip's settings.
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp -a /etc/ssl/certs/. "$root/etc/ssl/certs/"
for file in /etc/pip.conf /etc/apt/apt.conf.d/*proxy*; do [ ! -f "$file" ] || cp "$file" "$root$file"; done
git clone --quiet --no-hardlinks . "$root/root/checkout"
if [ -d ../shared ]; then cp -a ../shared "$root/root/shared"; fi

for dir in proc sys dev; do mount --rbind "/$dir" "$root/$dir" && mount --make-rslave "$root/$dir"; done
mount -t tmpfs tmpfs "$root/run"
env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 CI=true \
  chroot "$root" bash -c 'cd /root/checkout && exec "$@"' bare "$@" </dev/null
