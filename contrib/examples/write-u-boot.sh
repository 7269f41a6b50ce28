#!/bin/sh
# Copies U-Boot from the first partition of an image to the raw offsets that a board's ROM reads:
#
#	write-u-boot.sh IMAGE FILE OFFSET [FILE OFFSET]...
#
# FILE is a path inside the image, OFFSET counts bytes from the start of the disk. Needs debugfs (package e2fsprogs) and
# an ext2, ext3 or ext4 file system; no root, no mount. It refuses what would overwrite the partition table or the first
# partition. The wrappers of the boards beside this script show the offsets.
set -eu

die() { echo "write-u-boot.sh: $*" >&2; exit 1; }

if [ $# -lt 3 ] || [ $(($# % 2)) = 0 ]; then
	die "usage: write-u-boot.sh IMAGE FILE OFFSET [FILE OFFSET]..."
fi
PATH=$PATH:/usr/sbin:/sbin
image=$1
shift
sector=512
start=$(partx --raw --noheadings --nr 1 --output START "$image") || die "$image: no partition table"
[ -n "$start" ] || die "$image: no first partition"
start=$((start * sector))
# With GPT the table ends after 34 sectors, with msdos after one.
table=$sector
if [ "$(dd if="$image" bs=$sector skip=1 count=1 2>/dev/null | head -c 8 | tr -d '\0')" = "EFI PART" ]; then
	table=$((34 * sector))
fi
copy=$(mktemp)
trap 'rm -f "$copy"' EXIT

while [ $# -gt 0 ]; do
	: >"$copy"
	debugfs -R "dump $1 $copy" "$image?offset=$start" 2>/dev/null
	size=$(wc -c <"$copy")
	[ "$size" -gt 0 ] || die "$image: no file $1 on the first partition"
	[ "$2" -ge "$table" ] || die "$1 at $2 would overwrite the partition table"
	[ $(($2 + size)) -le "$start" ] || die "$1 at $2 would end at $(($2 + size)), inside the first partition: use a larger --bootoffset"
	[ $(($2 % sector)) = 0 ] || die "offset $2 is not a multiple of $sector"
	dd if="$copy" of="$image" bs=$sector seek=$(($2 / sector)) conv=notrunc,fsync 2>/dev/null
	echo "$1: $size bytes at $2"
	shift 2
done
