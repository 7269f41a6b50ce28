#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook: logs a user in on each serial console without a password, for test machines that are controlled from outside.
#
#	vmdebootstrap --image test.img --size 2G --serial-console --customize contrib/examples/serial-autologin.sh
#
# The user is root, or the name in $AUTOLOGIN. Do not do this to a machine whose console others can reach.
set -eu

rootdir=$1
user=${AUTOLOGIN:-root}

if ! grep -q "^$user:" "$rootdir/etc/passwd"; then
	echo "serial-autologin.sh: no user $user in the image: add --user $user" >&2
	exit 1
fi
# The empty ExecStart clears the unit's own, see systemd.service(5).
dir=$rootdir/etc/systemd/system/serial-getty@.service.d
mkdir -p "$dir"
cat >"$dir/autologin.conf" <<EOF
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin $user --noclear --keep-baud 115200,57600,38400,9600 %I \$TERM
EOF
