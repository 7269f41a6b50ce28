// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/hooks"
)

// The user's files are read once: they are copied to a directory of the build, and hashed while that happens.
// Steps read the copies. So a file that somebody changes while packages are downloaded cannot end in a
// snapshot under the digest of what it was before.

// Take copies the files of the host that a build uses into dir, which must not exist, and notes their digests
// in the Lock. downloads gets the files of URLs of Containerfiles.
func (l *Lock) Take(ctx context.Context, spec Spec, dir string, downloads *archive.Client) error {
	o := spec.Options()
	t := taker{dir: dir, lock: l, downloads: downloads, digests: map[string]string{}, copies: new(int)}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	l.Copies, l.Copied = map[string]string{}, map[string][]step.CopySource{}
	for _, action := range o.Actions {
		digest := ""
		if action.Kind == ActionContainerfile {
			if err := t.takeContext(ctx, action.Flag(), spec.containerfiles[action.Text]); err != nil {
				return err
			}
		}
		if name := action.source(); name != "" {
			var err error
			if digest, err = t.take(ctx, action.Flag(), name, action.Kind == ActionScript); err != nil {
				return err
			}
		}
		l.Actions = append(l.Actions, digest)
	}
	for _, name := range o.CustomPackages {
		digest, err := t.take(ctx, "--custom-package", name, true)
		if err != nil {
			return err
		}
		if err := checkPackage(ctx, l.Copy(name)); err != nil {
			return fmt.Errorf("--custom-package: %s: %w", name, err)
		}
		l.CustomPackages = append(l.CustomPackages, digest)
	}
	var err error
	if name := spec.ownScripts(); name != "" {
		if l.Scripts, err = t.take(ctx, "--debootstrap-scripts", name, true); err != nil {
			return err
		}
	}
	if name := spec.Trust().Keyring; name != "" {
		if _, err := t.take(ctx, "--debootstrapopts keyring", name, true); err != nil {
			return err
		}
	}
	for _, f := range o.seedFiles() {
		if _, err := t.take(ctx, f.flag, f.file, true); err != nil {
			return err
		}
	}
	for _, k := range o.namedKeys() {
		if _, err := t.take(ctx, k.flag, k.file, true); err != nil {
			return err
		}
	}
	if name := o.AptPreferences; name != "" {
		if _, err := t.take(ctx, "--apt-preferences", name, true); err != nil {
			return err
		}
	}
	if name := o.ABKey; name != "" {
		if _, err := t.take(ctx, "--ab-key", name, true); err != nil {
			return err
		}
	}
	for _, r := range o.Repositories {
		for _, name := range r.Keys {
			if _, err := t.take(ctx, "--repository-key", name, true); err != nil {
				return err
			}
		}
	}
	if file, own := ownDeviceTree(o.DTB); own {
		if _, err := t.take(ctx, "--dtb", file, true); err != nil {
			return err
		}
	}
	for _, b := range o.Blobs {
		if b.Rootfs {
			continue
		}
		if _, err := t.take(ctx, "--raw", b.File, true); err != nil {
			return err
		}
	}
	return nil
}

// Copy is where the copy of a file is that Take has taken. What was not taken, because there is only a plan
// to print, is where it is.
func (l Lock) Copy(name string) string {
	if copied, ok := l.Copies[name]; ok {
		return copied
	}
	return name
}

// source is the file or directory of the host that an action of a build uses; "" if there is none. A script
// of the phase image runs after the build, where the user has it.
func (a Action) source() string {
	switch {
	case a.Kind == ActionScript && a.Phase != hooks.PhaseImage:
		return a.Text
	case a.Kind == ActionCopy:
		src, _, err := a.copied()
		if err != nil {
			panic("BUG: not checked: " + err.Error())
		}
		return src
	default:
		return ""
	}
}

// taker copies files into a directory, each once.
type taker struct {
	dir       string
	lock      *Lock
	downloads *archive.Client
	digests   map[string]string
	copies    *int
}

// next returns the name of a new copy.
func (t taker) next() string {
	*t.copies++
	return filepath.Join(t.dir, strconv.Itoa(*t.copies))
}

// take copies a file or a directory that the option flag names. follow says that the content alone is of use: a
// symbolic link stands for what it leads to, and permissions are no part of the digest of a file.
func (t taker) take(ctx context.Context, flag, name string, follow bool) (digest string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", flag, err)
			return
		}
		t.lock.Inputs = append(t.lock.Inputs, Input{flag, name, digest})
	}()
	if digest, ok := t.digests[name]; ok {
		return digest, nil
	}
	from := name
	if follow {
		if from, err = filepath.EvalSymlinks(name); err != nil {
			return "", err
		}
	}
	to := t.next()
	info, err := os.Lstat(from)
	if err != nil {
		return "", err
	}
	if info.Mode().IsRegular() && follow {
		digest, err = takeFile(ctx, from, to)
	} else {
		digest, err = takeTree(ctx, from, to, nil)
	}
	if err != nil {
		return "", fmt.Errorf("copy %s: %w", name, err)
	}
	t.digests[name], t.lock.Copies[name] = digest, to
	return digest, nil
}

// takeTree copies a directory, a file, or a symbolic link. keep, if not nil, has the names below from of what is
// copied, "." itself included. The digest is one of the names, permissions and contents of all that is in it. Times are
// not part of it: those of a fresh checkout are always new.
func takeTree(ctx context.Context, from, to string, keep map[string]bool) (string, error) {
	var parts []string
	var dirs []func() error // gives directories their modes, when all is in them
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		dst, text := filepath.Join(to, rel), ""
		switch {
		case keep != nil && !keep[rel] && d.IsDir():
			return fs.SkipDir
		case keep != nil && !keep[rel]:
			return nil
		case info.IsDir():
			err = os.Mkdir(dst, 0o700)
			dirs = append(dirs, func() error { return os.Chmod(dst, info.Mode()) })
		case info.Mode()&fs.ModeSymlink != 0:
			if text, err = os.Readlink(name); err == nil {
				err = os.Symlink(text, dst)
			}
		case info.Mode().IsRegular():
			text, err = takeFile(ctx, name, dst)
		default:
			err = fmt.Errorf("%s is neither a file nor a directory nor a symbolic link", name)
		}
		parts = append(parts, rel, info.Mode().String(), text)
		return err
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = dirs[i]()
	}
	return string(snapshot.HashOf(parts...)), err
}

// takeFile copies a regular file with its mode, time and holes, sharing the data where the file system can do that.
// The digest is the SHA-256 of the copy's content: nobody else writes to that.
func takeFile(ctx context.Context, from, to string) (digest string, err error) {
	// Somebody may have put a named pipe there meanwhile.
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a file", from)
	}
	out, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := errors.Join(out.Truncate(info.Size()), diskimage.CopyFile(ctx, out, in)); err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, snapshot.UntilDone(ctx, out)); err != nil {
		return "", err
	}
	err = errors.Join(out.Chmod(info.Mode()), os.Chtimes(to, info.ModTime(), info.ModTime()))
	return hex.EncodeToString(h.Sum(nil)), err
}

// checkPackage reads a .deb: dpkg would find damage after minutes.
func checkPackage(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return debfile.Check(ctx, f)
}
