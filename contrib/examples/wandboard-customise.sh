#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the Wandboard: makes U-Boot start the kernel, also from SATA. wandboard.sh uses it, and writes U-Boot
# itself. By hand:
#
#	vmdebootstrap --customize contrib/examples/wandboard-customise.sh --package u-boot-menu ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

boot_from_menu ttymxc0,115200n8
# A root file system on the SATA disk of the Quad needs these.
initramfs_modules ahci_platform ahci_imx sd_mod
