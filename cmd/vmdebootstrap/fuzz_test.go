// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzArguments tests the grammar of vmdebootstrap 1.7 and the syntax of each option's value. Its input is
// the words of a command line, separated by line feeds.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{
		"--image\nx.img\n--size\n2G", "--im=x\n--grub\n--pack=a,b\nignored\n--\n--nothing", "-h", "-x", "--", "--=",
		"--size=\n--no-kernel=1",
		"--user\nalice/pw\n--root-password\n--lock", "--copy-in\na:/b\n--run\ntrue\n--raw\na@8KiB\n--hook\nimage:x",
		"--export\noci-archive:x:y\n--format\nraw,vmdk\n--cache-from\ndocker://r/x\n--cache-to=oci:d",
		"--roottype\next4\n--bootsize=-1\n--swap\n1e9",
		"--config\nx\n--no-default-configs\n--log-mode=0999\n--isolation\nnone",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		root, flags := newRoot(environment{arch: "amd64", dir: "/work", etc: "/etc"}, io.Discard, io.Discard)
		words, err := expand(flags, strings.Split(text, "\n"))
		if err != nil {
			return
		}
		for _, word := range words {
			if name, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "="); !strings.HasPrefix(word, "--") ||
				flags.Lookup(name) == nil {
				t.Errorf("%q is expanded to %q, which is not an option", text, word)
			}
		}
		again, err := expand(flags, words)
		if err != nil || !slices.Equal(again, words) {
			t.Errorf("%q is expanded to %q, and that to %q, %v", text, words, again, err)
		}
		_ = root.ParseFlags(words) // it must not panic; values may be invalid
	})
}

// FuzzReadChecks reads files of --checks: checks that can be run, or errors that name the file.
func FuzzReadChecks(f *testing.F) {
	for _, seed := range []string{
		"login-within: 3m\nunits: [a]\nports: [22]\ndisk-use: {/: 80%, /var: 2GB}",
		"commands:\n- &a {run: x, status: 1, output: ^x$}\n- *a\n- {<<: *a}",
		"files: [a, [b], null]", "packages:", "? [x]\n: y", "- x", "&a [*a]", "", "---\n---\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(t.TempDir(), "checks.yaml")
		writeText(t, name, text)
		checks, err := readChecks(name)
		switch {
		case err != nil:
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%q: %v", text, err)
			}
		case checks.loginWithin == 0 && len(checks.all()) == 0:
			t.Errorf("%q: no checks", text)
		}
	})
}
