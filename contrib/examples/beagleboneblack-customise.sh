#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the BeagleBone Black: makes the kernel start from U-Boot. Used by beagleboneblack.sh, which has
# U-Boot itself written; or by hand:
#
#	vmdebootstrap --customize contrib/examples/beagleboneblack-customise.sh --package u-boot-menu ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

boot_from_menu ttyS0,115200n8
