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

// Title describes a snapshot to users: its last step, and its origins.
func Title(s types.Snapshot) string {
	title := cmp.Or(s.Labels[labelTitle], strings.TrimPrefix(localName(s.Name), NamePrefix))
	if chain, err := readChain(s.Labels); err == nil && len(chain) > 0 {
		title = chain[len(chain)-1].Title
	}
	o, err := originsOf(s.Name, s.Labels)
	if err != nil || len(o) == 0 {
		return title
	}
	var remotes []string
	for _, from := range o {
		remotes = append(remotes, from.Remote)
	}
	return title + ", from " + strings.Join(slices.Compact(remotes), " and ")
}

// LeastRecentlyUsed returns the names of the snapshots to remove so that the others take no more than limit. Using a
// snapshot counts as using the snapshots below it.
func LeastRecentlyUsed(all []types.Snapshot, limit diskimage.Size) []string {
	used := map[string]time.Time{}
	var total diskimage.Size
	for _, s := range all {
		total += diskimage.Size(s.Size)
		names := []string{localName(s.Name)}
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
		if c := used[localName(a.Name)].Compare(used[localName(b.Name)]); c != 0 {
			return c
		}
		return chainLength(b) - chainLength(a) // longer chains first
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

// chainLength returns the number of steps in a snapshot.
func chainLength(s types.Snapshot) int {
	chain, _ := readChain(s.Labels)
	return len(chain)
}
