#!/bin/sh
# Runs all fuzz targets, two at a time: fuzz/run.sh TARGET_DIR SECONDS [NAME]...
#
# What makes one fail is kept in TARGET_DIR/fuzz/findings and tried first the next time; inputs that
# led somewhere new are kept in TARGET_DIR/fuzz/corpus.
set -eu

if [ "$1" = --one ]; then
    dir=$2 seconds=$3 name=$4
    mkdir -p "$dir/corpus/$name" "$dir/findings/$name"
    log=$dir/$name.log
    words=$dir/seeds/$name.dict
    [ ! -e "$words" ] || set -- "$@" -dict="$words"
    shift 4
    status=0
    "$dir/programs/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$dir/findings/$name/" "$@" \
        "$dir/corpus/$name" "$dir/seeds/$name" "$dir/findings/$name" > "$log" 2>&1 || status=$?
    found="no finding"
    if [ "$status" != 0 ]; then
        found="FOUND: $(sed -n 's/.*panicked at //p; s/.*ERROR: libFuzzer: //p' "$log" | head -n 1)"
        found="$found see $log"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log")
    covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-10s %11s runs, %6s a second, %5s edges covered, %s\n' \
        "$name" "${runs:-?}" "${rate:-?}" "${covered:-?}" "$found"
    exit "$status"
fi

target=$(realpath "$1") seconds=$2
shift 2
cd "$(dirname "$0")"
[ $# != 0 ] || set -- $(basename -s .rs targets/*.rs)

# The flags are those of cargo-fuzz without a sanitizer, all of which stable rustc has. They take
# the place of those in .cargo/config.toml: a static program would be without libFuzzer's memcmp.
llvm() { printf ' -C llvm-args=-sanitizer-coverage-%s' "$@"; }
RUSTFLAGS="-C passes=sancov-module$(llvm level=4 inline-8bit-counters pc-table trace-compares stack-depth)"
export RUSTFLAGS CARGO_TARGET_DIR="$target/fuzz/build"
cargo build --quiet --release --locked --bins
mkdir -p "$target/fuzz/programs"
for name in "$@"; do
    cp "$CARGO_TARGET_DIR"/*/release/"$name" "$target/fuzz/programs/"
done
./seeds.sh "$target/fuzz/seeds"
printf '%s\n' "$@" | xargs -P 2 -I NAME ./run.sh --one "$target/fuzz" "$seconds" NAME
