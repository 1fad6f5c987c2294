#!/bin/sh
# The Python peer (A) against the Rust service (B), in turn within one run: ratios A / B of CPU per
# picture, rate and latency, with their spread. Arguments are flags of the peer (none: tuned).
#
#   CASES="250x1@8 250x16@8" ROUNDS=6 ./against.sh
#   PYTHON=… SERVICE=…/facequality-transformer ./against.sh --decode_threads 2
#
# A case is PICTURE SIDE x PICTURES PER REQUEST @ CONNECTIONS.
set -eu
cd "$(dirname "$0")"

python=${PYTHON:-python}
service=${SERVICE:-../../target/release/facequality-transformer}
rounds=${ROUNDS:-6}
duration=${DURATION:-4s}
cases=${CASES:-250x1@8 250x1@64 250x16@8 1920x1@8}
port=${PORT:-9100}
started=

finish() {
    for pid in $started; do
        kill "$pid" 2>/dev/null || true
    done
}
trap finish EXIT INT TERM

ready() {
    for _ in $(seq 300); do
        "$python" -c "import urllib.request as r; r.urlopen('$1', timeout=1)" 2>/dev/null && return
        sleep 0.1
    done
    echo "$1 did not become ready" >&2
    exit 1
}

[ -f images/photo_1920.jpg ] || "$python" make_images.py --out images

"$python" null_predictor.py --port "$port" &
started="$started $!"
"$python" -m facequality_transformer --http_port $((port + 1)) --enable_grpc false \
    --predictor_host "127.0.0.1:$port" "$@" >/dev/null 2>&1 &
peer=$!
started="$started $peer"
"$service" --http_port $((port + 2)) --enable_grpc false \
    --predictor_host "127.0.0.1:$port" --predictor_protocol grpc-v2 &
rust=$!
started="$started $rust"
ready "http://127.0.0.1:$((port + 1))/v1/models/facequality"
ready "http://127.0.0.1:$((port + 2))/v2/health/ready"

for case in $cases; do
    side=${case%%x*}
    rest=${case#*x}
    picture=images/face_$side.jpg
    [ -f "$picture" ] || picture=images/photo_$side.jpg
    echo "== ${side}x${side}, ${rest%@*} per request, ${rest#*@} connections"
    "$service" loadtest --images "$picture" --batch "${rest%@*}" --concurrency "${rest#*@}" \
        --url "http://127.0.0.1:$((port + 1))" --pid "$peer" \
        --compare "http://127.0.0.1:$((port + 2))" --compare_pid "$rust" \
        --rounds "$rounds" --duration "$duration" --tolerance 0.01
done
