#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the Wandboard: the serial console of the kernel, and booting from SATA. wandboard.sh uses it, and writes U-Boot
# itself. By hand:
#
#	vmdebootstrap --customize contrib/examples/wandboard-customise.sh --boot u-boot ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

kernel_console ttymxc0,115200n8
# A root file system on the SATA disk of the Quad needs these.
initramfs_modules ahci_platform ahci_imx sd_mod
