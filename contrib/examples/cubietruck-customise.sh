#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the Cubietruck: the serial console of the kernel, and booting from USB. cubietruck.sh uses it, and writes U-Boot
# itself. By hand:
#
#	vmdebootstrap --customize contrib/examples/cubietruck-customise.sh --boot u-boot ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

kernel_console ttyS0,115200n8
# A root file system on a USB disk needs these.
initramfs_modules phy-sun4i-usb ohci-platform
