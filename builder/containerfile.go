// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/containerfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// rootfsBase is what a Containerfile of a build begins with: the root file system as it is then.
const rootfsBase = "rootfs"

// evaluatedFile is a Containerfile whose instructions are evaluated.
type evaluatedFile struct {
	// name is its path on the host.
	name   string
	stages []containerfile.Stage
	// unused are the names of --build-arg that it does not declare.
	unused []string
}

// findContainerfile returns the path of a Containerfile that is given by its name or that of its directory.
func findContainerfile(name string, w World) (string, error) {
	name = w.absolute(name)
	info, err := w.Stat(name)
	if err != nil || !info.IsDir() {
		return name, err
	}
	for _, base := range []string{"Containerfile", "Dockerfile"} {
		if _, err := w.Stat(filepath.Join(name, base)); err == nil {
			return filepath.Join(name, base), nil
		}
	}
	return name, fmt.Errorf("there is neither a Containerfile nor a Dockerfile in %q", name)
}

// readContainerfiles reads the Containerfiles of the actions.
func readContainerfiles(o Options, arch debian.Arch, w World, problems []error) (map[string]evaluatedFile, []error) {
	files := map[string]evaluatedFile{}
	for _, a := range o.Actions {
		if a.Kind != ActionContainerfile {
			continue
		}
		f, err := readContainerfile(a.Text, o.BuildArgs, arch, w)
		for _, err := range problem.Flatten(err) {
			problems = append(problems, &problem.Problem{Flag: a.Flag(), Err: err})
		}
		files[a.Text] = f
	}
	for _, arg := range o.BuildArgs {
		if name, _, ok := strings.Cut(arg, "="); name == "" || !ok {
			problems = append(problems, problem.New("--build-arg", "%q is not NAME=VALUE", name)...)
		}
	}
	if len(o.BuildArgs) > 0 && len(files) == 0 {
		problems = append(problems, problem.New("--build-arg", "there is no --containerfile")...)
	}
	return files, problems
}

// readContainerfile reads a Containerfile that begins with the root file system of a build.
func readContainerfile(name string, args []string, arch debian.Arch, w World) (evaluatedFile, error) {
	text, err := w.ReadFile(name)
	if err != nil {
		return evaluatedFile{}, err
	}
	parsed, err := containerfile.Parse(name, text)
	if err != nil {
		return evaluatedFile{}, err
	}
	p := platform(arch)
	f := evaluatedFile{name: name, unused: parsed.Unused(args)}
	f.stages, err = parsed.Stages(containerfile.Options{
		Args: args, Arch: p.Architecture, Variant: p.Variant,
		Base: func(image string) (containerfile.Config, error) {
			if image != rootfsBase {
				return containerfile.Config{}, fmt.Errorf("%s: the Containerfile of a build begins with %q, the system that "+
					"it builds", image, rootfsBase)
			}
			return containerfile.Config{Env: step.BaseEnv[:1]}, nil // the search path
		},
	})
	if err != nil {
		return evaluatedFile{}, err
	}
	return f, errors.Join(f.unsupported()...)
}

// unsupported finds what a build does not do with a Containerfile.
func (f evaluatedFile) unsupported() []error {
	var problems []error
	if len(f.stages) > 1 {
		problems = append(problems, &containerfile.Error{File: f.name, Line: f.stages[1].Line,
			Err: errors.New("several stages are not supported")})
	}
	for _, i := range f.stages[0].Instructions {
		if i.Run != nil && len(i.Run.Mounts) > 0 {
			problems = append(problems, &containerfile.Error{File: f.name, Line: i.Line,
				Err: errors.New("RUN: --mount is not supported")})
		}
	}
	return problems
}

// last returns the stage that the root file system comes from.
func (f evaluatedFile) last() containerfile.Stage { return f.stages[len(f.stages)-1] }

// title returns the source of an instruction with its place.
func (f evaluatedFile) title(i containerfile.Instruction) string {
	const most = 80
	text := []rune(i.Text)
	if len(text) > most {
		text = append(text[:most], '…')
	}
	return fmt.Sprintf("%s:%d: %s", filepath.Base(f.name), i.Line, string(text))
}

// instructionID identifies an instruction among all Containerfiles of a build.
func (f evaluatedFile) instructionID(i containerfile.Instruction) string {
	return fmt.Sprintf("%s:%d", f.name, i.Line)
}

// steps returns the steps of the last stage. probe is what grub-probe answers.
func (f evaluatedFile) steps(lock Lock, probe grub.ProbeAnswers) []step.Step {
	var steps []step.Step
	for _, i := range f.last().Instructions {
		switch title := f.title(i); {
		case i.Run != nil:
			r := step.ContainerRun{Instruction: title, Args: i.Run.Args, Script: i.Run.Script, Env: i.Run.Env,
				Workdir: i.Run.Workdir, User: i.Run.User, Probe: probe}
			if r.Script != "" {
				r.ScriptFile = containerfile.ScriptFile
			}
			steps = append(steps, r)
		case i.Workdir != nil:
			steps = append(steps, step.ContainerWorkdir{Instruction: title, Path: i.Workdir.Path, User: i.Workdir.User})
		case i.Copy != nil:
			c := step.ContainerCopy{Instruction: title, Destination: i.Copy.Destination, Chown: i.Copy.Chown,
				Chmod: i.Copy.Chmod, Sources: slices.Clone(lock.Copied[f.instructionID(i)])}
			for _, inline := range i.Copy.Inline {
				c.Sources = append(c.Sources, step.CopySource{Name: inline.Name, Inline: true, Text: inline.Text})
			}
			steps = append(steps, c)
		}
	}
	return steps
}

// takeContext copies what COPY and ADD name of the directory of a Containerfile, which the option flag names.
func (t taker) takeContext(ctx context.Context, flag string, f evaluatedFile) error {
	if _, done := t.digests[f.name]; done {
		return nil
	}
	if _, err := t.take(ctx, flag, f.name, true); err != nil {
		return err
	}
	dir := filepath.Dir(f.name)
	context, err := containerfile.OpenContext(dir, f.name)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	for _, i := range f.last().Instructions {
		if i.Copy == nil {
			continue
		}
		for _, pattern := range i.Copy.Sources {
			found, err := context.Find(pattern, i.Copy.Exclude)
			for _, m := range found {
				if err != nil {
					break
				}
				var src step.CopySource
				src, err = t.takeMatch(ctx, m, i.Copy.Unpack)
				t.lock.Inputs = append(t.lock.Inputs, Input{flag, m.Path, src.Digest})
				t.lock.Copied[f.instructionID(i)] = append(t.lock.Copied[f.instructionID(i)], src)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", flag,
					&containerfile.Error{File: f.name, Line: i.Line, Err: fmt.Errorf("%s: %w", i.Name(), err)})
			}
		}
	}
	return nil
}

// takeMatch copies a file or directory. unpack is for tar archives.
func (t taker) takeMatch(ctx context.Context, m containerfile.Match, unpack bool) (step.CopySource, error) {
	src := step.CopySource{Copy: t.next()}
	if m.Dir {
		var err error
		src.Digest, err = takeTree(ctx, m.Path, src.Copy, m.Keep)
		return src, err
	}
	src.Name = m.Name
	if err := os.Mkdir(src.Copy, 0o700); err != nil {
		return src, err
	}
	file := filepath.Join(src.Copy, m.Name)
	var err error
	if src.Digest, err = takeTree(ctx, m.Path, file, nil); err != nil || !unpack {
		return src, err
	}
	plain, err := plainArchive(ctx, file, t.next())
	if err != nil || plain == "" {
		return src, err
	}
	src.Name, src.Copy, src.Archive = "", plain, true
	return src, nil
}

// plainArchive writes the uncompressed form of a tar archive to a file. It returns "" if it is no archive.
func plainArchive(ctx context.Context, name, to string) (plain string, err error) {
	in, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", err
	}
	f, size, err := tarfile.Spool(ctx, in, filepath.Dir(to))
	if f != nil {
		defer f.Close()
	}
	if err != nil && ctx.Err() == nil {
		return "", nil // it begins like a compressed file and is none
	}
	if err != nil {
		return "", err
	}
	// As Docker decides: a damaged archive is one if its first member can be read.
	if _, err := tar.NewReader(io.NewSectionReader(f, 0, size)).Next(); err != nil {
		return "", nil //nolint:nilerr // no archive
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	return to, errors.Join(diskimage.CopyFile(ctx, out, f), out.Truncate(size), out.Close())
}

// containerfileWarnings name what Containerfiles say that has no effect.
func (s Spec) containerfileWarnings() []string {
	var warnings []string
	for _, a := range s.o.Actions {
		f, ok := s.containerfiles[a.Text]
		if a.Kind != ActionContainerfile || !ok {
			continue
		}
		if len(f.unused) > 0 {
			warnings = append(warnings, fmt.Sprintf("--build-arg: no ARG of %s declares %s", f.name,
				strings.Join(f.unused, ", ")))
		}
		var described []string
		for _, i := range f.last().Described {
			described = append(described, fmt.Sprintf("%s (line %d)", i.Name(), i.Line))
		}
		if len(described) > 0 {
			warnings = append(warnings, fmt.Sprintf("%s: %s: a disk boots an init system and not a container's process, so "+
				"that has no effect, and ENV and USER end with the Containerfile: have RUN or COPY set up a systemd unit",
				f.name, strings.Join(described, ", ")))
		}
	}
	return warnings
}
