// SPDX-License-Identifier: Apache-2.0

package step

import (
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/shellfunction"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// initramfsFunctionsPath is the file of the functions that mkinitramfs and its hooks use.
const initramfsFunctionsPath = "/usr/share/initramfs-tools/hook-functions"

// initramfsFunctionsText replaces copy_file, and calls the own one by another name for everything but usual files. That
// one starts five programs for each file, of which the initramfs of bookworm has 2000, and three for a file that is
// already there.
//
//go:embed initramfs_functions.sh
var initramfsFunctionsText string

// knownCopyFile are the digests of the texts of copy_file that the one of initramfsFunctionsText can replace.
var knownCopyFile = map[string]bool{
	"696315bc30ecbbf21cd903258e3fe5a97cc57fc02329b3a46b1d553e5a53ddd7": true, // since 0.142 (bookworm)
	"d64340af2217736ed8813c7e6858419b499b2e17869bf1fb0a7f0f7a72f859e8": true, // since 0.151 (forky): says what is missing
}

// initramfsFunctions returns the text of the file of functions with copy_file replaced. It is "" if that is not known.
func initramfsFunctions(text string) string {
	const name = "copy_file"
	if !knownCopyFile[shellfunction.Digest(text, name)] {
		return ""
	}
	return shellfunction.Rename(text, name, "initramfs_tools_"+name) + "\n" + initramfsFunctionsText
}

// withInitramfsFunctions calls run with a mount of the changed functions over those of the target, if they are known.
// They are inputs of the initramfs (initramfsInputDirs) as they are in the target.
func (s *Context) withInitramfsFunctions(run func(mounts []specs.Mount) error) (err error) {
	if s.RealDpkg {
		return run(nil)
	}
	text, err := s.Target.ReadFile(initramfsFunctionsPath)
	if errors.Is(err, fs.ErrNotExist) {
		return run(nil)
	}
	if err != nil {
		return err
	}
	changed := initramfsFunctions(string(text))
	if changed == "" {
		return run(nil)
	}
	dir, err := os.MkdirTemp(s.Tmp, "initramfs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := filepath.Join(dir, "hook-functions")
	if err := os.WriteFile(name, []byte(changed), 0o644); err != nil {
		return err
	}
	return run([]specs.Mount{target.Bind(name, initramfsFunctionsPath, "ro")})
}
