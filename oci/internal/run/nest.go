// SPDX-License-Identifier: Apache-2.0

package run

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
)

// A container has a user namespace of its own wherever the engine is in one: the kernel lets no process touch
// one of the namespace around it, whoever they are and whichever /proc they see. A root who is in none would
// need ids for it, and does without.

// nest gives a container a user namespace of its own, with the ids of this one; of a root's with a range, the range.
func nest(spec *specs.Spec, ownRange bool) (err error) {
	if nested(spec) {
		return nil
	}
	if spec.Linux.UIDMappings, err = host.SameIDs("/proc/self/uid_map"); err != nil {
		return err
	}
	if spec.Linux.GIDMappings, err = host.SameIDs("/proc/self/gid_map"); err != nil {
		return err
	}
	if ownRange { // whose other ids are those of the host
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = spec.Linux.UIDMappings[:1], spec.Linux.GIDMappings[:1]
	}
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	return nil
}

// nested reports whether a container has a user namespace of its own.
func nested(spec *specs.Spec) bool {
	return slices.ContainsFunc(spec.Linux.Namespaces,
		func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
}
