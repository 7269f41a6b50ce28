// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"context"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// None is an image that does not start by itself.
type None struct{ commonLoader }

func (None) String() string { return "no boot loader" }

func (None) Steps(Disk) []step.Step { return nil }

func (None) Configure(Disk, *target.Memory) error { return nil }

func (None) Prepare(context.Context, Disk, Source) (Parts, error) {
	return Parts{}, nil
}
