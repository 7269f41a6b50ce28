#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook: keeps the kernel from loading the driver of QEMU's standard graphics, with which some UEFI guests show a black
# screen.
#
#	vmdebootstrap --image uefi.img --size 3G --grub --use-uefi --customize contrib/examples/qemu-efi-bochs-drm.sh
set -eu

# shellcheck disable=SC2034 # used by the library
rootdir=$1
# shellcheck source=hooks/customise.lib
. /usr/share/vmdebootstrap/common/customise.lib

blacklist_qemu_bochs
