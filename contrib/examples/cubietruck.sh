#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an SD card image for the Cubietruck (Allwinner A20):
#
#	contrib/examples/cubietruck.sh [VMDEBOOTSTRAP OPTIONS]
#
# Needs vmdebootstrap in the PATH (or its name in $VMDEBOOTSTRAP). The result is cubietruck.img, or the name in
# $IMAGE: write it to a card with
#
#	dd if=cubietruck.img of=/dev/mmcblkX bs=4M conv=fsync
#
# The ROM reads one file at 8 KiB, which holds both the SPL and U-Boot: u-boot-sunxi in bookworm and trixie. Other
# boards of the family differ only in the directory below /usr/lib/u-boot. The file overlaps a GPT, so keep the msdos
# table.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

exec "${VMDEBOOTSTRAP:-vmdebootstrap}" --verbose --image "${IMAGE:-cubietruck.img}" --size 3G --distribution bookworm \
	--arch armhf \
	--boot u-boot --bootoffset 4MiB --package u-boot-sunxi \
	--raw rootfs:/usr/lib/u-boot/Cubietruck/u-boot-sunxi-with-spl.bin@8KiB \
	--configure-apt --hostname cubietruck \
	--customize "$here/cubietruck-customise.sh" "$@"
