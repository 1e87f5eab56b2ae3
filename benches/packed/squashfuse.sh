#!/bin/sh
# Runs a command with an image that squashfuse serves as long as that takes, as Apptainer does it:
#
#     squashfuse.sh IMAGE DIRECTORY COMMAND [ARG]...
image=$1 directory=$2
shift 2
squashfuse_ll "$image" "$directory" || exit
"$@"
status=$?
fusermount3 -u "$directory"
exit $status
