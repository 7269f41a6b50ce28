// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/containerfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
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
		f, err := readContainerfile(a.Text, o, arch, w)
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
	for flag, given := range map[string]int{"--build-arg": len(o.BuildArgs), "--secret": len(o.BuildSecrets)} {
		if given > 0 && len(files) == 0 {
			problems = append(problems, problem.New(flag, "there is no --containerfile")...)
		}
	}
	return files, problems
}

// readContainerfile reads a Containerfile that begins with the root file system of a build.
func readContainerfile(name string, o Options, arch debian.Arch, w World) (evaluatedFile, error) {
	text, err := w.ReadFile(name)
	if err != nil {
		return evaluatedFile{}, err
	}
	parsed, err := containerfile.Parse(name, text)
	if err != nil {
		return evaluatedFile{}, err
	}
	f, err := evaluate(name, parsed, o, arch, func(image string) (containerfile.Config, error) {
		if image != rootfsBase {
			return containerfile.Config{}, fmt.Errorf("%s: the Containerfile of a build begins with %q, the system that "+
				"it builds", image, rootfsBase)
		}
		return defaultConfig, nil
	})
	if err != nil {
		return evaluatedFile{}, err
	}
	missing, _ := f.missingSecrets(o.BuildSecrets)
	return f, errors.Join(append(f.wrongBase(), missing...)...)
}

// defaultConfig is that of an image which has none.
var defaultConfig = containerfile.Config{Env: step.BaseEnv[:1]} // the search path

// evaluate evaluates a Containerfile. base returns the configuration of the images that stages begin with.
func evaluate(name string, parsed *containerfile.File, o Options, arch debian.Arch,
	base func(image string) (containerfile.Config, error)) (evaluatedFile, error) {
	p := platform(arch)
	f := evaluatedFile{name: name, unused: parsed.Unused(o.BuildArgs)}
	var err error
	f.stages, err = parsed.Stages(containerfile.Options{
		Args: o.BuildArgs, Arch: p.Architecture, Variant: p.Variant, Base: base,
	})
	return f, err
}

// wrongBase finds that the last stage does not continue the root file system of the build.
func (f evaluatedFile) wrongBase() []error {
	last := len(f.stages) - 1
	for f.stages[last].Parent >= 0 {
		last = f.stages[last].Parent
	}
	if s := f.stages[last]; s.Image != rootfsBase {
		return []error{&containerfile.Error{File: f.name, Line: s.Line,
			Err: fmt.Errorf("FROM: the last stage begins with %s, and must begin with %s, the system that is built", s.Image,
				rootfsBase)}}
	}
	return nil
}

// missingSecrets finds the secrets that a RUN requires, as problems, and those that it mounts if they are there, as
// warnings.
func (f evaluatedFile) missingSecrets(secrets []BuildSecret) (problems []error, warnings []string) {
	for _, i := range f.needed() {
		for _, instruction := range f.stages[i].Instructions {
			for _, m := range instruction.Mounts() {
				id := m.SecretID()
				if _, known := findSecret(secrets, id); m.Type != containerfile.MountSecret || known {
					continue
				}
				verb := "mounts"
				if m.Required {
					verb = "requires"
				}
				err := &containerfile.Error{File: f.name, Line: instruction.Line,
					Err: fmt.Errorf("RUN: it %s the secret %q: give --secret id=%s,src=FILE", verb, id, id)}
				if m.Required {
					problems = append(problems, err)
				} else {
					warnings = append(warnings, err.Error())
				}
			}
		}
	}
	return problems, warnings
}

// needed returns the indexes of the last stage and of those that it needs, in their order.
func (f evaluatedFile) needed() []int {
	needed := map[int]bool{}
	var need func(i int)
	need = func(i int) {
		if i < 0 || needed[i] {
			return
		}
		needed[i] = true
		need(f.stages[i].Parent)
		for _, used := range f.stages[i].Uses {
			need(used)
		}
	}
	need(len(f.stages) - 1)
	return slices.Sorted(maps.Keys(needed))
}

// BuildSecret is a secret that RUN --mount=type=secret lends to programs.
type BuildSecret struct {
	ID   string
	Text Secret
}

// unusedSecrets returns the IDs of secrets that no RUN mounts.
func (f evaluatedFile) unusedSecrets(secrets []BuildSecret) []string {
	used := map[string]bool{}
	for _, i := range f.needed() {
		for _, instruction := range f.stages[i].Instructions {
			for _, m := range instruction.Mounts() {
				used[m.SecretID()] = used[m.SecretID()] || m.Type == containerfile.MountSecret
			}
		}
	}
	var unused []string
	for _, s := range secrets {
		if !used[s.ID] {
			unused = append(unused, s.ID)
		}
	}
	return unused
}

func findSecret(secrets []BuildSecret, id string) (Secret, bool) {
	i := slices.IndexFunc(secrets, func(s BuildSecret) bool { return s.ID == id })
	if i < 0 {
		return Secret{}, false
	}
	return secrets[i].Text, true
}

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

// PlanStage is a stage of a Containerfile whose files others use. It is made when the first of these needs it.
type PlanStage struct {
	// ID identifies it, see step.StageRef, and Title is its name for users.
	ID, Title string
	// Steps are all from an empty root file system on; the last Own are those of its instructions.
	Steps []step.Step
	Own   int

	identities []step.Step // see Plan
}

// own returns the steps of the instructions.
func (s PlanStage) own() []step.Step { return s.Steps[len(s.Steps)-s.Own:] }

// containerPlan makes steps of a Containerfile.
type containerPlan struct {
	evaluatedFile
	lock    Lock
	secrets []BuildSecret
	// base returns the steps that make what a stage begins with.
	base func(image string) []step.Step
	// probe is what grub-probe answers.
	probe grub.ProbeAnswers
	// refs are references to the stages so far.
	refs map[int]step.StageRef
}

// addContainerfile adds the steps of a Containerfile.
func (p *Plan) addContainerfile(c containerPlan) {
	c.refs = map[int]step.StageRef{}
	last := len(c.stages) - 1
	for _, i := range c.needed() {
		own := c.steps(i)
		all := slices.Concat(c.base(c.image(i)), own)
		if i == last {
			p.Steps = all
			continue
		}
		c.refs[i] = stageRef(all)
		p.Stages = append(p.Stages, PlanStage{ID: c.refs[i].ID, Title: c.stageTitle(i), Steps: all, Own: len(own)})
	}
}

// stageRef returns the reference to a stage with these steps.
func stageRef(all []step.Step) step.StageRef {
	var texts []string
	var ref step.StageRef
	for _, s := range all {
		data, err := json.Marshal(s)
		if err != nil {
			panic("BUG: data of step " + s.Kind() + ": " + err.Error())
		}
		texts = append(texts, s.Kind(), string(data))
		switch s := s.(type) {
		case step.ContainerCopy:
			ref.Secrets = append(ref.Secrets, s.Stage.Secrets...)
		case step.ContainerRun:
			for _, m := range s.Mounts {
				ref.Secrets = append(ref.Secrets, m.Stage.Secrets...)
				if !m.Secret.IsZero() {
					ref.Secrets = append(ref.Secrets, m.Secret)
				}
			}
		}
	}
	ref.ID = string(snapshot.HashOf(texts...))
	return ref
}

// image returns the image that a stage, or the stage that it continues, begins with.
func (f evaluatedFile) image(i int) string {
	for f.stages[i].Parent >= 0 {
		i = f.stages[i].Parent
	}
	return f.stages[i].Image
}

// stageTitle returns the name of a stage for users.
func (f evaluatedFile) stageTitle(i int) string {
	if name := f.stages[i].Name; name != "" {
		return fmt.Sprintf("stage %s of %s", name, filepath.Base(f.name))
	}
	return fmt.Sprintf("stage %d of %s", i, filepath.Base(f.name))
}

// steps returns the steps of a stage, with those of the stages that it continues.
func (c containerPlan) steps(stage int) []step.Step {
	var steps []step.Step
	if parent := c.stages[stage].Parent; parent >= 0 {
		steps = c.steps(parent)
	}
	for _, i := range c.stages[stage].Instructions {
		switch title := c.title(i); {
		case i.Run != nil:
			r := step.ContainerRun{Instruction: title, Args: i.Run.Args, Script: i.Run.Script, Env: i.Run.Env,
				Workdir: i.Run.Workdir, User: i.Run.User, Mounts: c.mounts(i), Probe: c.probe}
			if r.Script != "" {
				r.ScriptFile = containerfile.ScriptFile
			}
			steps = append(steps, r)
		case i.Workdir != nil:
			steps = append(steps, step.ContainerWorkdir{Instruction: title, Path: i.Workdir.Path, User: i.Workdir.User})
		case i.Copy != nil:
			s := step.ContainerCopy{Instruction: title, Destination: i.Copy.Destination, Chown: i.Copy.Chown,
				Chmod: i.Copy.Chmod}
			if i.Copy.Stage >= 0 {
				s.Stage, s.Patterns, s.Exclude = c.refs[i.Copy.Stage], i.Copy.Sources, i.Copy.Exclude
			} else {
				s.Sources = slices.Clone(c.lock.Copied[c.instructionID(i)])
			}
			for _, inline := range i.Copy.Inline {
				s.Sources = append(s.Sources, step.CopySource{Name: inline.Name, Inline: true, Text: inline.Text})
			}
			steps = append(steps, s)
		}
	}
	return steps
}

// mounts returns the mounts of a RUN.
func (c containerPlan) mounts(i containerfile.Instruction) []step.RunMount {
	var mounts []step.RunMount
	for n, m := range i.Run.Mounts {
		mount := step.RunMount{Type: string(m.Type), Target: m.Target, UID: number(m.UID, 0), GID: number(m.GID, 0)}
		switch m.Type {
		case containerfile.MountSecret:
			text, known := findSecret(c.secrets, m.SecretID())
			if !known {
				continue
			}
			mount.ID, mount.Secret, mount.Mode = m.SecretID(), text, number(m.Mode, 0o400)
			mount.Target, mount.Variable = m.SecretTarget(), m.SecretVariable()
		case containerfile.MountCache:
			mount.ID, mount.Mode, mount.Write = m.CacheID(), number(m.Mode, 0o755), !m.ReadOnly
		case containerfile.MountTmpfs:
			mount.Size = m.SizeLimit
		default:
			if m.Stage >= 0 {
				mount.Stage, mount.Source = c.refs[m.Stage], m.Source
				break
			}
			mount.Write = !m.ReadOnly
			for _, src := range c.lock.Copied[c.mountID(i, n)] {
				mount.Digest, mount.Copy = src.Digest, filepath.Join(src.Copy, src.Name)
			}
		}
		mounts = append(mounts, mount)
	}
	return mounts
}

// number returns a number of a mount's option, or what it is without the option.
func number(given *uint64, otherwise uint32) uint32 {
	if given == nil {
		return otherwise
	}
	return uint32(*given)
}

// mountID identifies a mount of an instruction among all Containerfiles of a build.
func (f evaluatedFile) mountID(i containerfile.Instruction, n int) string {
	return fmt.Sprintf("%s mount %d", f.instructionID(i), n)
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
	for _, stage := range f.needed() {
		for _, i := range f.stages[stage].Instructions {
			if err := t.takeInstruction(ctx, flag, f, context, i); err != nil {
				return fmt.Errorf("%s: %w", flag,
					&containerfile.Error{File: f.name, Line: i.Line, Err: fmt.Errorf("%s: %w", i.Name(), err)})
			}
		}
	}
	return nil
}

// takeInstruction copies what an instruction names of the directory of its Containerfile.
func (t taker) takeInstruction(ctx context.Context, flag string, f evaluatedFile, dir *containerfile.Context,
	i containerfile.Instruction) error {
	take := func(id, pattern string, exclude []string, unpack bool) error {
		found, err := dir.Find(pattern, exclude)
		if err != nil {
			return err
		}
		for _, m := range found {
			src, err := t.takeMatch(ctx, m, unpack)
			if err != nil {
				return err
			}
			t.lock.Inputs = append(t.lock.Inputs, Input{flag, m.Path, src.Digest})
			t.lock.Copied[id] = append(t.lock.Copied[id], src)
		}
		return nil
	}
	if i.Copy != nil && i.Copy.Stage < 0 {
		for _, pattern := range i.Copy.Sources {
			if containerfile.IsURL(pattern) {
				src, err := t.takeURL(ctx, pattern, *i.Copy)
				if err != nil {
					return err
				}
				t.lock.Inputs = append(t.lock.Inputs, Input{flag, pattern, src.Digest})
				t.lock.Copied[f.instructionID(i)] = append(t.lock.Copied[f.instructionID(i)], src)
				continue
			}
			if err := take(f.instructionID(i), pattern, i.Copy.Exclude, i.Copy.Unpack); err != nil {
				return err
			}
		}
	}
	for n, m := range i.Mounts() {
		if m.Type == containerfile.MountBind && m.Stage < 0 {
			if err := take(f.mountID(i, n), m.Source, nil, false); err != nil {
				return fmt.Errorf("--mount: %w", err)
			}
		}
	}
	return nil
}

// takeURL downloads a file. The server says when it was changed, and only root may read it, as with Docker.
func (t taker) takeURL(ctx context.Context, url string, c containerfile.Copy) (step.CopySource, error) {
	file, err := t.downloads.DownloadURL(ctx, url, c.SHA256)
	if err != nil {
		return step.CopySource{}, err
	}
	src := step.CopySource{Copy: t.next(), Name: cmp.Or(containerfile.URLName(url), path.Base(c.Destination)),
		Digest: file.SHA256, Time: file.ModTime.Unix()}
	if err := os.Mkdir(src.Copy, 0o700); err != nil {
		return src, err
	}
	dir, err := os.OpenRoot(src.Copy)
	if err != nil {
		return src, err
	}
	defer dir.Close()
	if err := errors.Join(t.downloads.Cache.Copy(ctx, file.SHA256, dir, src.Name), dir.Chmod(src.Name, 0o600),
		dir.Chtimes(src.Name, file.ModTime, file.ModTime)); err != nil {
		return src, err
	}
	return t.unpacked(ctx, src, c.UnpackURLs)
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
	if src.Digest, err = takeTree(ctx, m.Path, file, nil); err != nil {
		return src, err
	}
	return t.unpacked(ctx, src, unpack)
}

// unpacked returns the source of what is in an archive, if a file is one and unpack says so.
func (t taker) unpacked(ctx context.Context, src step.CopySource, unpack bool) (step.CopySource, error) {
	if !unpack {
		return src, nil
	}
	plain, err := plainArchive(ctx, filepath.Join(src.Copy, src.Name), t.next())
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
		if f, ok := s.containerfiles[a.Text]; ok && a.Kind == ActionContainerfile {
			warnings = append(warnings, f.warnings(s.o.BuildSecrets)...)
		}
	}
	return warnings
}

// warnings name what a Containerfile says that has no effect, and what it does not use.
func (f evaluatedFile) warnings(secrets []BuildSecret) []string {
	var warnings []string
	if len(f.unused) > 0 {
		warnings = append(warnings, fmt.Sprintf("--build-arg: no ARG of %s declares %s", f.name,
			strings.Join(f.unused, ", ")))
	}
	if unused := f.unusedSecrets(secrets); len(unused) > 0 {
		warnings = append(warnings, fmt.Sprintf("--secret: no RUN of %s mounts %s", f.name, strings.Join(unused, ", ")))
	}
	_, missing := f.missingSecrets(secrets)
	warnings = append(warnings, missing...)
	lines := map[string][]string{}
	var names []string
	for _, i := range f.stages[len(f.stages)-1].Described {
		if len(lines[i.Name()]) == 0 {
			names = append(names, i.Name())
		}
		lines[i.Name()] = append(lines[i.Name()], strconv.Itoa(i.Line))
	}
	for n, name := range names {
		word := "line"
		if len(lines[name]) > 1 {
			word = "lines"
		}
		names[n] = fmt.Sprintf("%s (%s %s)", name, word, strings.Join(lines[name], ", "))
	}
	return append(warnings, processWarnings(f.name, names)...)
}

// processWarnings says of instructions about the process of a container that they have no effect; nil for none. source
// is the Containerfile or the image that has them.
func processWarnings(source string, instructions []string) []string {
	if len(instructions) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: %s: a disk boots an init system and not a container's process, so that has no "+
		"effect when it boots: set up a systemd unit for it", source, strings.Join(instructions, ", "))}
}

// shells are programs that many images start to be looked at, which is no service.
var shells = []string{"bash", "sh", "/bin/bash", "/bin/sh", "/usr/bin/bash", "/usr/bin/sh"}

// configWarnings name what the configuration of an image says that has no effect on a disk. The search path is that of
// the system.
func configWarnings(image string, c imgspec.ImageConfig) []string {
	var names []string
	add := func(instruction string, has bool) {
		if has {
			names = append(names, instruction)
		}
	}
	var variables []string
	for _, kv := range c.Env {
		if name, _, _ := strings.Cut(kv, "="); name != "PATH" {
			variables = append(variables, name)
		}
	}
	add(fmt.Sprintf("ENV (%s)", strings.Join(variables, ", ")), len(variables) > 0)
	add("USER", !containerfile.IsRoot(c.User))
	add("ENTRYPOINT", len(c.Entrypoint) > 0)
	add("CMD", len(c.Cmd) > 1 || len(c.Cmd) == 1 && !slices.Contains(shells, c.Cmd[0]))
	add("EXPOSE", len(c.ExposedPorts) > 0)
	add("VOLUME", len(c.Volumes) > 0)
	add("STOPSIGNAL", c.StopSignal != "")
	return processWarnings(image, names)
}
