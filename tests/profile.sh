#!/bin/sh
# Fetches Docker's default filter of system calls, once: tests/profile.sh FILE
#
# It is taken out of the Debian package of Docker's sources, which need not be installed for it.
set -eu
umask 022

[ ! -e "$1" ] || exit 0
file=$(realpath "$(dirname "$1")")/$(basename "$1")
package=golang-github-docker-docker-dev
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
apt-get -qq -o APT::Sandbox::User=root download $package
dpkg-deb --fsys-tarfile $package*.deb |
    tar -xO ./usr/share/gocode/src/github.com/docker/docker/profiles/seccomp/default.json > profile
mv profile "$file"
