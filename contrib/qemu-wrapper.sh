#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# qemu-wrapper.sh IMAGE ARCHITECTURE [FIRMWARE-DIRECTORY]: starts an image, as the script of vmdebootstrap 1.7 did.
# With a third argument the machine has UEFI; its firmware is that of the packages ovmf and qemu-efi-aarch64.
set -eu

if [ $# -lt 2 ] || [ $# -gt 3 ]; then
	echo "usage: qemu-wrapper.sh IMAGE ARCHITECTURE [FIRMWARE-DIRECTORY]" >&2
	exit 2
fi
exec vmdebootstrap boot --arch "$2" ${3:+--firmware uefi} "$1"
