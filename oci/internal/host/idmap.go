// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"

	subid "github.com/moby/sys/user"
)

// minSubIDs is how many subordinate ids are needed so that id 65534, nobody, is one of them: id 0 is the caller.
const minSubIDs = 65534

// idRange is a run of ids of the host that a user may use in a namespace.
type idRange struct {
	Start, Count uint64
}

// parseSubIDs returns the ranges of a user in a file of the format of subuid(5). A line may name the user or
// its number; all its lines count.
func parseSubIDs(r io.Reader, name string, id int) ([]idRange, error) {
	number := strconv.Itoa(id)
	lines, err := subid.ParseSubIDFilter(r, func(line subid.SubID) bool {
		// What is no number is read as 0, and no file shares anybody root.
		return (line.Name == name || line.Name == number) &&
			0 < line.SubID && line.SubID <= math.MaxUint32 && 0 < line.Count && line.Count <= math.MaxUint32
	})
	if err != nil {
		return nil, err
	}
	var ranges []idRange
	for _, line := range lines {
		ranges = append(ranges, idRange{uint64(line.SubID), uint64(line.Count)})
	}
	return disjoint(ranges), nil
}

// parseGetsubids reads what getsubids(1) prints: "0: alice 100000 65536".
func parseGetsubids(out []byte) []idRange {
	var ranges []idRange
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) != 4 {
			continue
		}
		if r, ok := parseRange(fields[2], fields[3]); ok {
			ranges = append(ranges, r)
		}
	}
	return disjoint(ranges)
}

func parseRange(start, count string) (idRange, bool) {
	s, err1 := strconv.ParseUint(start, 10, 32)
	n, err2 := strconv.ParseUint(count, 10, 32)
	return idRange{s, n}, err1 == nil && err2 == nil && n > 0
}

// disjoint sorts ranges and cuts off what an earlier one has: the kernel refuses a map that names an id twice.
func disjoint(ranges []idRange) []idRange {
	slices.SortFunc(ranges, func(a, b idRange) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.Count, a.Count))
	})
	var out []idRange
	var end uint64
	for _, r := range ranges {
		if last := r.Start + r.Count; last > end {
			start := max(r.Start, end)
			out = append(out, idRange{start, last - start})
			end = last
		}
	}
	return out
}

// total counts the ids of ranges.
func total(ranges []idRange) (n uint64) {
	for _, r := range ranges {
		n += r.Count
	}
	return n
}

// mapArgs are the arguments of newuidmap(1) after the process: id 0 of the namespace is the caller, then come the
// subordinate ones.
func mapArgs(self int, ranges []idRange) []string {
	args := []string{"0", strconv.Itoa(self), "1"}
	inside := uint64(1)
	for _, r := range ranges {
		args = append(args, strconv.FormatUint(inside, 10), strconv.FormatUint(r.Start, 10),
			strconv.FormatUint(r.Count, 10))
		inside += r.Count
	}
	return args
}

// IDMaps are the two maps of a user namespace, as arguments of newuidmap and newgidmap.
type IDMaps struct {
	Uid, gid []string
	// own: no program is needed to write them.
	own bool
	// groupless: that is allowed only if the processes give up setting groups.
	groupless bool
}

// singleIDs maps the caller alone.
func singleIDs(uid, gid int) IDMaps {
	return IDMaps{Uid: mapArgs(uid, nil), gid: mapArgs(gid, nil), own: true, groupless: true}
}

// rootIDs maps all ids of this namespace to themselves, as root may, but for the very last: where all 2³²-1 of them are
// mapped, programs take the namespace for the host's own.
func rootIDs() (IDMaps, error) {
	maps := IDMaps{own: true}
	for _, m := range []struct {
		file string
		args *[]string
	}{{"/proc/self/uid_map", &maps.Uid}, {"/proc/self/gid_map", &maps.gid}} {
		ids, err := SameIDs(m.file)
		if err != nil {
			return maps, err
		}
		for _, r := range ids {
			id, count := strconv.FormatUint(uint64(r.ContainerID), 10), min(r.Size, math.MaxUint32-1)
			*m.args = append(*m.args, id, id, strconv.FormatUint(uint64(count), 10))
		}
	}
	return maps, nil
}

// lines writes a map as the kernel reads it: three numbers a line.
func lines(args []string) string {
	var b strings.Builder
	for line := range slices.Chunk(args, 3) {
		b.WriteString(strings.Join(line, " ") + "\n")
	}
	return b.String()
}

// CallerName is the login name of a user, or its number if it has none.
func CallerName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// findIDMaps looks up the subordinate ids of a user. Groups are given to users, too: subgid(5) names the user.
func findIDMaps(ctx context.Context, name string, uid, gid int) (IDMaps, error) {
	uids, err := subIDs(ctx, "/etc/subuid", name, uid)
	if err != nil {
		return IDMaps{}, err
	}
	gids, err := subIDs(ctx, "/etc/subgid", name, uid, "-g")
	if err != nil {
		return IDMaps{}, err
	}
	return IDMaps{Uid: mapArgs(uid, uids), gid: mapArgs(gid, gids)}, nil
}

// subIDs returns the ranges of a user from a file; where that has none, ids may be served by a directory such
// as LDAP, which getsubids asks.
func subIDs(ctx context.Context, file, name string, uid int, getsubidsOptions ...string) ([]idRange, error) {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for subordinate ids: %w", err)
	}
	ranges, err := parseSubIDs(bytes.NewReader(data), name, uid)
	if err != nil {
		return nil, fmt.Errorf("look for subordinate ids: read %s: %w", file, err)
	}
	if len(ranges) == 0 {
		// It is not installed everywhere, and its failure means no more than that there are none.
		if out, err := exec.CommandContext(ctx, "getsubids", append(getsubidsOptions, name)...).Output(); err == nil {
			ranges = parseGetsubids(out)
		}
	}
	if n := total(ranges); n < minSubIDs {
		return nil, noRange(name, file, n)
	}
	return ranges, nil
}

// write writes the maps of a process that waits in a new user namespace. The programs are setuid: the kernel lets an
// ordinary user map nothing but itself, and that without groups.
func (m IDMaps) write(ctx context.Context, pid int) error {
	if m.own {
		files := [][2]string{{"uid_map", lines(m.Uid)}, {"gid_map", lines(m.gid)}}
		if m.groupless {
			files = append([][2]string{{"setgroups", "deny"}}, files...)
		}
		for _, f := range files {
			if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, f[0]), []byte(f[1]), 0); err != nil {
				return err
			}
		}
		return nil
	}
	for _, m := range []struct {
		program string
		args    []string
	}{{"newuidmap", m.Uid}, {"newgidmap", m.gid}} {
		out, err := exec.CommandContext(ctx, m.program,
			append([]string{strconv.Itoa(pid)}, m.args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", m.program, err, bytes.TrimSpace(out))
		}
	}
	return nil
}
