// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/containerfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
)

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
