// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"io"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/host"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// The isolation chroot makes the same image where neither namespaces nor mounts can be had: as root of a container with
// the rights that Docker, GitLab's and Kubernetes' runners give by default. A program gets the container's root file
// system by chroot(2) alone. What would be mounted is put in its place for the time of the run, see Binds; the store
// copies layers, which is its driver "vfs". What is different for the programs:
//
//   - /proc, /sys and /dev/pts are empty directories; names in /proc work nevertheless, see package supervise;
//   - the host's name, processes and network are seen;
//   - a directory that is shared with a hook is a copy, and what the hook changed is copied back at its end, unless
//     the copy itself is gone then.

// runInPlace runs a program as spec says, without its mounts and namespaces.
func (r *Runner) runInPlace(ctx context.Context, spec *specs.Spec, stdin io.Reader, out io.Writer) (err error) {
	if spec.Annotations[annotationInterpreter] != "" {
		return &host.Error{
			Cause: "programs of another processor need an emulator, and the isolation chroot cannot register one",
			Fix:   "on the machine around this container, as root, run: apt install qemu-user-static (its emulators have the flag F); or build on such a machine",
		}
	}
	p := &Binds{Root: spec.Root.Path, Covered: r.Covered, Movable: r.Movable, Keep: r.Keep}
	defer func() { err = errors.Join(err, p.Undo()) }()
	for _, m := range spec.Mounts {
		if err := p.Add(m); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.Source, m.Destination, err)
		}
	}
	in := *spec
	in.Mounts, in.Hostname = nil, ""
	in.Linux = &specs.Linux{}
	in.Annotations = map[string]string{annotationProcProxy: "true"}
	_, err = runSpec(ctx, &in, stdin, out)
	// The helper has killed what the program left. If it was itself killed, this finds what it can.
	process.KillRooted(spec.Root.Path)
	return err
}
