#!/bin/sh
# Runs every attack of docs/SECURITY.md against live servers that it starts, and
# prints what other clients noticed. One after the other: beside each other they
# would measure each other. For figures use a quiet machine; root tries the unix
# socket as another user as well.
#
#   tools/attack.sh            all of them (some minutes, most of it compiling)
#   tools/attack.sh slowloris  those with this in their name
set -eu
cd "$(dirname "$0")/.."
exec cargo test --release --no-fail-fast \
  --test security_attacks --test security_access --test security_tls --test security_planes \
  --test malformed_frames \
  -- --nocapture --test-threads 1 "$@"
