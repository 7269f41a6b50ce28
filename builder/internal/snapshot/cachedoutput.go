// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// Making an initramfs takes longer than everything else that a build does after its last hook, and the result
// seldom depends on the hook. So the cache keeps the files that its program writes, with digests of
// everything that the program was seen to use. A build whose target has the same inputs takes the files from
// the cache.
//
// They are kept as snapshots of a small root file system of their own, so that everything about snapshots applies to
// them: the size limit of the cache, its commands, concurrent builds.

// cachedOutputFile describes a run. The contents of its outputs are in the same directory, in files with their numbers
// as names. The name is older than the term; caches have it.
const cachedOutputFile = "/artefact.json"

// cachedRun is what one run of a program used and wrote.
type cachedRun struct {
	Inputs inputs `json:"inputs"`
	// HoldsIDs reports whether the outputs, and so the inputs' digests, depend on the random IDs of the image.
	HoldsIDs bool           `json:"holdsIDs"`
	Outputs  []cachedOutput `json:"outputs"`
}

// cachedOutput is a file that a program has written.
type cachedOutput struct {
	Name string      `json:"name"`
	Mode fs.FileMode `json:"mode"`
}

// Outputs describes what a program makes from files of the target.
type Outputs struct {
	// Kind is that of the step, Title describes it to users.
	Kind, Title string
	// Program identifies the program and its arguments: outputs of one never replace another's.
	Program string
	// InputDirs are directories whose files are inputs, opened or not.
	InputDirs []string
	// KeyFiles are files by whose contents, but for the random IDs of the image, outputs are found: those of another
	// content are kept beside them.
	KeyFiles []string
	// OutputDirs are the directories that outputs may be in.
	OutputDirs []string
	// Mentions reports whether an output of that name contains one of the random IDs of the image.
	Mentions func(name string, data []byte, ids []string) bool
	// Ignored reports whether a file makes no difference to the outputs of an early run, even if the program sees it. nil
	// stands for none.
	Ignored func(name string) bool
}

// outputCache stores and finds the outputs of one program in the target of a chain.
type outputCache struct {
	*Chain
	of Outputs
}

// MakeOutputs calls run to make the outputs of a program in the target, or takes those of an earlier run.
func (c *Chain) MakeOutputs(ctx context.Context, of Outputs, run func() error) error {
	a, title := outputCache{c, of}, of.Title
	name, err := a.name()
	if errors.Is(err, fs.ErrNotExist) {
		return run() // without dpkg's status, the installed packages are unknown
	}
	if err != nil {
		return err
	}
	o, why, err := a.reuse(ctx, name, title)
	if err != nil {
		return fmt.Errorf("use the result of an earlier build: %w", err)
	}
	if why == "" {
		c.store.report("cached: " + title + ": its inputs have not changed")
		used, _ := o.mark(name, map[string]string{})
		c.made, c.origins = append(c.made, used), c.origins.with(o...)
		return nil
	}
	if c.Early != nil {
		whyNot, err := a.useEarly(ctx, name)
		if err != nil || whyNot == "" {
			return err
		}
		why += "; not early: " + whyNot
	}
	c.store.report("run: " + title + ": " + why)
	made, contents, err := a.observe(run)
	var unknown *unknownError
	if err == nil {
		err = a.keep(ctx, name, made, contents)
	} else if !errors.As(err, &unknown) {
		return err
	}
	return a.notKept(ctx, err)
}

// notKept logs why outputs are not kept, unless that is because the build ends.
func (a outputCache) notKept(ctx context.Context, why error) error {
	if why == nil || ctx.Err() != nil {
		return why
	}
	a.store.Log.Info("the result is not kept in the cache", slog.String("step", a.of.Title), slog.Any("because", why))
	return nil
}

// unknownError says why it is not known what a run has used or made.
type unknownError struct{ err error }

func (e *unknownError) Error() string { return e.err.Error() }
func (e *unknownError) Unwrap() error { return e.err }

// observe calls run, and returns what it has used and made. The error is that of run, or an unknownError.
func (a outputCache) observe(run func() error) (made cachedRun, contents [][]byte, err error) {
	before, dirs, err := namesBelow(a.target.Root())
	if err != nil {
		return made, nil, err
	}
	use, unknown, err := observe(dirs, a.store.TempDir, run)
	if err != nil {
		return made, nil, err
	}
	if unknown == nil {
		made, contents, unknown = a.describe(use, before)
	}
	if unknown != nil {
		return made, nil, &unknownError{unknown}
	}
	return made, contents, nil
}

// namesBelow returns all names below a directory of the host, and the directories among them.
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

// dpkgStatus lists the installed packages: programs also depend on files of packages that they do not open.
const dpkgStatus = "/var/lib/dpkg/status"

// name returns the name of the snapshot, which is the same for targets with the same packages and key files.
func (a outputCache) name() (string, error) {
	packages, err := a.target.ReadFile(dpkgStatus)
	if err != nil {
		return "", err
	}
	texts := []string{string(a.store.firstDigest()), a.store.version(a.of.Kind), a.of.Program, string(packages)}
	for _, name := range a.of.KeyFiles {
		data, err := a.target.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		texts = append(texts, inputReader{hidden: a.IDs}.mask(data))
	}
	return NamePrefix + "made:" + string(HashOf(texts...)), nil
}

// reader returns a reader of the inputs of a run.
func (a outputCache) reader(made cachedRun) inputReader {
	r := inputReader{target: a.target, outputs: map[string]bool{}, epoch: a.Epoch}
	for _, o := range made.Outputs {
		r.outputs[o.Name] = true
	}
	if !made.HoldsIDs {
		r.hidden = a.IDs
	}
	if root, err := a.target.Lstat("/"); err == nil {
		r.index, r.dev = a.index, stateOf(root).Dev
	}
	return r
}

// reuse writes the outputs of an earlier run to the target, and returns their origins. If there is no run with the same
// inputs, why says so.
func (a outputCache) reuse(ctx context.Context, name, title string) (o origins, why string, err error) {
	if a.store.Settings.Rebuild {
		return nil, "cached results are not used", nil
	}
	kept, o, err := a.store.fromOne(ctx, name, title)
	if errors.Is(err, fs.ErrNotExist) {
		known := append([]string{"these packages"}, a.of.KeyFiles...)
		return nil, "this version of the program has not run it yet with " + strings.Join(known, " and this ") +
			", or its result is gone", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	made, contents, err := a.open(kept)
	defer func() {
		for _, f := range contents {
			err = errors.Join(err, f.Close())
		}
	}()
	if err != nil {
		return nil, "its result cannot be read: " + err.Error(), nil
	}
	changed, err := a.reader(made).changes(made.Inputs)
	if err != nil {
		return nil, "", err
	}
	if len(changed) > 0 {
		return nil, "changed since: " + firstNames(changed), nil
	}
	for i, output := range made.Outputs {
		err := a.target.CreateFile(output.Name, output.Mode, func(f *os.File) error {
			_, err := io.Copy(f, contents[i])
			return err
		})
		if err != nil {
			why, err = "its result cannot be read: "+err.Error(), nil
			for _, written := range made.Outputs[:i] {
				err = errors.Join(err, a.target.Remove(written.Name))
			}
			return nil, why, err
		}
	}
	return o, "", nil
}

// open reads a run and opens the contents of its outputs. The caller closes them, also after an error.
func (a outputCache) open(kept target.Target) (made cachedRun, contents []*os.File, err error) {
	text, err := kept.ReadFile(cachedOutputFile)
	if err != nil {
		return made, nil, err
	}
	if err := json.Unmarshal(text, &made); err != nil {
		return made, nil, fmt.Errorf("%s: %w", cachedOutputFile, err)
	}
	for i, o := range made.Outputs {
		if !slices.Contains(a.of.OutputDirs, path.Dir(o.Name)) {
			return made, contents, fmt.Errorf("%s is not in a directory for outputs", o.Name)
		}
		// Only write has written to the root file system, so that there is no link on the way.
		f, err := os.OpenFile(filepath.Join(kept.Root(), strconv.Itoa(i)), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			return made, contents, err
		}
		contents = append(contents, f)
	}
	return made, contents, nil
}

// firstNames lists the first few names.
func firstNames(names []string) string {
	const most = 3
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// describe returns what a run in the target has used and made. The error says what it did that files cannot repeat.
func (a outputCache) describe(use usage, before map[string]bool) (made cachedRun, contents [][]byte, err error) {
	t := a.target
	inside := func(hostName string) string { return path.Join("/", strings.TrimPrefix(hostName, t.Root())) }
	for _, hostName := range use.changed {
		output, data, err := a.output(inside(hostName), before[hostName])
		if err != nil {
			return made, nil, err
		}
		if output == nil {
			continue
		}
		made.Outputs = append(made.Outputs, *output)
		contents = append(contents, data)
		made.HoldsIDs = made.HoldsIDs || a.of.Mentions(output.Name, data, a.IDs)
	}
	names, err := target.FilesBelow(t, a.of.InputDirs)
	if err != nil {
		return made, nil, err
	}
	for _, hostName := range use.opened {
		names = append(names, inside(hostName))
	}
	reader := a.reader(made)
	names = slices.DeleteFunc(names, func(name string) bool { return reader.outputs[name] })
	made.Inputs, err = reader.read(names)
	return made, contents, err
}

// keep saves a run in the target.
func (a outputCache) keep(ctx context.Context, name string, made cachedRun, contents [][]byte) error {
	name, labels := a.origins.mark(name, map[string]string{labelTitle: a.of.Program, labelLayers: rand.Text()})
	if err := a.write(ctx, name, labels, made, contents); err != nil {
		return err
	}
	a.made = append(a.made, name)
	return nil
}

// output returns the output with the given name, which a run has changed, and its content; nil for a temporary file.
func (a outputCache) output(name string, before bool) (*cachedOutput, []byte, error) {
	info, err := a.target.Lstat(name)
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	switch {
	case gone && !before:
		return nil, nil, nil
	case gone:
		return nil, nil, errors.New("it removes " + name)
	case err != nil:
		return nil, nil, err
	case before && info.IsDir():
		return nil, nil, nil // only its attributes or times: names in it have their own events
	case before:
		return nil, nil, errors.New("it changes " + name)
	}
	root, err := a.target.Lstat("/")
	if err != nil {
		return nil, nil, err
	}
	st, whose := info.Sys().(*syscall.Stat_t), root.Sys().(*syscall.Stat_t)
	plain := info.Mode().IsRegular() && st.Nlink == 1 && st.Uid == whose.Uid && st.Gid == whose.Gid
	if !plain || !slices.Contains(a.of.OutputDirs, path.Dir(name)) {
		return nil, nil, errors.New("it makes " + name) // not a plain file of root's in a directory for outputs
	}
	data, err := a.target.ReadFile(name)
	return &cachedOutput{name, info.Mode()}, data, err
}

// write writes a run to a root file system of its own, and makes a snapshot of that.
func (a outputCache) write(
	ctx context.Context, name string, labels map[string]string, made cachedRun, contents [][]byte,
) (err error) {
	text, err := json.Marshal(made)
	if err != nil {
		return err
	}
	kept, err := a.store.Engine.Scratch(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	if err := kept.WriteFile(cachedOutputFile, text, 0o644); err != nil {
		return err
	}
	for i, data := range contents {
		if err := kept.WriteFile(fmt.Sprintf("/%d", i), data, 0o644); err != nil {
			return err
		}
	}
	return kept.Snapshot(ctx, name, labels)
}
