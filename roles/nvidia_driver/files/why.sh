#!/bin/sh
# What a node can say about kernel modules that do not load.
command -v dkms >/dev/null && dkms status
command -v mokutil >/dev/null && mokutil --sb-state 2>&1
for log in /var/lib/dkms/nvidia/*/build/make.log; do
  [ -f "$log" ] && grep -H -m 1 'error:' "$log"
done
dmesg 2>/dev/null | grep -iE 'nvrm|nvidia|key was rejected' | tail -n 5
exit 0
