// SPDX-License-Identifier: Apache-2.0

// Package archive is a client for Debian package archives, in Go alone: it needs no apt, dpkg, gpgv or xz on the host.
//
// A Client fetches and verifies a suite's Release file (Client.Release) against a keyring (DefaultKeyring has
// Debian's own keys) and reads its Packages indexes (Client.Packages). Index.Closure returns the packages that a list
// of wanted ones needs. Client.Fetch downloads them in parallel into a Cache of files named by their SHA256; package
// debfile reads and unpacks them. HostMirror finds the mirror that a Debian host itself uses, and
// HostPockets its security archive.
//
// The chain of trust is that of apt: a key of the keyring signs the Release file, which holds the SHA256 of each
// index, which holds the SHA256 of each package. Every step is checked each time, for cached files too.
//
// Not supported: Conflicts and Breaks, which the packages of one suite that are wanted together rarely have; more than
// one architecture in an index besides "all"; source packages; flat repositories; pdiffs; checksums other than SHA256;
// the schemes ftp, cdrom, tor and mirror.
package archive
