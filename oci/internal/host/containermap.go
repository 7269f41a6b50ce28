// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/process"
)

// SameIDs maps the ids of a namespace to themselves, for a namespace inside: the kernel wants each range to lie in one
// range of the map around it.
func SameIDs(file string) ([]specs.LinuxIDMapping, error) {
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

// MapIDs writes the maps of a container's pid 1, given by a pidfd. The number that Go knows is not the
// process' in a /proc of another container, which is seen where a new one cannot be mounted.
func MapIDs(ctx context.Context, spec *specs.Spec, pidfd int) error {
	pid, err := process.PIDInProc(pidfd)
	if err != nil {
		return fmt.Errorf("find the process: %w", err)
	}
	return IDMaps{Uid: mapLines(spec.Linux.UIDMappings), gid: mapLines(spec.Linux.GIDMappings),
		own: true}.write(ctx, pid)
}

// mapLines are the arguments of IDMaps for the mappings of a spec.
func mapLines(mappings []specs.LinuxIDMapping) []string {
	var args []string
	for _, m := range mappings {
		for _, n := range []uint32{m.ContainerID, m.HostID, m.Size} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	return args
}
