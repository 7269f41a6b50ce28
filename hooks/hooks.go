// SPDX-License-Identifier: Apache-2.0

// Package hooks is the contract between vmdebootstrap and the user programs that it runs while it builds an image.
//
// A hook is named with --customize; several run in the order in which they are named. It runs after the system is
// installed and configured, before the package archives are removed and before the initramfs and the boot loader are
// made. It gets two arguments: the directory that holds the root file system, and the name of the image as given with
// --image, or an empty text if the build makes no image. Any exit status other than 0 ends the build.
//
// A hook of the phase essential gets the same arguments, but runs after the base system is installed and before any
// other package. A hook of the phase image runs when the image is written, as the caller's own program outside of all
// containers, and gets only the name of the image.
//
// Other hooks run in a container of tools, as root of a user namespace: a hook's own directory and the directory that
// vmdebootstrap was called in have the same names there, /proc, /sys and /dev are mounted below the root directory,
// names resolve, packages cannot start daemons, and whatever a hook leaves mounted or running ends with it. The shell
// library CustomiseLib is at CustomiseLibPath.
//
// Find returns the file that a name stands for, Check whether Linux could run it. Package builder runs it.
package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// ExamplesDir is searched for hooks that do not exist under the name given.
const ExamplesDir = "/usr/share/vmdebootstrap/examples"

// Phase is a moment of the build at which hooks run.
type Phase string

// The phases.
const (
	// PhaseEssential is after the base system is installed, before any other package.
	PhaseEssential Phase = "essential"
	// PhaseCustomize is after the system is installed and configured. It is the phase of --customize.
	PhaseCustomize Phase = "customize"
	// PhaseImage is after the image is complete.
	PhaseImage Phase = "image"
)

// executable holds the permission bits of which a hook needs at least one.
const executable fs.FileMode = 0o111

// Find returns the absolute path of a hook: the file called name, relative to dir if it is not absolute, else
// the one in ExamplesDir. stat is os.Stat, except in tests. The error wraps fs.ErrNotExist if neither exists;
// a directory or a file that is not executable is an error, even if there is one in ExamplesDir, because it
// was probably meant.
func Find(name, dir string, stat func(string) (fs.FileInfo, error)) (string, error) {
	if name == "" {
		return "", errors.New("a hook without a name")
	}
	here := name
	if !filepath.IsAbs(name) {
		here = filepath.Join(dir, name)
	}
	for _, file := range []string{here, filepath.Join(ExamplesDir, name)} {
		info, err := stat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return "", fmt.Errorf("look for hook %q: %w", name, err)
		case !info.Mode().IsRegular():
			return "", fmt.Errorf("hook %q is not a regular file", file)
		case info.Mode()&executable == 0:
			return "", fmt.Errorf("hook %q is not executable: run chmod +x", file)
		}
		return file, nil
	}
	return "", fmt.Errorf("look for hook %q here and in %s: %w", name, ExamplesDir, fs.ErrNotExist)
}

// Check returns an error if file, whose content is text, names an interpreter that exists nowhere: a line of Windows
// ends in a carriage return, which Linux takes for the last letter of the interpreter's name.
func Check(file string, text []byte) error {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if bytes.HasPrefix(line, []byte("#!")) && bytes.HasSuffix(line, []byte("\r")) {
		return fmt.Errorf("hook %q begins with %q: its lines end as on Windows, so that no interpreter has that name: "+
			"run sed -i 's/\\r$//' on it", file, line)
	}
	return nil
}
