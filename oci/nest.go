package oci

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// A container has a user namespace of its own wherever the engine is in one: the kernel lets no process touch one of the
// namespace around it, whoever they are and whichever /proc they see. A root who is in none would need ids for it, and does
// without.

// nest gives a container a user namespace of its own, with the ids of this one; of a root's with a range, the range.
func nest(spec *specs.Spec) (err error) {
	if nested(spec) {
		return nil
	}
	if spec.Linux.UIDMappings, err = sameIDs("/proc/self/uid_map"); err != nil {
		return err
	}
	if spec.Linux.GIDMappings, err = sameIDs("/proc/self/gid_map"); err != nil {
		return err
	}
	if ownRoot { // whose other ids are those of the host
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = spec.Linux.UIDMappings[:1], spec.Linux.GIDMappings[:1]
	}
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	return nil
}

// nested reports whether a container has a user namespace of its own.
func nested(spec *specs.Spec) bool {
	return slices.ContainsFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
}

// sameIDs maps the ids of a namespace to themselves, for a namespace inside: the kernel wants each range to lie in one
// range of the map around it.
func sameIDs(file string) ([]specs.LinuxIDMapping, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var ids []specs.LinuxIDMapping
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s: %q is not a range of ids", file, line)
		}
		r, ok := parseRange(fields[0], fields[2])
		if !ok {
			return nil, fmt.Errorf("%s: %q is not a range of ids", file, line)
		}
		ids = append(ids, specs.LinuxIDMapping{
			ContainerID: uint32(r.Start), HostID: uint32(r.Start), Size: uint32(r.Count),
		})
	}
	return ids, nil
}

// mapIDs writes the maps of a container's pid 1, given by a pidfd. The number that Go knows is not the process' in a /proc of
// another container, which is seen where a new one cannot be mounted.
func mapIDs(ctx context.Context, spec *specs.Spec, pidfd int) error {
	pid, err := process.PIDInProc(pidfd)
	if err != nil {
		return fmt.Errorf("find the process: %w", err)
	}
	return idMaps{uid: mapLines(spec.Linux.UIDMappings), gid: mapLines(spec.Linux.GIDMappings), own: true}.write(ctx, pid)
}

// mapLines are the arguments of idMaps for the mappings of a spec.
func mapLines(mappings []specs.LinuxIDMapping) []string {
	var args []string
	for _, m := range mappings {
		for _, n := range []uint32{m.ContainerID, m.HostID, m.Size} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	return args
}

// allCapabilities are those that the kernels know that this program runs on.
func allCapabilities() []uintptr {
	all := make([]uintptr, unix.CAP_LAST_CAP+1)
	for c := range all {
		all[c] = uintptr(c)
	}
	return all
}
