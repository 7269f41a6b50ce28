#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the BeagleBone Black: makes U-Boot start the kernel. beagleboneblack.sh uses it, and writes U-Boot itself. By
# hand:
#
#	vmdebootstrap --customize contrib/examples/beagleboneblack-customise.sh --package u-boot-menu ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

boot_from_menu ttyS0,115200n8
