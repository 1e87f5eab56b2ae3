#!/bin/sh
# Puts a repository of packages, and what these need, into an image that mmdebstrap makes, and has the
# image's apt know no other: tests/repository.sh ROOT PACKAGE...
set -eu

root=$1
shift
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq --yes --no-install-recommends --download-only install "$@"
mkdir "$root/repository"
mv "$root"/var/cache/apt/archives/*.deb "$root/repository"
cd "$root/repository"
for file in *.deb; do
    dpkg-deb -f "$file"
    echo "Filename: ./$file"
    echo "Size: $(stat -c %s "$file")"
    echo "SHA256: $(sha256sum < "$file" | cut -d ' ' -f 1)"
    echo
done > Packages
rm -rf "$root"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/repository ./' > "$root/etc/apt/sources.list"
