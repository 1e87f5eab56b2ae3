#!/bin/sh
# Puts Apptainer where the benchmark finds it, once: benches/apptainer.sh TARGET_DIR
#
# Of Debian's releases only sid has it, for a newer C library than this machine's: it comes with the
# libraries it is linked to, in a directory of its own. Where it cannot be had, the benchmark goes on
# without it.
set -eu
umask 022

programs=$(realpath "$1")/programs
libraries=lib/$(uname -m)-linux-gnu
root=$programs/apptainer.part
# Where tests/session.sh shows it.
if [ "$(id -u)" = 0 ]; then place=/home/programs/apptainer; else place=$programs/apptainer; fi

if [ -e "$programs/apptainer" ] || command -v apptainer > /dev/null; then exit 0; fi

# apt checks who signed sid's list of packages, not how old it is: a mirror may be behind.
unpack() {
    mmdebstrap --quiet --variant=extract --include=apptainer \
        --aptopt='Acquire::Check-Valid-Until "false"' sid "$root/sid.tar" &&
        tar -C "$root" --strip-components=2 --no-same-owner --wildcards -xf "$root/sid.tar" \
            --transform='s,^\./etc,./usr/etc,' ./etc/apptainer ./usr/bin/apptainer \
            "./usr/$libraries/apptainer" "./usr/$libraries/ld-linux-*" "./usr/$libraries/libc.so.6" \
            "./usr/$libraries/libm.so.6" "./usr/$libraries/libseccomp.so.*" \
            "./usr/$libraries/libsqlite3.so.*" &&
        rm "$root/sid.tar"
}

rm -rf "$root"
mkdir -p "$root/var/lib/apptainer/mnt/session"
if ! unpack; then
    echo "Debian's sid cannot be had from here: the benchmark goes without Apptainer" >&2
    rm -r "$root"
    exit 0
fi

# Its two programs find everything else beside themselves, but the second counts its parents
# as if its directory were /usr/libexec.
ln -s ../etc ../var "$root/lib"
for program in "$root/bin/apptainer" "$root/$libraries/apptainer/bin/starter"; do
    loader=$(basename "$(patchelf --print-interpreter "$program")")
    patchelf --set-interpreter "$place/$libraries/$loader" \
        --force-rpath --set-rpath "$place/$libraries" "$program"
done
mv "$root" "$programs/apptainer"
echo "made $programs/apptainer"
