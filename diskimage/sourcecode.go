// SPDX-License-Identifier: Apache-2.0

package diskimage

import "embed"

// SourceCode has the source code of this package and of those below it that decide what is in a root file system, from
// which the cache of a build knows the code of a step. Names are relative to this directory.
//
//go:embed *.go acl/*.go grub/*.go ownerxattr/*.go syslinux/config.go syslinux/update-extlinux tarfile/*.go
var SourceCode embed.FS
