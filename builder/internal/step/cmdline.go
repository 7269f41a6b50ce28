// SPDX-License-Identifier: Apache-2.0

package step

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target"
)

// KernelArgumentsFile is the file from which kernel-install(8) reads the arguments for kernels; so does our kernel hook
// for extlinux.
const KernelArgumentsFile = "/etc/kernel/cmdline"

// WriteKernelArguments writes the file. Arguments that the user's hooks have put there come last, so that they take
// precedence. If they contain root=, the file stays as it is.
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
