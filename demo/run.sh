#!/bin/sh
# Runs demo/where.py in a Debian image with Python, as an ordinary user, from a directory that
# exists only on the host.
set -eu
umask 022

if [ "$(id -u)" = 0 ]; then
    # The session of the tests has an ordinary user and shows image and program where he can reach
    # them, wherever this checkout lies.
    install -m 644 demo/where.py demo/greeting.env /home/tester/
    cd /home/tester
    exec setpriv --reuid tester --regid tester --init-groups --reset-env \
        "$HRUN_TEST_PROGRAMS/hrun" --set-env=greeting.env "$HRUN_TEST_IMAGES/bookworm" \
        python3 where.py -- --id=3
fi
cd demo
exec "$HRUN_TEST_PROGRAMS/hrun" --set-env=greeting.env "$HRUN_TEST_IMAGES/bookworm" \
    python3 where.py -- --id=3
