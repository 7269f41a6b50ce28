package builder

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// An initramfs takes longer to make than all else that a build does behind its last hook, and seldom depends on what
// the hook does. So the files that its program writes are kept, with digests of all that the program was seen to use, and
// another build whose target has the same of all of these gets the files without running it.
//
// They are kept as snapshots of a small root file system of their own, so that everything which holds for those holds for
// them: the limit of the cache, its verbs, two builds at once.

// artefactFile describes an artefact; the contents of its outputs are beside it, called after their numbers.
const artefactFile = "/artefact.json"

// artefact is what one run of a program used and wrote.
type artefact struct {
	Inputs inputs `json:"inputs"`
	// HoldsIDs says that the outputs, and so the inputs' digests, depend on the random IDs of the image.
	HoldsIDs bool             `json:"holdsIDs"`
	Outputs  []artefactOutput `json:"outputs"`
}

type artefactOutput struct {
	Name string      `json:"name"`
	Mode fs.FileMode `json:"mode"`
}

// artefacts keeps and finds artefacts.
type artefacts struct {
	x *Executor
	// ids are the image's, as texts of the target name them.
	ids []string
	// epoch is the time that the build records, if it is fixed.
	epoch time.Time
	// program tells programs and their arguments apart: artefacts of one never take the place of another's.
	program string
	// whole are directories whose files are inputs, whether they are opened or not.
	whole []string
	// places are the directories that outputs may be in.
	places []string
	// mentions reports whether an output of that name holds one of the ids.
	mentions func(name string, data []byte, ids []string) bool
	// made are the names of those that the target has, and origins are those of all that the target is made of.
	made    []string
	origins origins
}

// Make implements outputCache.
func (all *artefacts) Make(ctx context.Context, t Target, out step.Output, run func() error) error {
	a := *all
	a.program, a.whole, a.places, a.mentions = out.Program, out.Whole, out.Places, out.Mentions
	title := out.Title
	name, err := a.name(t)
	if errors.Is(err, fs.ErrNotExist) {
		return run() // nobody knows what is installed
	}
	if err != nil {
		return err
	}
	o, why, err := a.reuse(ctx, t, name, title)
	if err != nil {
		return fmt.Errorf("use the result of an earlier build: %w", err)
	}
	if why == "" {
		a.explain("cached: " + title + ": all that it uses is the same")
		used, _ := o.mark(name, map[string]string{})
		all.made, all.origins = append(all.made, used), all.origins.with(o...)
		return nil
	}
	a.explain("run: " + title + ": " + why)
	before, dirs, err := namesBelow(t.Root())
	if err != nil {
		return err
	}
	use, unknown, err := observe(dirs, a.x.TempDir, run)
	if err != nil {
		return err
	}
	if unknown == nil {
		name, unknown = a.keep(ctx, t, name, all.origins, use, before)
	}
	switch {
	case unknown == nil:
		all.made = append(all.made, name)
	case ctx.Err() != nil:
		return unknown
	default:
		a.x.Log.Info("the result is not kept in the cache", slog.String("step", title), slog.Any("because", unknown))
	}
	return nil
}

// namesBelow gives all names in a directory of the host, and which of them are directories.
func namesBelow(top string) (names map[string]bool, dirs []string, err error) {
	names = map[string]bool{}
	err = filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreDenied(err)
		}
		if names[name] = true; d.IsDir() {
			dirs = append(dirs, name)
		}
		return nil
	})
	return names, dirs, err
}

func (a artefacts) explain(text string) {
	if a.x.Cache.Explain != nil {
		a.x.Cache.Explain(text)
	}
}

// dpkgStatus says which packages are installed: programs also look at files of them that they do not open.
const dpkgStatus = "/var/lib/dpkg/status"

// name is the same for targets with the same packages.
func (a artefacts) name(t Target) (string, error) {
	packages, err := t.ReadFile(dpkgStatus)
	if err != nil {
		return "", err
	}
	return namePrefix + "made:" + string(hashOf(a.x.Cache.Program, a.program, string(packages))), nil
}

func (a artefacts) reader(t Target, made artefact) inputReader {
	r := inputReader{target: t, outputs: map[string]bool{}, epoch: a.epoch}
	for _, o := range made.Outputs {
		r.outputs[o.Name] = true
	}
	if !made.HoldsIDs {
		r.hidden = a.ids
	}
	return r
}

// reuse puts the outputs of an earlier run into the target, and gives their origins. If there is none whose inputs are the same,
// it says why not.
func (a artefacts) reuse(ctx context.Context, t Target, name, title string) (o origins, why string, err error) {
	if a.x.Cache.Rebuild {
		return nil, "the cache is not to be used", nil
	}
	kept, o, err := a.x.fromOne(ctx, name, title)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "it has not run yet with these packages, or its result is gone", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	made, contents, err := a.read(kept)
	if err != nil {
		return nil, "its result cannot be read: " + err.Error(), nil
	}
	changed, err := a.reader(t, made).changes(made.Inputs)
	if err != nil {
		return nil, "", err
	}
	if len(changed) > 0 {
		return nil, "changed since: " + someOf(changed), nil
	}
	for i, output := range made.Outputs {
		if err := t.WriteFile(output.Name, contents[i], output.Mode); err != nil {
			return nil, "", err
		}
	}
	return o, "", nil
}

// read reads an artefact with the contents of its outputs.
func (a artefacts) read(kept Target) (made artefact, contents [][]byte, err error) {
	text, err := kept.ReadFile(artefactFile)
	if err != nil {
		return made, nil, err
	}
	if err := json.Unmarshal(text, &made); err != nil {
		return made, nil, fmt.Errorf("%s: %w", artefactFile, err)
	}
	for i, o := range made.Outputs {
		if !slices.Contains(a.places, path.Dir(o.Name)) {
			return made, nil, fmt.Errorf("%s is no place for it", o.Name)
		}
		data, err := kept.ReadFile(fmt.Sprintf("/%d", i))
		if err != nil {
			return made, nil, err
		}
		contents = append(contents, data)
	}
	return made, contents, nil
}

// someOf names the first few.
func someOf(names []string) string {
	const most = 3
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// keep keeps what a run has made in a target of these origins, and gives the name of the snapshot. The error says what it did
// that files alone cannot repeat, or what went wrong.
func (a artefacts) keep(ctx context.Context, t Target, name string, o origins, use usage, before map[string]bool) (kept string, err error) {
	inside := func(hostName string) string { return path.Join("/", strings.TrimPrefix(hostName, t.Root())) }
	made := artefact{}
	contents := [][]byte{}
	for _, hostName := range use.changed {
		output, data, err := a.output(t, inside(hostName), before[hostName])
		if err != nil {
			return "", err
		}
		if output == nil {
			continue
		}
		made.Outputs = append(made.Outputs, *output)
		contents = append(contents, data)
		made.HoldsIDs = made.HoldsIDs || a.mentions(output.Name, data, a.ids)
	}
	names, err := target.FilesBelow(t, a.whole)
	if err != nil {
		return "", err
	}
	for _, hostName := range use.opened {
		names = append(names, inside(hostName))
	}
	reader := a.reader(t, made)
	names = slices.DeleteFunc(names, func(name string) bool { return reader.outputs[name] })
	if made.Inputs, err = reader.read(names); err != nil {
		return "", err
	}
	name, labels := o.mark(name, map[string]string{labelTitle: a.program, labelLayers: rand.Text()})
	return name, a.store(ctx, name, labels, made, contents)
}

// output looks at a name that a run has changed: an output with its content, or nothing for a temporary file.
func (a artefacts) output(t Target, name string, before bool) (*artefactOutput, []byte, error) {
	info, err := t.Lstat(name)
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	switch {
	case gone && !before:
		return nil, nil, nil
	case gone:
		return nil, nil, errors.New("it removes " + name)
	case err != nil:
		return nil, nil, err
	case before && info.IsDir():
		return nil, nil, nil // its attributes or times: the names in it have events of their own
	case before:
		return nil, nil, errors.New("it changes " + name)
	}
	root, err := t.Lstat("/")
	if err != nil {
		return nil, nil, err
	}
	st, whose := info.Sys().(*syscall.Stat_t), root.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || st.Nlink != 1 || st.Uid != whose.Uid || st.Gid != whose.Gid || !slices.Contains(a.places, path.Dir(name)) {
		return nil, nil, errors.New("it makes " + name) // no plain file of root's at a known place
	}
	data, err := t.ReadFile(name)
	return &artefactOutput{name, info.Mode()}, data, err
}

// store writes an artefact into a root file system of its own.
func (a artefacts) store(ctx context.Context, name string, labels map[string]string, made artefact, contents [][]byte) (err error) {
	text, err := json.Marshal(made)
	if err != nil {
		return err
	}
	kept, err := a.x.Engine.Scratch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	if err := kept.WriteFile(artefactFile, text, 0o644); err != nil {
		return err
	}
	for i, data := range contents {
		if err := kept.WriteFile(fmt.Sprintf("/%d", i), data, 0o644); err != nil {
			return err
		}
	}
	return kept.Snapshot(ctx, name, labels)
}
