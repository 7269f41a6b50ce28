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

// tell tells what --explain-cache asks for.
func (store *Store) tell(text string) {
	if store.Settings.Explain != nil {
		store.Settings.Explain(text)
	}
}

// explain tells of each step whose result is kept where its result comes from, and of the first that has to run what is
// different from the last build that was like this one.
func (store *Store) explain(ctx context.Context, all []Step, s Start) error {
	if store.Settings.Explain == nil {
		return nil
	}
	place := ""
	if s.shared != nil {
		place = ", in " + s.shared.from.String()
	}
	for _, l := range s.Entries {
		if l.kept {
			store.Settings.Explain("cached: " + l.Title + place)
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

// reason says why steps run that follow the known ones: what is different from the last build that had those in common.
func (store *Store) reason(ctx context.Context, known []Entry, steps []Step) (string, error) {
	if store.Settings.Rebuild {
		return "the cache is not to be used", nil
	}
	all, err := store.Engine.Snapshots()
	if err != nil {
		return "", err
	}
	shared := looks{}
	for _, snapshot := range all { // the last used first
		chain, err := readChain(snapshot.Labels)
		if err != nil || len(chain) <= len(known) {
			continue
		}
		if !slices.EqualFunc(known, chain[:len(known)], func(a, b Entry) bool { return a.Digest == b.Digest }) {
			continue
		}
		before := firstDigest(store.Settings.Program)
		if len(known) > 0 {
			before = known[len(known)-1].Digest
		}
		for i, old := range chain[len(known):] {
			if i == len(steps) {
				break
			}
			v, unknown := store.look(steps[i], shared)
			if unknown != nil {
				return fmt.Sprintf("%s: %v", steps[i].Title(), unknown), nil
			}
			now, err := newEntry(before, steps[i], v)
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

// difference names the inputs of a step that are not what they were.
func difference(old, now Entry, step Step, kept records) []string {
	if old.Kind != now.Kind {
		return []string{"this step was not there"}
	}
	var was, is map[string]json.RawMessage
	if json.Unmarshal(old.Inputs, &was) != nil || json.Unmarshal(now.Inputs, &is) != nil {
		return []string{"its data have another form"}
	}
	var changes []string
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
		changes = append(changes, cmp.Or(step.Changed(""), "a password is another"))
	default:
		changes = append(changes, "another version of this program ran it")
	}
	return changes
}

// brief is enough of a value to recognise it.
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
