// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
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
