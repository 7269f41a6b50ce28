// SPDX-License-Identifier: Apache-2.0

package builder

import "embed"

// SourceCode has the source code of this package and of those below it that decide what is in a root file system, see
// StepVersions. Names are relative to this directory. Patterns cannot leave out tests.
//
//go:embed *.go archive/*.go archive/keyrings depmod/*.go dpkg/*.go guard/*.go internal/debfile/*.go
//go:embed internal/debian/*.go
//go:embed internal/debian/distro-info/*.csv internal/dpkgdb/*.go lockfile/*.go internal/secret/*.go
//go:embed internal/shellfunction/*.go internal/snapshot/*.go internal/step/*.go internal/step/*.sh
//go:embed internal/stepversion/*.go internal/target/*.go ociimage/*.go
//go:embed pkgdetails/*.go pkgdetails/functions.sh wget/*.go
var SourceCode embed.FS
