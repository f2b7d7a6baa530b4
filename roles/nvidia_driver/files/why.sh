#!/bin/sh
# What a node can say about kernel modules that were not built or do not load. The first error of a build comes first:
# the rest of a log follows from it.
for log in /var/lib/dkms/nvidia*/*/build/make.log; do
  [ -f "$log" ] || continue
  cp "$log" /var/log/rigdeploy-nvidia-make.log
  echo "first error: $(grep -m 1 'error:' "$log" || grep -m 1 -iE '(^| )error[ :!]' "$log" || tail -n 1 "$log")"
  echo "the whole log: /var/log/rigdeploy-nvidia-make.log"
done
command -v dkms >/dev/null && dkms status
command -v mokutil >/dev/null && mokutil --sb-state 2>&1
dmesg 2>/dev/null | grep -iE 'nvrm|nvidia|key was rejected' | tail -n 5
exit 0
