// SPDX-License-Identifier: Apache-2.0

// Package hooks is the contract between vmdebootstrap and the user programs that it runs while it builds an image.
//
// A hook is named with --customize; several run in the order in which they are named. It is started when the system is
// installed and configured, before the package archives are cleaned away and before the initramfs and the boot loader
// are made. It gets two arguments: the directory that holds the root file system, and the name of the image as given
// with
// --image, or an empty text if the build makes no image. It has to end with exit status 0; any other ends the build.
//
// A hook of the phase essential gets the same, but runs when the base system is there and before any other package is
// installed. One of the phase image runs when the image is written, as the caller's own program outside of all
// containers, and gets the name of the image alone.
//
// It runs in a container of tools, as root of a user namespace: its own directory and the directory that vmdebootstrap
// was called in are there under their own names, /proc, /sys and /dev are mounted below the root directory, names
// resolve, daemons of packages are kept from starting, and whatever it leaves mounted or running ends with it. The
// shell library CustomiseLib is at CustomiseLibPath.
//
// Find says which file a name stands for. The package runs nothing: package builder does.
package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// ExamplesDir is where a hook is looked for that is not in the place its name says.
const ExamplesDir = "/usr/share/vmdebootstrap/examples"

// Phase is a moment of the build at which hooks run.
type Phase string

// The phases.
const (
	// PhaseEssential is when the base system is there, and before any other package is installed.
	PhaseEssential Phase = "essential"
	// PhaseCustomize is when the system is installed and configured: that of --customize.
	PhaseCustomize Phase = "customize"
	// PhaseImage is when the image has its name.
	PhaseImage Phase = "image"
)

// executable are the permission bits of which a hook needs one.
const executable fs.FileMode = 0o111

// Find gives the absolute path of a hook: the file called name, relative to dir if it is not absolute, else the one in
// ExamplesDir. stat is os.Stat or takes its place in tests. The error wraps fs.ErrNotExist if there is neither; a
// directory or a file that is not executable is an error as well and hides the one in ExamplesDir, because whoever
// made it meant it.
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
	return "", fmt.Errorf("hook %q is neither there nor in %s: %w", name, ExamplesDir, fs.ErrNotExist)
}
