// SPDX-License-Identifier: Apache-2.0

// Package vmdebootstrap holds its own source code, as far as that decides what is in a root file system: the cache uses
// the results of other versions of the program whose code for a step is the same, see builder.StepVersions.
package vmdebootstrap

import "embed"

// Sources has the sources by their names in the repository. Patterns cannot leave out tests.
//
//go:embed builder/*.go builder/archive/*.go builder/archive/keyrings builder/dpkg/*.go builder/guard/*.go
//go:embed builder/internal/debfile/*.go builder/internal/debian/*.go builder/internal/debian/distro-info/*.csv
//go:embed builder/internal/dpkgdb/*.go builder/lockfile/*.go
//go:embed builder/internal/secret/*.go builder/internal/snapshot/*.go builder/internal/step/*.go
//go:embed builder/internal/stepversion/*.go builder/internal/target/*.go builder/ociimage/*.go
//go:embed builder/pkgdetails/*.go builder/pkgdetails/functions.sh builder/wget/*.go
//go:embed diskimage/*.go diskimage/acl/*.go diskimage/grub/*.go diskimage/ownerxattr/*.go diskimage/syslinux/config.go
//go:embed diskimage/syslinux/update-extlinux diskimage/tarfile/*.go
//go:embed hooks/*.go hooks/customise.lib
//go:embed oci/*.go oci/internal/*/*.go oci/types/*.go
var Sources embed.FS
