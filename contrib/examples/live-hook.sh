#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for live systems: installs a desktop and the tools of a live system. live-amd64.sh and live-arm64.sh use it.
#
# $DESKTOP chooses the desktop, see desktop.sh.
set -eu

rootdir=$1
# shellcheck source=hooks/customise.lib
. /usr/share/vmdebootstrap/common/customise.lib

trap cleanup 0
mount_proc
disable_daemons
extra="task-ssh-server cups plymouth zerofree"
case $(chroot "$rootdir" dpkg --print-architecture) in
amd64 | i386) extra="$extra memtest86+ open-vm-tools" ;;
esac
chroot "$rootdir" apt-get -q update
desktop=${DESKTOP-xfce}
# The variables hold lists of packages.
# shellcheck disable=SC2086
chroot "$rootdir" apt-get -q -y -o Dpkg::Use-Pty=0 install ${desktop:+"task-$desktop-desktop"} $TASK_PACKAGES $EXTRA_PACKAGES $extra
remove_daemon_block
