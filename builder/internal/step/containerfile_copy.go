// SPDX-License-Identifier: Apache-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// ContainerCopy is a COPY or ADD instruction of a Containerfile.
type ContainerCopy struct {
	base
	// Instruction is the source with its file and line, for messages.
	Instruction string `json:"-"`
	Sources     []CopySource
	// Stage is the stage that Patterns of paths name files of.
	Stage    StageRef `json:",omitzero"`
	Patterns []string `json:",omitempty"`
	// Exclude are patterns of names that are not copied from the stage.
	Exclude []string `json:",omitempty"`
	// Destination is an absolute path. It is a directory if it ends in a slash, or if there are several files.
	Destination string
	// Chown is USER, USER:GROUP or "", and Chmod octal or "".
	Chown string `json:",omitempty"`
	Chmod string `json:",omitempty"`
}

// CopySource is a part of what a ContainerCopy copies.
type CopySource struct {
	// Name is the name of a file at the destination; it is "" for a directory, whose content is copied.
	Name string `json:",omitempty"`
	// Digest is the digest of the file or directory.
	Digest string `json:",omitempty"`
	// Time is when a file of a URL was changed, in seconds since 1970.
	Time int64 `json:",omitempty"`
	// Copy is the copy that Take has made: a directory that holds the file, or the content.
	Copy string `json:"-"`
	// Archive says that Copy is an uncompressed tar archive, which is unpacked.
	Archive bool `json:",omitempty"`
	// Inline says that Text is the content of the file.
	Inline bool   `json:",omitempty"`
	Text   string `json:",omitempty"`
}

// sourceTree is a CopySource as it is copied: with tree, if that is set.
type sourceTree struct {
	CopySource
	tree diskimage.Tree
}

func (ContainerCopy) Kind() string { return "container.copy" }

// Changed implements Step.
func (ContainerCopy) Changed(input string) string {
	switch input {
	case "Sources", "Stage":
		return "what it copies changed"
	case "":
		return "a secret of the stage has changed"
	}
	return ""
}

// UsesStages implements StageUser.
func (c ContainerCopy) UsesStages() []string {
	if c.Stage.ID == "" {
		return nil
	}
	return []string{c.Stage.ID}
}

func (c ContainerCopy) Title() string { return c.Instruction }

func (c ContainerCopy) Run(ctx context.Context, s *Context) error {
	o, err := lookupOwner(s.Target, c.Chown)
	if err != nil {
		return err
	}
	w := treeWriter{target: s.Target, owner: &o, made: map[string]diskimage.Entry{}}
	if c.Chmod != "" {
		bits, err := strconv.ParseUint(c.Chmod, 8, 12)
		if err != nil {
			return fmt.Errorf("BUG: mode %q: %w", c.Chmod, err)
		}
		mode := uint32(bits)
		w.mode = &mode
	}
	dst := path.Clean(c.Destination)
	var sources []sourceTree
	for _, src := range c.Sources {
		sources = append(sources, sourceTree{CopySource: src})
	}
	if c.Stage.ID != "" {
		found, err := c.fromStage(s.Stages[c.Stage.ID])
		if err != nil {
			return err
		}
		sources = append(found, sources...)
	}
	toDir := strings.HasSuffix(c.Destination, "/") || len(sources) > 1
	if !toDir {
		_, err := s.Target.ReadDir(dst)
		toDir = err == nil
	}
	for _, src := range sources {
		w.dir, w.rename = dst, ""
		if src.Name != "" && !toDir {
			w.dir, w.rename = path.Dir(dst), path.Base(dst)
		}
		if err := mkdirAllAs(s.Target, w.dir, o); err != nil {
			return err
		}
		if err := src.write(ctx, w, c.Chown != ""); err != nil {
			return err
		}
	}
	return nil
}

// fromStage returns the sources in a stage.
func (c ContainerCopy) fromStage(stage target.Target) ([]sourceTree, error) {
	excluded, err := patternmatcher.New(c.Exclude)
	if err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	var sources []sourceTree
	for _, pattern := range c.Patterns {
		names, err := expandIn(stage, "/", strings.Split(strings.Trim(path.Clean("/"+pattern), "/"), "/"))
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%s: %w in the stage", pattern, fs.ErrNotExist)
		}
		for _, name := range names {
			src, err := stageSource(stage, name, excluded)
			if err != nil {
				return nil, err
			}
			sources = append(sources, src)
		}
	}
	return sources, nil
}

// expandIn returns the names below dir that the elements of a pattern match, see path.Match.
func expandIn(stage target.Target, dir string, elements []string) ([]string, error) {
	if len(elements) == 0 || elements[0] == "" {
		return []string{dir}, nil
	}
	matches := []string{elements[0]}
	if strings.ContainsAny(elements[0], `*?[\`) {
		entries, err := stage.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		matches = nil
		for _, e := range entries {
			matched, err := path.Match(elements[0], e.Name())
			if err != nil {
				return nil, fmt.Errorf("%q: %w", elements[0], err)
			}
			if matched {
				matches = append(matches, e.Name())
			}
		}
	}
	var names []string
	for _, m := range matches {
		at := path.Join(dir, m)
		exists, err := target.Exists(stage, at)
		if err != nil {
			return nil, err
		}
		if !exists {
			continue
		}
		below, err := expandIn(stage, at, elements[1:])
		if err != nil {
			return nil, err
		}
		names = append(names, below...)
	}
	return names, nil
}

// stageSource returns a file of a stage, or the content of a directory. A link stands for what it leads to.
func stageSource(stage target.Target, name string, excluded *patternmatcher.PatternMatcher) (sourceTree, error) {
	real, err := securejoin.SecureJoin(stage.Root(), name)
	if err != nil {
		return sourceTree{}, err
	}
	rel, err := filepath.Rel(stage.Root(), real)
	if err != nil {
		return sourceTree{}, err
	}
	info, err := stage.Lstat(rel)
	if err != nil {
		return sourceTree{}, err
	}
	if info.IsDir() {
		return sourceTree{tree: diskimage.Filter(target.Tree(stage, real), func(e diskimage.Entry) bool {
			matched, err := excluded.MatchesOrParentMatches(e.Name)
			return !matched || err != nil // the syntax was checked above
		})}, nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return sourceTree{}, fmt.Errorf("%s is neither a file nor a directory", name)
	}
	base := path.Base(name)
	e := diskimage.Entry{Name: base, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: info.Size(), ModTime: info.ModTime(),
		Open: func() (diskimage.Content, error) { return os.Open(real) }}
	const capability = "security.capability"
	value := make([]byte, 64) // larger than the structures of capabilities(7)
	if n, err := unix.Lgetxattr(real, capability, value); err == nil {
		e.Xattrs = []diskimage.Xattr{{Name: capability, Value: value[:n]}}
	}
	return sourceTree{CopySource{Name: base}, oneFile{e}}, nil
}

// oneFile is a tree of a single file.
type oneFile struct{ file diskimage.Entry }

// Entries implements diskimage.Tree.
func (t oneFile) Entries() iter.Seq2[diskimage.Entry, error] {
	return func(yield func(diskimage.Entry, error) bool) { yield(t.file, nil) }
}

// write writes the source. chown says that its own owners, if it has some, have no meaning.
func (src sourceTree) write(ctx context.Context, w treeWriter, chown bool) error {
	switch {
	case src.Inline:
		name := path.Join(w.dir, src.Name)
		if w.rename != "" {
			name = path.Join(w.dir, w.rename)
		}
		e := diskimage.Entry{Name: name, Mode: unix.S_IFREG | 0o644}
		return w.file(e, name, func(f *os.File) error {
			_, err := f.WriteString(src.Text)
			return err
		})
	case src.tree != nil:
		if !chown {
			w.owner = nil
		}
		return w.write(ctx, src.tree)
	case src.Archive:
		f, err := os.Open(src.Copy)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		tree, err := diskimage.NewTarTree(f, info.Size())
		if err != nil {
			return err
		}
		if !chown {
			w.owner = nil
		}
		return w.write(ctx, tree)
	default:
		return w.write(ctx, diskimage.NewDirTree(src.Copy))
	}
}

// treeWriter adds files of trees to a target.
type treeWriter struct {
	target target.Target
	// dir is the directory for the tree. If rename is set, the only file of the tree gets that name.
	dir, rename string
	// owner and mode, if set, are those of all files; directories keep their own modes.
	owner *owner
	mode  *uint32
	// made are the regular files of the tree, for hard links, which become copies.
	made map[string]diskimage.Entry
}

// write adds a tree. What exists already in the target stays, unless a file of the tree has its name.
func (w treeWriter) write(ctx context.Context, tree diskimage.Tree) error {
	for e, err := range tree.Entries() {
		if err != nil {
			return err
		}
		if e.Name == "." {
			continue
		}
		name := path.Join(w.dir, e.Name)
		if w.rename != "" {
			name = path.Join(w.dir, w.rename)
		}
		if e.HardLink != "" {
			e.Open = w.made[e.HardLink].Open
		}
		if err := w.entry(ctx, e, name); err != nil {
			return err
		}
	}
	return nil
}

// entry adds one entry, without the content of a directory.
func (w treeWriter) entry(ctx context.Context, e diskimage.Entry, name string) error {
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		existing, err := w.target.Lstat(name)
		if err == nil && (existing.IsDir() || existing.Mode()&fs.ModeSymlink != 0) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := w.target.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return w.attributes(e, name, e.Mode)
	case unix.S_IFLNK:
		if err := w.target.Symlink(e.Linkname, name); err != nil {
			return err
		}
		o := w.ownerOf(e)
		return w.target.Lchown(name, o.uid, o.gid)
	case unix.S_IFREG:
		w.made[e.Name] = e
		return w.file(e, name, func(f *os.File) error {
			return errors.Join(diskimage.CopyContent(ctx, f, e),
				os.Chtimes(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), e.ModTime, e.ModTime))
		})
	default:
		return fmt.Errorf("%s is not a file, directory or symbolic link", e.Name)
	}
}

// file adds a regular file with a content.
func (w treeWriter) file(e diskimage.Entry, name string, write func(*os.File) error) error {
	mode := e.Mode
	if w.mode != nil {
		mode = *w.mode
	}
	if err := w.target.CreateFile(name, 0o600, write); err != nil {
		return err
	}
	return w.attributes(e, name, mode)
}

// attributes sets the owner of a file or directory, then what chown(2) clears: its mode and its extended attributes.
func (w treeWriter) attributes(e diskimage.Entry, name string, mode uint32) error {
	o := w.ownerOf(e)
	err := errors.Join(w.target.Lchown(name, o.uid, o.gid), w.target.Chmod(name, fileMode(mode)))
	for _, x := range e.Xattrs {
		err = errors.Join(err, w.target.Lsetxattr(name, x.Name, x.Value))
	}
	return err
}

func (w treeWriter) ownerOf(e diskimage.Entry) owner {
	if w.owner != nil {
		return *w.owner
	}
	return owner{int(e.UID), int(e.GID)}
}

// fileMode returns the permissions of st_mode, see inode(7).
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode) & fs.ModePerm
	for _, bit := range []struct {
		stat uint32
		mode fs.FileMode
	}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}} {
		if mode&bit.stat != 0 {
			m |= bit.mode
		}
	}
	return m
}
