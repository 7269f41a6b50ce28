// SPDX-License-Identifier: Apache-2.0

package oci

import "embed"

// SourceCode has the source code of this package and of those below it, from which the cache of a build knows the code
// of a step. Names are relative to this directory.
//
//go:embed *.go internal/*/*.go types/*.go
var SourceCode embed.FS
