#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A script for --customize, with --iso: puts the packages of boot loaders and of encryption on the live medium, with what
# they need and the live system does not have, as a repository for apt. Calamares installs what the machine needs from
# there, so that no network is necessary. It looks for the directories that media of live-build have.
set -eu

rootdir=$1
medium=/var/lib/live/medium # what is there belongs on the medium, and not in the live system
suite=$(sed -n "s/^VERSION_CODENAME=//p" "$rootdir/etc/os-release")
arch=$(chroot "$rootdir" dpkg --print-architecture)
index=$medium/dists/$suite/main/binary-$arch

# Each line is one call of Calamares. grub-pc and grub-efi exclude each other: apt would download none of both at once.
chroot "$rootdir" apt-get -q update
while read -r packages; do
	mkdir -p "$rootdir$medium/pool/partial"
	# shellcheck disable=SC2086 # several packages
	chroot "$rootdir" apt-get -y -q -o Dir::Cache::archives="$medium/pool" --download-only install $packages \
		</dev/null
done <<EOF
grub-pc
grub-efi
cryptsetup-initramfs cryptsetup keyutils
EOF
rm -rf "$rootdir$medium/pool/partial" "$rootdir$medium/pool/lock"
# In the new system Calamares removes the packages of live systems: apt fails if it knows nothing of one of them.
removed=$(sed -n "s/^ *- '\(.*\)'$/\1/p" "$rootdir/etc/calamares/modules/packages.conf" | tr '\n' ' ')
chroot "$rootdir" sh -c "cd $medium/pool && apt-get -q download $removed"
cd "$rootdir$medium/pool"
for deb in *_*%3a*; do # as in Debian's pool, the name has no epoch of the version
	[ ! -e "$deb" ] || mv "$deb" "${deb%%_*}_${deb##*%3a}"
done

mkdir -p "$rootdir$index"
chroot "$rootdir" sh -c "cd $medium && apt-ftparchive packages pool >$index/Packages"
chroot "$rootdir" apt-ftparchive -o APT::FTPArchive::Release::Suite="$suite" \
	-o APT::FTPArchive::Release::Codename="$suite" -o APT::FTPArchive::Release::Components=main \
	-o APT::FTPArchive::Release::Architectures="$arch" release "$medium/dists/$suite" >"$rootdir/tmp/Release"
mv "$rootdir/tmp/Release" "$rootdir$medium/dists/$suite/Release"
