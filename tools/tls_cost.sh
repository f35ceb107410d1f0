#!/bin/sh
# What TLS costs: the same load through the plain and the TLS door of one server,
# in turn. Server on core 0, load and background on core 1; prints each run and
# the medians: claims a second, p99 in microseconds, and the processor time of the
# server a claim, in nanoseconds, which other work of the machine changes least.
#
#   tools/tls_cost.sh [ROUNDS [SECONDS]]      after cargo build --release --workspace
set -eu
rounds=${1:-5} seconds=${2:-3}
bin=$(cd "$(dirname "$0")/../target/release" && pwd)
dir=$(mktemp -d)
cd "$dir"
new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'
openssl req -x509 $new -subj /CN=issuer -keyout issuer.key -out issuer.pem 2>/dev/null
openssl req -x509 $new -CA issuer.pem -CAkey issuer.key -addext basicConstraints=critical,CA:FALSE \
  -subj /CN=server -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.pem 2>/dev/null
: >server.log
"$bin/hongbao" serve --data data --cores 0 --background-core 1 --ledger none --admin none \
  --listen 127.0.0.1:17878 --tls-listen 127.0.0.1:17879 --tls-certificate server.pem --tls-key server.key \
  --envelopes-max 20000000 --table-mib 4096 --checkpoint-interval-s 0 >server.log 2>&1 &
server=$!
trap 'kill $server; wait $server; rm -rf "$dir"' EXIT
until grep -q ready server.log; do
  kill -0 $server || { cat server.log; exit 1; }
  sleep 0.1
done
ticks() { awk '{ print $14 + $15 }' /proc/$server/stat; }
field() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" run.json | head -1; }
one() { # name, depth, flags
  name=$1 depth=$2
  shift 2
  before=$(ticks)
  "$bin/hb" --json "$@" load --core 1 --conns 64 --depth "$depth" --envelopes 200000 --shares 5 \
    --seconds "$seconds" --requests 1000000 >run.json
  # The orders of the envelopes are work as well, and the same through both doors.
  spent=$(( $(ticks) - before ))
  claims=$(field claims)
  echo "$name $depth $(field claims_per_s) $(field p99_us) $((spent * 10000000 / (claims + 200000)))" | tee -a runs
}
one warm 128 --addr 127.0.0.1:17878 >/dev/null
: >runs
for _ in $(seq "$rounds"); do
  for depth in 128 16; do
    one plain $depth --addr 127.0.0.1:17878
    one tls $depth --addr 127.0.0.1:17879 --tls-ca issuer.pem
  done
done
echo "medians of $rounds: claims/s, p99 us, ns of the server's processor a claim"
for depth in 128 16; do
  for name in plain tls; do
    printf '%s %s' "$name" "$depth"
    for column in 3 4 5; do
      awk -v n="$name" -v d="$depth" -v c=$column '$1 == n && $2 == d { print $c }' runs |
        sort -n | awk '{ v[NR] = $1 } END { printf " %s", v[int((NR + 1) / 2)] }'
    done
    echo
  done
done
