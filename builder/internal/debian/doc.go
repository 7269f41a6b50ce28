// SPDX-License-Identifier: Apache-2.0

// Package debian describes Debian and Ubuntu without access to an archive: their releases and suites, from the
// tables of Debian's package distro-info-data, and their architectures, with kernel packages, boot loader packages
// and ELF headers. It reads os-release(5). It holds data and lookups only; nothing in it depends on a build.
package debian
