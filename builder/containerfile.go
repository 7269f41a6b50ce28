// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/containerfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debian"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
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
