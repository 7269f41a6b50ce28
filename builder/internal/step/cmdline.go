// SPDX-License-Identifier: Apache-2.0

package step

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// KernelArgumentsFile is where kernel-install(8) looks for the arguments of the kernels that it installs; our own
// program for extlinux does so too.
const KernelArgumentsFile = "/etc/kernel/cmdline"

// WriteKernelArguments writes the file. What the user's own program put there comes last, so that it has the last word;
// if it names the root file system, it is complete.
func WriteKernelArguments(t target.Files, arguments string) error {
	text, err := t.ReadFile(KernelArgumentsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	own := strings.Fields(string(text))
	if slices.ContainsFunc(own, func(word string) bool { return strings.HasPrefix(word, "root=") }) {
		return nil
	}
	all := append(strings.Fields(arguments), own...)
	return t.WriteFile(KernelArgumentsFile, []byte(strings.Join(all, " ")+"\n"), 0o644)
}
