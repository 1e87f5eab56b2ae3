#!/bin/sh
# Writes link/order.txt anew: the functions that usual starts run, in the order in which they run.
#
#     link/order.sh TARGET_DIR PROFILE
#
# As root, with everything `make images drivers programs` makes.
set -eu

target=$(realpath "$1")
profile=$2
triple=$(rustc -vV | sed -n 's/^host: //p')
map=$target/hrun.map

if [ -z "${HRUN_TEST_SESSION:-}" ]; then
    HRUN_LINK_MAP=$map cargo build --quiet --profile "$profile" --bin hrun
    gcc -O1 -Wall -Wextra -o "$target/programs/first" link/first.c
    install -m 755 "$target/$triple/$profile/hrun" "$target/programs/hrun"
    install -m 644 "$map" "$target/programs/hrun.map"
    tests/session.sh "$target" "$0" "$@" > "$target/order.txt"
    rm "$target/programs/first" "$target/programs/hrun.map"
    # The first place a name is written at counts.
    awk '!written[$0]++' "$target/order.txt" > link/order.txt
    wc -l link/order.txt
    exit
fi

tests/install-gpus.sh "$HRUN_TEST_DRIVERS/local" >&2
printf 'PYTHONPATH=.:/home/tester/lib\n' > /home/tester/config.env

start() { # [NAME=VALUE]... -- [OPTION]...
    set -- "$@" /home/images/bookworm -- /bin/true
    variables=
    while [ "$1" != -- ]; do
        variables="$variables $1"
        shift
    done
    shift
    # $variables is a list of words.
    setpriv --reuid tester --regid tester --init-groups --inh-caps=-all -- env -i \
        HOME=/home/tester USER=tester LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin $variables \
        /home/programs/first /home/programs/hrun.map /home/programs/hrun "$@"
}

cd /home/tester
start --
start -- --nv
start SLURM_JOB_ID=7 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=2 --
start -- --set-env=config.env --bind=/home/tester:/mnt --cd=/mnt
