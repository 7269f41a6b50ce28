package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// namePrefix begins the names of all snapshots that builds make.
const namePrefix = "localhost/vmdebootstrap/"

// SnapshotPrefix begins the names of the snapshots that dear steps end in; the digest follows.
const SnapshotPrefix = namePrefix + "step:"

// Labels of a snapshot.
const (
	labelChain  = "chain"  // the links, as JSON
	labelSeed   = "seed"   // Lock.Seed of the build that made it
	labelLayers = "layers" // names of its layers, the lowest first, which no others have: each is of one build
	labelTitle  = "title"  // what people read of it, if there is no chain
)

// Cache says how a build uses snapshots of earlier ones.
type Cache struct {
	// Program identifies this program and what all its steps depend on: a snapshot is of use only to the program that made
	// it.
	Program string
	// Rebuild runs each step again and replaces its snapshot.
	Rebuild bool
	// Ours are files that this program writes, its outputs and its log, and directories with such files, that of its
	// state: a hook that sees them has none of them as inputs.
	Ours []string
	// Records is a directory for what Explain needs to know of earlier builds, and for digests of large files; empty for
	// none. Now tells when such a digest may be noted.
	Records string
	Now     func() time.Time
	// Explain is told of each dear step whether it comes from the cache, or why it runs; nil for nobody.
	Explain func(text string)
	// From and To are places at which snapshots are shared with other machines.
	From, To []Remote
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
	// Key signs what is put to To, and checks what comes from From; nil takes everything.
	Key *CacheKey
	// Warn is told of what goes wrong and does not matter to the result.
	Warn func(text string)
}

// countKept counts the steps whose results are kept.
func countKept(steps []step.Step) int {
	n := 0
	for _, step := range steps {
		if step.Kept() {
			n++
		}
	}
	return n
}

// start is where a build begins.
type start struct {
	plan Plan
	// links are those of the steps that need not run.
	links []link
	// snapshot holds their result; "" if there are none.
	snapshot string
	// shared is where the snapshot comes from; nil if it is in the store. origins are those of one in the store.
	shared  *sharedSnapshot
	origins origins
	// layers are the names of the snapshot's layers.
	layers []string
	// seed is where the plan's IDs come from.
	seed uuid.UUID
}

// findStart plans a build and looks for the longest chain of its steps that a snapshot holds, here or at a place of
// --cache-from. IDs of file systems are random unless the Lock fixes them, and no reason to run a step again: a build that
// begins with a snapshot in which they are written takes them over.
func (x *Executor) findStart(ctx context.Context, spec Spec, lock Lock) (start, error) {
	plan, err := NewPlan(spec, lock)
	if err != nil {
		return start{}, err
	}
	s := start{plan: plan, seed: lock.Seed}
	if x.Cache.Rebuild {
		return s, nil
	}
	identity, err := x.identityPlan(spec, lock)
	if err != nil {
		return start{}, err
	}
	var links []link
	var labels map[string]string
	before, shared := firstDigest(x.Cache.Program), looks{}
	for _, step := range identity.Steps {
		v, unknown := x.look(step, shared)
		if unknown != nil {
			break
		}
		l, err := newLink(before, step, v)
		if err != nil {
			return start{}, err
		}
		if step.Kept() {
			found, shared, err := x.findSnapshot(ctx, links, &l, step)
			if err != nil {
				return start{}, err
			}
			if found != nil {
				labels = found.labels
				s.links, s.snapshot, s.origins, s.shared = append(slices.Clone(links), l), found.name, found.origins, shared
				x.recordView(v)
			} else if l.View != nil && len(l.View.Lent) > 0 {
				break // what comes after it depends on what it will be seen to use
			}
		}
		links = append(links, l)
		before = l.Digest
	}
	s.layers = strings.Fields(labels[labelLayers])
	if s.snapshot == "" || lock.SeedFixed {
		return s, nil
	}
	same, err := samePrefix(plan.Steps, identity.Steps, len(s.links))
	if err != nil || same {
		return s, err
	}
	if lock.Seed, err = uuid.Parse(labels[labelSeed]); err != nil {
		return start{}, fmt.Errorf("snapshot %s: its seed: %w", s.snapshot, err)
	}
	s.seed = lock.Seed
	s.plan, err = NewPlan(spec, lock)
	return s, err
}

// findSnapshot looks for a snapshot of a step's result that is good here, nil if there is none. The link takes over what the
// step was seen to use. shared is nil if the snapshot is in the store; else the snapshot has the name that it has at the place.
func (x *Executor) findSnapshot(ctx context.Context, before []link, l *link, step step.Step) (s *localSnapshot, shared *sharedSnapshot, err error) {
	name := SnapshotPrefix + string(l.Own)
	here, err := x.local(name, step.Title())
	if err != nil {
		return nil, nil, err
	}
	for _, s := range here {
		chain, err := readChain(s.labels)
		if err != nil || len(chain) != len(before)+1 {
			return nil, nil, fmt.Errorf("%s does not tell its chain of steps", s.name)
		}
		if good, err := x.adopt(ctx, l, chain[len(before)].Observed, step); err != nil || good {
			return &s, nil, err
		}
	}
	for found := range x.shared(ctx, name, step.Title()) {
		chain, err := readChain(found.image.Labels)
		if err != nil || !continues(chain, before, *l) {
			x.refuse(found, errors.New("it is not what its name says"))
			continue
		}
		if good, err := x.adopt(ctx, l, chain[len(before)].Observed, step); err != nil || good {
			return &localSnapshot{name: name, labels: found.image.Labels}, &found, err
		}
	}
	return nil, nil, ctx.Err()
}

// adopt has a link take over what an earlier run of its step was seen to use, and reports whether all of it is still the
// same.
func (x *Executor) adopt(ctx context.Context, l *link, o *observation, step step.Step) (bool, error) {
	if o != nil {
		if changes, err := x.changes(ctx, o, x.dirsOf(step)); err != nil || len(changes) > 0 {
			return false, err
		}
	}
	return true, l.observe(o)
}

// continues reports whether a chain is the links before and one more, but for what its step was seen to use.
func continues(chain, before []link, l link) bool {
	return len(chain) == len(before)+1 && chain[len(before)].Own == l.Own &&
		slices.EqualFunc(chain[:len(before)], before, func(a, b link) bool { return a.Digest == b.Digest })
}

// identityPlan is the plan that digests are made of: without IDs that nobody asked for.
func (x *Executor) identityPlan(spec Spec, lock Lock) (Plan, error) {
	if !lock.SeedFixed {
		lock.Seed = uuid.Max
	}
	return NewPlan(spec, lock)
}

// samePrefix reports whether the data of the first n steps are the same.
func samePrefix(a, b []step.Step, n int) (bool, error) {
	for i := range n {
		first, err := json.Marshal(a[i])
		if err != nil {
			return false, err
		}
		second, err := json.Marshal(b[i])
		if err != nil || string(first) != string(second) {
			return false, err
		}
	}
	return true, nil
}

// stepLabels are the labels of the snapshot that the last of some steps ends in.
func stepLabels(links []link, layers []string, seed uuid.UUID) (map[string]string, error) {
	chain, err := json.Marshal(links)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		labelChain: string(chain), labelSeed: seed.String(), labelLayers: strings.Join(layers, " "),
	}, nil
}

// keep makes a snapshot of a dear step's result, with the origins of what it rests on.
func (x *Executor) keep(ctx context.Context, target Rootfs, links []link, layers []string, seed uuid.UUID, o origins) error {
	labels, err := stepLabels(links, layers, seed)
	if err != nil {
		return err
	}
	name, labels := o.mark(SnapshotPrefix+string(links[len(links)-1].Own), labels)
	return target.Snapshot(ctx, name, labels)
}

func readChain(labels map[string]string) ([]link, error) {
	var links []link
	err := json.Unmarshal([]byte(labels[labelChain]), &links)
	return links, err
}

// recordView writes down what a view consists of, for --explain-cache.
func (x *Executor) recordView(v *view) {
	if err := v.record(records(x.Cache.Records)); err != nil {
		x.Log.Info("what a step can see is not recorded", slog.Any("because", err))
	}
}

// explain tells of each dear step where its result comes from, and of the first that has to run what is different from
// the last build that was like this one.
func (x *Executor) explain(ctx context.Context, spec Spec, lock Lock, s start) error {
	if x.Cache.Explain == nil {
		return nil
	}
	identity, err := x.identityPlan(spec, lock)
	if err != nil {
		return err
	}
	place := ""
	if s.shared != nil {
		place = ", in " + s.shared.from.String()
	}
	for i, l := range s.links {
		if identity.Steps[i].Kept() {
			x.Cache.Explain("cached: " + l.Title + place)
		}
	}
	steps := identity.Steps[len(s.links):]
	if !slices.ContainsFunc(steps, step.Step.Kept) {
		return nil
	}
	reason, err := x.reason(ctx, s.links, steps)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if step.Kept() {
			x.Cache.Explain(fmt.Sprintf("run: %s: %s", step.Title(), strings.TrimPrefix(reason, step.Title()+": ")))
			reason = "a step before it runs"
		}
	}
	return nil
}

// reason says why steps run that follow the known ones: what is different from the last build that had those in common.
func (x *Executor) reason(ctx context.Context, known []link, steps []step.Step) (string, error) {
	if x.Cache.Rebuild {
		return "the cache is not to be used", nil
	}
	all, err := x.Engine.Snapshots()
	if err != nil {
		return "", err
	}
	shared := looks{}
	for _, snapshot := range all { // the last used first
		chain, err := readChain(snapshot.Labels)
		if err != nil || len(chain) <= len(known) {
			continue
		}
		if !slices.EqualFunc(known, chain[:len(known)], func(a, b link) bool { return a.Digest == b.Digest }) {
			continue
		}
		before := firstDigest(x.Cache.Program)
		if len(known) > 0 {
			before = known[len(known)-1].Digest
		}
		for i, old := range chain[len(known):] {
			if i == len(steps) {
				break
			}
			v, unknown := x.look(steps[i], shared)
			if unknown != nil {
				return fmt.Sprintf("%s: %v", steps[i].Title(), unknown), nil
			}
			now, err := newLink(before, steps[i], v)
			if err != nil {
				return "", err
			}
			changes := difference(old, now, records(x.Cache.Records))
			if len(changes) == 0 && old.Observed != nil {
				if changes, err = x.changes(ctx, old.Observed, x.dirsOf(steps[i])); err != nil {
					return "", err
				}
			}
			if len(changes) > 0 {
				return fmt.Sprintf("%s: %s", now.Title, strings.Join(changes, ", ")), nil
			}
			if before = now.Own; old.Observed != nil {
				before = old.Digest
			}
		}
	}
	return "it has not run yet after the same steps, or its result is gone", nil
}

// difference names the inputs of a step that are not what they were.
func difference(old, now link, kept records) []string {
	if old.Kind != now.Kind {
		return []string{"this step was not there"}
	}
	var was, is map[string]json.RawMessage
	if json.Unmarshal(old.Inputs, &was) != nil || json.Unmarshal(now.Inputs, &is) != nil {
		return []string{"its data have another form"}
	}
	var changes []string
	for name := range is {
		switch {
		case string(was[name]) == string(is[name]):
		case name == "Digest":
			changes = append(changes, "its content is another")
		case name == "Image" && now.Kind == step.Hook{}.Kind():
			changes = append(changes, "its arguments are others")
		default:
			changes = append(changes, fmt.Sprintf("%s was %s and is %s", name, brief(was[name]), brief(is[name])))
		}
	}
	slices.Sort(changes)
	switch {
	case len(changes) > 0 || old.Own == now.Own:
	case now.View != nil && old.View != nil && len(now.View.differences(old.View, kept)) > 0:
		changes = now.View.differences(old.View, kept)
	case old.Secrets != now.Secrets:
		changes = append(changes, secretIsAnother(now.Kind))
	default:
		changes = append(changes, "another version of this program ran it")
	}
	return changes
}

// secretIsAnother says which of the secret inputs of a kind of step it is that has changed.
func secretIsAnother(kind string) string {
	switch kind {
	case step.Command{}.Kind():
		return "its text is another"
	case step.Debootstrap{}.Kind(), step.AptSources{}.Kind():
		return "the credentials of the mirror are others"
	}
	return "a password is another"
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
