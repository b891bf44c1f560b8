#!/usr/bin/env bash
# A local base image where no registry is reached: Debian with python3, haproxy, prometheus and postgresql, from Debian's packages.
# Needs root and debootstrap. `deploy/compose/base.sh [NAME]`; NAME is localhost/rollout-base:1 if not given.
set -euo pipefail
name=${1:-localhost/rollout-base:1} engine=${ENGINE:-podman}
"$engine" image inspect "$name" >/dev/null 2>&1 && { echo "$name is there already."; exit 0; }
for program in "$engine" debootstrap; do
  command -v "$program" >/dev/null || { echo "$program is missing. Try: apt-get install $program" >&2; exit 2; }
done
work=$(mktemp -d /var/tmp/rollout-base.XXXXXX) && trap 'rm -rf "$work"' EXIT
chmod 0755 "$work"
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,haproxy,prometheus,postgresql \
  bookworm "$work/root" >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; exit 1; }
# It trusts what this machine trusts, for pip while the image is built.
[[ ! -r /etc/ssl/certs/ca-certificates.crt ]] || cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/"
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man,locale}
tar -C "$work/root" -c . | "$engine" import -q -c 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' - "$name" >/dev/null
echo "$name is made."
