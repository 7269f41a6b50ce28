#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an SD card image for the Wandboard (i.MX6 Solo, DualLite, Quad):
#
#	contrib/examples/wandboard.sh [VMDEBOOTSTRAP OPTIONS]
#
# Needs vmdebootstrap in the PATH (or its name in $VMDEBOOTSTRAP). The result is wandboard.img, or the name in $IMAGE:
# write it to a card with
#
#	dd if=wandboard.img of=/dev/mmcblkX bs=4M conv=fsync
#
# The ROM reads the SPL at 1 KiB, which reads u-boot.img at 69 KiB: u-boot-imx in bookworm and trixie. (The single file
# u-boot.imx of older releases is gone.) U-Boot stores its environment at 768 KiB. The files overlap a GPT, so keep the
# msdos table.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

exec "${VMDEBOOTSTRAP:-vmdebootstrap}" --verbose --image "${IMAGE:-wandboard.img}" --size 3G --distribution bookworm \
	--arch armhf \
	--boot u-boot --bootoffset 4MiB --package u-boot-imx \
	--raw rootfs:/usr/lib/u-boot/wandboard/SPL@1KiB --raw rootfs:/usr/lib/u-boot/wandboard/u-boot.img@69KiB \
	--configure-apt --hostname wandboard \
	--customize "$here/wandboard-customise.sh" "$@"
