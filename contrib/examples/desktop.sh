#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook: installs a desktop, with all that its packages recommend (--package leaves recommendations out).
#
#	vmdebootstrap --image desktop.img --size 8G --grub --user user/live --sudo --customize contrib/examples/desktop.sh
#
# $DESKTOP chooses among the tasks of Debian: xfce (the default), gnome, kde, lxde, lxqt, mate, cinnamon; DESKTOP=
# leaves the desktop out. It takes 3 to 6 GB of the image.
set -eu

rootdir=$1
# shellcheck source=hooks/customise.lib
. /usr/share/vmdebootstrap/common/customise.lib

trap cleanup 0
mount_proc
disable_daemons
chroot "$rootdir" apt-get -q update
desktop=${DESKTOP-xfce}
# The variables hold lists of packages.
# shellcheck disable=SC2086
chroot "$rootdir" apt-get -q -y -o Dpkg::Use-Pty=0 install ${desktop:+"task-$desktop-desktop"} $TASK_PACKAGES $EXTRA_PACKAGES
remove_daemon_block
blacklist_qemu_bochs
