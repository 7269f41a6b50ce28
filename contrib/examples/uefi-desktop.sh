#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a desktop image for UEFI machines and for QEMU with OVMF:
#
#	contrib/examples/uefi-desktop.sh [VMDEBOOTSTRAP OPTIONS]
#
# The result is uefi-desktop.img, or the name in $IMAGE. Its user is "user" with the password "live". $DESKTOP chooses
# the desktop, see desktop.sh. Needs vmdebootstrap in the PATH (or its name in $VMDEBOOTSTRAP). Boot it with
#
#	qemu-system-x86_64 -m 2G -machine q35 -drive file=uefi-desktop.img,format=raw -bios /usr/share/ovmf/OVMF.fd
set -eu

here=$(cd "$(dirname "$0")" && pwd)

exec "${VMDEBOOTSTRAP:-vmdebootstrap}" --verbose --image "${IMAGE:-uefi-desktop.img}" --size 8G \
	--grub --use-uefi --esp-size 256MiB --serial-console --configure-apt \
	--user user/live --sudo --lock-root-password --customize "$here/desktop.sh" "$@"
