// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci/types"
)

// Title returns what people read of a snapshot: what was done last in it.
func Title(s types.Snapshot) string {
	title := cmp.Or(s.Labels[labelTitle], strings.TrimPrefix(ownName(s.Name), NamePrefix))
	if chain, err := readChain(s.Labels); err == nil && len(chain) > 0 {
		title = chain[len(chain)-1].Title
	}
	o, err := originsOf(s.Name, s.Labels)
	if err != nil || len(o) == 0 {
		return title
	}
	var places []string
	for _, from := range o {
		places = append(places, from.Place)
	}
	return title + ", from " + strings.Join(slices.Compact(places), " and ")
}

// LeastRecentlyUsed names the snapshots to remove so that the others take no more than limit: those that were not used
// for longest. Who uses a snapshot uses those that it rests on.
func LeastRecentlyUsed(all []types.Snapshot, limit diskimage.Size) []string {
	used := map[string]time.Time{}
	var total diskimage.Size
	for _, s := range all {
		total += diskimage.Size(s.Size)
		names := []string{ownName(s.Name)}
		if chain, err := readChain(s.Labels); err == nil {
			for _, l := range chain {
				names = append(names, StepPrefix+string(l.Content))
			}
		}
		for _, name := range names {
			if used[name].Before(s.Used) {
				used[name] = s.Used
			}
		}
	}
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b types.Snapshot) int {
		if c := used[ownName(a.Name)].Compare(used[ownName(b.Name)]); c != 0 {
			return c
		}
		return chainLength(b) - chainLength(a) // what rests on others goes first
	})
	var names []string
	for _, s := range order {
		if total <= limit {
			break
		}
		total -= diskimage.Size(s.Size)
		names = append(names, s.Name)
	}
	return names
}

// chainLength is the number of steps in the snapshot.
func chainLength(s types.Snapshot) int {
	chain, _ := readChain(s.Labels)
	return len(chain)
}
