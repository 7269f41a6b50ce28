// SPDX-License-Identifier: Apache-2.0

// Package wget answers debootstrap's downloads with files that the build has already.
//
// Debootstrap asks a program called wget for each file. That waits 900 seconds for a silent mirror, and asks 20 times,
// without a word on the terminal. The build has downloaded and verified the suite's files before. This package is the
// program wget of the toolbox: it copies files from a directory (FileName), where they lie under the hosts and paths of
// their URLs, so that debootstrap asks no mirror. A suite that is there is complete: debootstrap takes what another
// compression of an index has to say. The rest, such as packages that only debootstrap's own scripts name, is left to
// the real wget, with limits of ours.
//
// Only the arguments of debootstrap are understood: any options, among them "-O FILE", and a URL at the end.
package wget

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// Name is the base name of the program that debootstrap runs.
const Name = "wget"

const (
	// Path is where debootstrap finds it in the toolbox, before the real one.
	Path = "/usr/local/bin/" + Name
	// Dir is the directory of the files in the toolbox.
	Dir = "/run/mirror"
	// Real is the program that downloads all other files.
	Real = "/usr/bin/wget"
)

// Exit statuses of wget(1).
const (
	statusGeneric = 1
	statusFile    = 3
	statusServer  = 8 // the server has no such file
)

// longest is how long the real wget may take for a file.
const longest = 30 * time.Minute

// Program is the program wget.
type Program struct {
	// Dir has the files, and Real is the name of the real wget.
	Dir, Real string
	// Err receives messages.
	Err io.Writer
}

// Run runs the program with its arguments, and returns the exit status.
func (p Program) Run(ctx context.Context, args []string) int {
	i := slices.Index(args, "-O")
	if i < 0 || i+1 >= len(args)-1 {
		return p.download(ctx, args)
	}
	dst, rawURL := args[i+1], args[len(args)-1]
	name, err := FileName(rawURL)
	if err != nil {
		return p.download(ctx, args)
	}
	err = copyFile(filepath.Join(p.Dir, name), dst)
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(p.Err, "%s: %v\n", Name, err)
		return statusFile
	case p.hasSuite(name):
		fmt.Fprintf(p.Err, "%s: the build has no %s\n", Name, path.Base(name))
		return statusServer
	}
	return p.download(ctx, args)
}

// FileName returns the name below Dir of the file with a URL: its host and path. Credentials are no part of it.
func FileName(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", errors.New("not a URL") // the error would repeat credentials
	}
	name := path.Join(u.Host, u.EscapedPath())
	if u.Host == "" || !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q is not a file of a server", name)
	}
	return name, nil
}

// hasSuite reports whether the file belongs to a suite that is in the directory.
func (p Program) hasSuite(name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		for _, release := range []string{"InRelease", "Release"} {
			if _, err := os.Stat(filepath.Join(p.Dir, dir, release)); err == nil {
				return true
			}
		}
	}
	return false
}

// download runs the real wget.
func (p Program) download(ctx context.Context, args []string) int {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Real, append([]string{"--timeout=30", "--tries=4"}, args...)...)
	cmd.Stdout, cmd.Stderr = p.Err, p.Err
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(p.Err, "%s: %v\n", Name, err)
		return statusGeneric
	}
	return 0
}

// copyFile copies a file; the error wraps fs.ErrNotExist if src does not exist.
func copyFile(src, dst string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return fmt.Errorf("write: %s", err) //nolint:errorlint // a missing directory is no missing file
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
