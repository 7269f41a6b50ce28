// SPDX-License-Identifier: Apache-2.0

// Package dpkg unpacks Debian packages in place of dpkg(1), several times as fast.
//
// A build spends most of its time below debootstrap and apt, in dpkg: it decompresses one package after the other while
// the second processor idles, and starts anew for each group of packages. This package is a program that debootstrap
// and apt find before the real dpkg. Of all that dpkg can do, it takes over one thing: unpacking packages of which
// nothing is there yet (dpkg --unpack, and the first half of dpkg --install). It decompresses the packages of a call in
// parallel and in advance, and then does for each what dpkg does, in dpkg's order: the preinst runs, the files are
// written, the package is registered. So maintainer scripts see what they would see otherwise.
//
// Decompressing is left to the real dpkg-deb where a package is compressed with xz. In a build, most packages have a
// copy in DerivedDir that this program decompresses in a tenth of the time.
//
// Debootstrap itself extracts the required packages first, to have a dpkg, then installs a few of them one by one, and
// then has dpkg unpack them all. RunExtract is the extraction. Of the rest, what would be made again is left as it is:
// files that are the same in content and attributes, and the files of packages that are installed in the same version,
// which are only configured again.
//
// Everything else is the real dpkg's, called with the arguments and the environment that it would have had: all
// configuring, upgrades, removals, triggers, and each package that is not certain to be simple (see inspect): a file
// that another package has, a diversion, a conflict, an unmet pre-dependency, a failing script, control data that this
// package does not know. The two work on the same database, and the files in it are as dpkg writes them.
//
// The sources for all of that are dpkg's: src/main/archives.c, src/main/unpack.c and lib/dpkg/triglib.c of version
// 1.22.22, deb-triggers(5), and deb-conffiles(5).
package dpkg
