#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a live system for 64-bit ARM machines with UEFI, with a desktop: filesystem.squashfs, and the kernel and
# initramfs beside it, in the directory live.
#
#	contrib/examples/live-arm64.sh [VMDEBOOTSTRAP OPTIONS]
#
# Its user is "user" with the password "live". $DESKTOP chooses the desktop, see desktop.sh. Needs vmdebootstrap in the
# PATH (or its name in $VMDEBOOTSTRAP). A boot loader starts it with
#
#	linux vmlinuz boot=live components
#
# from a medium that has the files in /live, or over the network with fetch=URL of filesystem.squashfs.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

exec "${VMDEBOOTSTRAP:-vmdebootstrap}" --verbose --squash "${LIVE:-live}" --arch arm64 --package dosfstools \
	--package live-boot,live-config,live-config-systemd --configure-apt \
	--user user/live --sudo --lock-root-password --customize "$here/live-hook.sh" "$@"
