// SPDX-License-Identifier: Apache-2.0

// Package debian holds what is known of Debian and Ubuntu without asking an archive: their releases and
// suites, from the tables of Debian's package distro-info-data, and their architectures, with kernels, boot
// loader packages and the header of their programs. It is data and lookups; nothing in it depends on a build.
package debian
