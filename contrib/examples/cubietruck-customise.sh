#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the Cubietruck: makes U-Boot start the kernel, also from USB. cubietruck.sh uses it, and writes U-Boot
# itself. By hand:
#
#	vmdebootstrap --customize contrib/examples/cubietruck-customise.sh --package u-boot-menu ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

boot_from_menu ttyS0,115200n8
# A root file system on a USB disk needs these.
initramfs_modules phy-sun4i-usb ohci-platform
