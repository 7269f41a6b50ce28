// SPDX-License-Identifier: Apache-2.0

package hooks

import "embed"

// SourceCode has the source code of this package, from which the cache of a build knows the code of a step. Names are
// relative to this directory.
//
//go:embed *.go customise.lib
var SourceCode embed.FS
