// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/grub"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// Action is something of the user's own that is done to the root file system, or with the finished image.
// Actions of one phase happen in the order in which they were given.
type Action struct {
	Phase hooks.Phase
	Kind  ActionKind
	// Text is the name of a script or a Containerfile, or SRC:DST.
	Text string
	// Command is the command of an ActionCommand. Users write passwords and tokens into theirs.
	Command secret.Text
}

// ActionKind is what an Action does.
type ActionKind int

// The kinds of actions.
const (
	// ActionScript runs a program of the host on the root file system: a hook.
	ActionScript ActionKind = iota
	// ActionCommand runs a shell command inside the root file system.
	ActionCommand
	// ActionCopy copies a file or a directory of the host into the root file system.
	ActionCopy
	// ActionContainerfile runs the instructions of a Containerfile on the root file system.
	ActionContainerfile
)

// Script is the action of --customize.
func Script(name string) Action {
	return Action{Phase: hooks.PhaseCustomize, Kind: ActionScript, Text: name}
}

// ParseAction reads the value of an option: --customize, --run, --copy-in, --containerfile, or --hook, whose value is
// PHASE:SCRIPT.
func ParseAction(flag, text string) (Action, error) {
	switch flag {
	case "--run":
		return Action{Phase: hooks.PhaseCustomize, Kind: ActionCommand, Command: secret.New(text)}, nil
	case "--copy-in":
		return Action{Phase: hooks.PhaseCustomize, Kind: ActionCopy, Text: text}, nil
	case "--containerfile":
		return Action{Phase: hooks.PhaseCustomize, Kind: ActionContainerfile, Text: text}, nil
	case "--hook":
		phase, script, _ := strings.Cut(text, ":")
		if script == "" || phase != string(hooks.PhaseEssential) && phase != string(hooks.PhaseImage) {
			return Action{}, fmt.Errorf("%q is not PHASE:SCRIPT with a PHASE of essential or image", text)
		}
		return Action{Phase: hooks.Phase(phase), Kind: ActionScript, Text: script}, nil
	default:
		return Script(text), nil
	}
}

// String is what ParseAction reads, but for a command, which it hides.
func (a Action) String() string {
	if a.Kind == ActionCommand {
		return a.Command.String()
	}
	if a.Flag() == "--hook" {
		return string(a.Phase) + ":" + a.Text
	}
	return a.Text
}

// Flag is the option that gives such an action.
func (a Action) Flag() string {
	switch {
	case a.Kind == ActionCommand:
		return "--run"
	case a.Kind == ActionCopy:
		return "--copy-in"
	case a.Kind == ActionContainerfile:
		return "--containerfile"
	case a.Phase == hooks.PhaseCustomize:
		return "--customize"
	default:
		return "--hook"
	}
}

// resolve makes the names of host files absolute and checks that they are there.
func (a Action) resolve(w World) (Action, error) {
	var err error
	switch a.Kind {
	case ActionScript:
		if a.Text, err = hooks.Find(a.Text, w.Dir, w.Stat); err != nil || w.ReadFile == nil {
			break
		}
		if text, readErr := w.ReadFile(a.Text); readErr == nil { // else Take says why it cannot be read
			err = hooks.Check(a.Text, text)
		}
	case ActionCommand:
		if strings.TrimSpace(a.Command.Reveal()) == "" {
			err = errors.New("an empty command")
		}
	case ActionCopy:
		var src, dst string
		if src, dst, err = a.copied(); err != nil {
			break
		}
		src = w.absolute(src)
		a.Text = src + ":" + dst
		_, err = w.Stat(src)
	case ActionContainerfile:
		a.Text, err = findContainerfile(a.Text, w)
	}
	return a, err
}

// copied takes SRC:DST apart. The last colon divides, because a name in the image has none by custom.
func (a Action) copied() (src, dst string, err error) {
	i := strings.LastIndex(a.Text, ":")
	if i < 1 || !path.IsAbs(a.Text[i+1:]) {
		return "", "", fmt.Errorf("%q is not SRC:DST with an absolute DST", a.Text)
	}
	return a.Text[:i], a.Text[i+1:], nil
}

// step is what the action does while the root file system is made, but for a Containerfile, which has several steps.
// number is that among the commands, probe what grub-probe answers.
func (a Action) step(digest string, lock Lock, image string, number int, probe grub.ProbeAnswers) step.Step {
	switch a.Kind {
	case ActionCommand:
		return step.Command{Command: a.Command, Number: number, Probe: probe}
	case ActionCopy:
		src, dst, err := a.copied()
		if err != nil {
			panic("BUG: not checked: " + err.Error())
		}
		return step.Copy{Digest: digest, Name: filepath.Base(src), Destination: dst, Source: src, Copy: lock.Copy(src)}
	default:
		return step.Hook{
			Digest: digest, Name: filepath.Base(a.Text), Script: a.Text, Copy: lock.Copy(a.Text), Argument: image,
			Image: string(snapshot.HashOf(image)), Probe: probe,
		}
	}
}

// ImageHooks are the scripts to run when the image is written, in their order.
func (s Spec) ImageHooks() []string {
	var scripts []string
	for _, a := range s.o.Actions {
		if a.Phase == hooks.PhaseImage {
			scripts = append(scripts, a.Text)
		}
	}
	return scripts
}

// hookScripts are the names of all scripts.
func (s Spec) hookScripts() []string {
	var scripts []string
	for _, a := range s.o.Actions {
		if a.Kind == ActionScript {
			scripts = append(scripts, a.Text)
		}
	}
	return scripts
}
