#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Hook for the BeagleBone Black: the serial console of the kernel. beagleboneblack.sh uses it, and writes U-Boot itself. By
# hand:
#
#	vmdebootstrap --customize contrib/examples/beagleboneblack-customise.sh --boot u-boot ...
set -eu

rootdir=$1
# shellcheck source=contrib/examples/u-boot.lib
. "$(dirname "$0")/u-boot.lib"

kernel_console ttyS0,115200n8
