// SPDX-License-Identifier: Apache-2.0

// Package debfile reads binary packages of Debian (deb(5)) without dpkg: an ar archive of two compressed tar archives.
//
// ReadFiles reads single files into memory, Unpack writes the files of many packages below a directory, and Configure
// adds the little that programs of such a tree need before they run in a container. Decompress knows the compressions
// of packages and of an archive's indexes.
//
// Not supported: running maintainer scripts, so nothing is "installed" in the sense of dpkg; device nodes; the control
// archive, since a package's signed index holds what is in it.
package debfile
