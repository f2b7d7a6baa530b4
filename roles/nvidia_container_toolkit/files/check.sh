#!/bin/sh
# check.sh ENGINE OPTION...: starts a container that is given the cards by the options, and sees that it has all of
# them, before and after a reload of systemd. The image is a shell and what nvidia-smi is linked with, from this very
# system. The last "step:" on standard output is where it went wrong; 0 when nothing did.
set -eu
exec 2>&1
engine=$1
shift
name=rigdeploy-check
work=$(mktemp -d)

clean() {
  "$engine" rm --force "$name" >/dev/null 2>&1 || true
  "$engine" rmi --force "$name" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean EXIT

step() { echo "step: $1"; }

# Both directions of every card: what opens /dev/nvidia0 to read alone would not notice a rule that forbids writing.
cards() {
  "$engine" exec "$name" /bin/sh -c 'for card; do : <>"$card"; done' sh $cards
}

smi() {
  if [ -n "$libraries" ]; then "$engine" exec "$name" "$smi" -L; fi
}

step image
"$engine" rm --force "$name" >/dev/null 2>&1 || true
smi=$(command -v nvidia-smi)
cards=$(ls /dev/nvidia[0-9]*)
# A script has none; it could not run without its interpreter.
libraries=$(ldd "$smi" 2>/dev/null | grep -o '/[^ ]*') || libraries=
mkdir -p "$work/root/etc" "$work/root/proc" "$work/root/tmp" "$work/root/usr/bin" "$work/root/usr/lib"
for part in bin lib lib64; do
  if [ -L "/$part" ]; then mkdir -p "$work/root/usr/$part" && ln -s "usr/$part" "$work/root/$part"; fi
done
for file in /bin/sh $(ldd /bin/sh | grep -o '/[^ ]*') $libraries; do
  mkdir -p "$work/root${file%/*}"
  cp -L "$file" "$work/root$file"
done
tar -C "$work/root" -c . | "$engine" import - "$name" >/dev/null

step start
"$engine" run --detach --interactive --name "$name" --network none --stop-timeout 0 "$@" "$name" /bin/sh >/dev/null
step cards
cards
step nvidia-smi
smi
step reload
systemctl daemon-reload
cards
smi
