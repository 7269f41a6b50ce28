// SPDX-License-Identifier: Apache-2.0

package containerfile

import (
	"cmp"
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// Instruction is one that changes the root file system: exactly one of Run, Copy and Workdir is set. Of those in
// Stage.Described none is set.
type Instruction struct {
	// Line is its first line, and Text the source, on one line.
	Line    int
	Text    string
	Run     *Run
	Copy    *Copy
	Workdir *Workdir
}

// Name returns the first word of the instruction, in capitals.
func (i Instruction) Name() string {
	name, _, _ := strings.Cut(i.Text, " ")
	return strings.ToUpper(name)
}

// Mounts returns the mounts of a RUN.
func (i Instruction) Mounts() []Mount {
	if i.Run == nil {
		return nil
	}
	return i.Run.Mounts
}

// Run is a RUN instruction.
type Run struct {
	Args []string
	// Script is the text of a heredoc that begins with "#!"; it is the program ScriptFile of Args.
	Script string
	// Env are the variables, sorted.
	Env           []string
	Workdir, User string
	Mounts        []Mount
}

// ScriptFile is where the Script of a Run is while it runs.
const ScriptFile = "/dev/pipes/script"

// Mount is a --mount of a Run. Its fields are those of the language.
type Mount struct {
	*instructions.Mount
	// Stage is the index of the stage that From names, or -1 for the context.
	Stage int
}

// Types of mounts.
const (
	MountBind   = instructions.MountTypeBind
	MountCache  = instructions.MountTypeCache
	MountSecret = instructions.MountTypeSecret
	MountTmpfs  = instructions.MountTypeTmpfs
)

// CacheID is what identifies the files of a mount of the type cache.
func (m Mount) CacheID() string { return cmp.Or(m.Mount.CacheID, m.Target) }

// SecretID is the secret that a mount of the type secret is about.
func (m Mount) SecretID() string { return cmp.Or(m.Mount.CacheID, m.Source, path.Base(m.Target)) }

// SecretTarget is the file of a mount of the type secret; "" if it sets a variable only.
func (m Mount) SecretTarget() string {
	if m.Target != "" || m.Env != nil {
		return m.Target
	}
	return "/run/secrets/" + path.Base(m.SecretID())
}

// SecretVariable is the variable that a mount of the type secret sets, or "".
func (m Mount) SecretVariable() string {
	if m.Env == nil {
		return ""
	}
	return cmp.Or(*m.Env, m.SecretID())
}

// Copy is a COPY or ADD instruction.
type Copy struct {
	// Stage is the index of the stage whose files are copied, or -1 for the context.
	Stage int
	// Sources are patterns of paths, relative to the context or to the root directory of the stage, or URLs, see IsURL.
	Sources []string
	// Inline are files whose content is in the Containerfile.
	Inline []Inline
	// Destination is absolute. It is a directory if it ends in a slash.
	Destination string
	// Chown is USER, USER:GROUP or ""; Chmod is octal or "".
	Chown, Chmod string
	Exclude      []string
	// SHA256 is the digest, in hexadecimal, that the file of the only URL must have; "" for any.
	SHA256 string
	// Unpack has tar archives unpacked, and UnpackURLs those of URLs.
	Unpack, UnpackURLs bool
}

// Inline is a file whose content is in the Containerfile.
type Inline struct{ Name, Text string }

// Workdir makes a directory, which belongs to User.
type Workdir struct{ Path, User string }
