#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook: creates an account for the person who will use the machine, without a password that others know.
#
#	NEW_USER=alice AUTHORIZED_KEYS=alice.pub vmdebootstrap --image server.img --size 2G --lock-root-password --sudo \
#		--package openssh-server --customize contrib/examples/user-setup.sh
#
# With a file of public keys in $AUTHORIZED_KEYS, alice logs in with ssh and has no password. Without it she logs in on
# the console with an empty password and must choose one at once. $NEW_USER defaults to debian. The file must be in the
# directory that vmdebootstrap is called in, or below it: hooks see no other files of the host.
set -eu

rootdir=$1
user=${NEW_USER:-debian}
keys=${AUTHORIZED_KEYS:-}

if [ -n "$keys" ] && ! [ -r "$keys" ]; then
	echo "user-setup.sh: $keys cannot be read here: copy it to the directory that vmdebootstrap is called in" >&2
	exit 1
fi
chroot "$rootdir" useradd --create-home --shell /bin/bash "$user"
if [ -e "$rootdir/usr/bin/sudo" ]; then
	chroot "$rootdir" usermod --append --groups sudo "$user"
fi
if [ -n "$keys" ]; then
	# The script is for the shell in the image.
	# shellcheck disable=SC2016
	chroot "$rootdir" sh -c 'umask 077 && cd "/home/$1" && mkdir .ssh && cat >.ssh/authorized_keys && chown -R "$1:$1" .ssh' \
		sh "$user" <"$keys"
else
	chroot "$rootdir" passwd --delete "$user"
	chroot "$rootdir" chage --lastday 0 "$user"
fi
