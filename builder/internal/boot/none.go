// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// None is the Loader of an image without a boot loader.
type None struct{ commonLoader }

// String implements Loader.
func (None) String() string { return "no boot loader" }

// Steps implements Loader.
func (None) Steps(Disk) []step.Step { return nil }

// Configure implements Loader.
func (None) Configure(Disk, *target.Memory) error { return nil }

// Prepare implements Loader.
func (None) Prepare(context.Context, Disk, Source) (Parts, error) {
	return Parts{}, nil
}
