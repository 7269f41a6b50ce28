#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the Wandboard: makes the kernel start from U-Boot, also from SATA. Used by wandboard.sh, which has
# U-Boot itself written; or by hand:
#
#	vmdebootstrap --customize contrib/examples/wandboard-customise.sh --package u-boot-menu ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

boot_from_menu ttymxc0,115200n8
# A root file system on the SATA disk of the Quad needs them.
initramfs_modules ahci_platform ahci_imx sd_mod
