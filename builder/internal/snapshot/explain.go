// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// report prints a text for --explain-cache.
func (store *Store) report(text string) {
	if store.Settings.Explain != nil {
		store.Settings.Explain(text)
	}
}

// explain reports for each step whose result is kept where that comes from, and for the first step to run what differs
// from the last similar build.
func (store *Store) explain(ctx context.Context, all []Step, s Start) error {
	if store.Settings.Explain == nil {
		return nil
	}
	suffix := ""
	if s.shared != nil {
		suffix = ", in " + s.shared.from.String()
	}
	for _, l := range s.Entries {
		if l.kept {
			store.Settings.Explain("cached: " + l.Title + suffix)
		}
	}
	steps := all[len(s.Entries):]
	if !slices.ContainsFunc(steps, Step.Kept) {
		return nil
	}
	reason, err := store.reason(ctx, s.Entries, steps)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if step.Kept() {
			store.Settings.Explain(fmt.Sprintf("run: %s: %s", step.Title(),
				strings.TrimPrefix(reason, step.Title()+": ")))
			reason = "a step before it runs"
		}
	}
	return nil
}

// reason returns why the steps after the known ones run: what differs from the last build that begins with the known
// ones.
func (store *Store) reason(ctx context.Context, known []Entry, steps []Step) (string, error) {
	if store.Settings.Rebuild {
		return "cached results are not used", nil
	}
	all, err := store.Engine.Snapshots()
	if err != nil {
		return "", err
	}
	shared := listings{}
	for _, snapshot := range all { // the most recently used first
		chain, err := readChain(snapshot.Labels)
		if err != nil || len(chain) <= len(known) {
			continue
		}
		if !slices.EqualFunc(known, chain[:len(known)], func(a, b Entry) bool { return a.Digest == b.Digest }) {
			continue
		}
		before := store.firstDigest()
		if len(known) > 0 {
			before = known[len(known)-1].Digest
		}
		for i, old := range chain[len(known):] {
			if i == len(steps) {
				break
			}
			v, unknown := store.viewOf(steps[i], shared)
			if unknown != nil {
				return fmt.Sprintf("%s: %v", steps[i].Title(), unknown), nil
			}
			now, err := store.newEntry(before, steps[i], v)
			if err != nil {
				return "", err
			}
			changes := difference(old, now, steps[i], records(store.Settings.Records))
			if len(changes) == 0 && old.Observed != nil {
				if changes, err = store.changes(ctx, old.Observed, store.dirsOf(steps[i])); err != nil {
					return "", err
				}
			}
			if len(changes) > 0 {
				return fmt.Sprintf("%s: %s", now.Title, strings.Join(changes, ", ")), nil
			}
			if before = now.Content; old.Observed != nil {
				before = old.Digest
			}
		}
	}
	return "it has not run yet after the same steps, or its result is gone", nil
}

// difference describes the inputs of a step that have changed.
func difference(old, now Entry, step Step, kept records) []string {
	if old.Kind != now.Kind {
		return []string{"this step is new"}
	}
	var was, is map[string]json.RawMessage
	if json.Unmarshal(old.Inputs, &was) != nil || json.Unmarshal(now.Inputs, &is) != nil {
		return []string{"the format of its data has changed"}
	}
	var changes []string
	if old.Version != now.Version {
		changes = append(changes, "another version of this program ran it")
	}
	for name := range is {
		if string(was[name]) != string(is[name]) {
			both := fmt.Sprintf("%s was %s and is %s", name, brief(was[name]), brief(is[name]))
			changes = append(changes, cmp.Or(step.Changed(name), both))
		}
	}
	slices.Sort(changes)
	switch {
	case len(changes) > 0 || old.Content == now.Content:
	case now.View != nil && old.View != nil && len(now.View.differences(old.View, kept)) > 0:
		changes = now.View.differences(old.View, kept)
	case old.Secrets != now.Secrets:
		changes = append(changes, cmp.Or(step.Changed(""), "a password has changed"))
	default:
		changes = append(changes, "SOURCE_DATE_EPOCH has changed") // no step before it has
	}
	return changes
}

// brief shortens a value for a message.
func brief(value json.RawMessage) string {
	const most = 60
	text := []rune(string(value))
	if len(text) == 0 {
		return "nothing"
	}
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}
