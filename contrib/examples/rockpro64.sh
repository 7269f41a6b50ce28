#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an SD card image for the ROCKPro64 (Rockchip RK3399, arm64):
#
#	contrib/examples/rockpro64.sh [VMDEBOOTSTRAP OPTIONS]
#
# Needs vmdebootstrap in the PATH (or its name in $VMDEBOOTSTRAP). The result is rockpro64.img, or the name in $IMAGE:
# write it to a card with
#
#	dd if=rockpro64.img of=/dev/mmcblkX bs=4M conv=fsync
#
# The ROM reads the SPL at 32 KiB (sector 64), which reads U-Boot at 8 MiB (sector 16384). u-boot-rockchip.bin of trixie
# holds both, at these places, and ends below 10 MiB. It lies behind the GPT, which may have 128 entries, and before the
# first partition at 16 MiB. Other boards of the family differ only in the directory below /usr/lib/u-boot.
#
# The kernel takes its console (1500000 baud) from the device tree.
set -eu

exec "${VMDEBOOTSTRAP:-vmdebootstrap}" --verbose --image "${IMAGE:-rockpro64.img}" --size 3G --distribution trixie \
	--arch arm64 --part-type gpt --grow --bootoffset 16MiB \
	--boot u-boot --dtb rockchip/rk3399-rockpro64.dtb --package u-boot-rockchip \
	--raw rootfs:/usr/lib/u-boot/rockpro64-rk3399/u-boot-rockchip.bin@32KiB \
	--configure-apt --hostname rockpro64 "$@"
