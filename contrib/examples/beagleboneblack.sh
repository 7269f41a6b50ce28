#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an SD card image for the BeagleBone Black:
#
#	contrib/examples/beagleboneblack.sh [VMDEBOOTSTRAP OPTIONS]
#
# Needs vmdebootstrap in the PATH (or its name in $VMDEBOOTSTRAP). The result is beagleboneblack.img, or the name in
# $IMAGE: write it to a card with
#
#	dd if=beagleboneblack.img of=/dev/mmcblkX bs=4M conv=fsync
#
# The ROM of the AM335x reads MLO at 128 KiB, which reads u-boot.img at 384 KiB. That file ends after the first MiB,
# so the first partition begins at 4 MiB. Files and offsets are those of u-boot-omap in bookworm and trixie. Hold the
# button beside the card while switching on, unless the eMMC is empty. The serial console runs at 115200 baud.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

exec "${VMDEBOOTSTRAP:-vmdebootstrap}" --verbose --image "${IMAGE:-beagleboneblack.img}" --size 3G --distribution bookworm \
	--arch armhf \
	--boot u-boot --bootoffset 4MiB --package u-boot-omap \
	--raw rootfs:/usr/lib/u-boot/am335x_boneblack/MLO@128KiB \
	--raw rootfs:/usr/lib/u-boot/am335x_boneblack/u-boot.img@384KiB \
	--configure-apt --hostname beagleboneblack \
	--customize "$here/beagleboneblack-customise.sh" "$@"
