// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
)

// TestIndexesOfModulesAreThoseOfTheKernelsPackages: all packages of a version belong together, with those of depmod,
// and another package of any of them is another key.
func TestIndexesOfModulesAreThoseOfTheKernelsPackages(t *testing.T) {
	t.Parallel()
	const all = "linux-image-amd64 linux-image-6.1-1-amd64 linux-modules-6.1-1-amd64 linux-base " +
		"linux-base-6.1-1-amd64 linux-image-6.2-1-amd64-unsigned " +
		"linux-headers-6.1-1 kmod liblzma5 hello"
	index := toolIndex(t, strings.Fields(all)...)
	packages := func(without string) (packages []*archive.Package) {
		for _, name := range strings.Fields(all) {
			if name != without {
				packages = append(packages, index.Lookup(name))
			}
		}
		return packages
	}
	names := func(m moduleIndexes) string {
		var names []string
		for _, p := range m.packages {
			names = append(names, p.Name)
		}
		return m.version + ": " + strings.Join(names, " ")
	}
	indexes, err := moduleIndexesOf(packages(""), index)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"6.1-1-amd64: linux-image-6.1-1-amd64 linux-modules-6.1-1-amd64 linux-base-6.1-1-amd64 kmod liblzma5",
		"6.2-1-amd64: linux-image-6.2-1-amd64-unsigned kmod liblzma5"}
	var got []string
	for _, m := range indexes {
		got = append(got, names(m))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if indexes[0].key == indexes[1].key {
		t.Error("two versions have the same key")
	}
	less, err := moduleIndexesOf(packages("linux-modules-6.1-1-amd64"), index)
	if err != nil || less[0].key == indexes[0].key {
		t.Errorf("without a package: %v, the same key", err)
	}
	for _, without := range []string{"kmod", "liblzma5"} {
		if m, err := moduleIndexesOf(packages(without), index); err != nil || len(m) > 0 {
			t.Errorf("without %s among the packages: %v, %v", without, m, err)
		}
	}
	if m, err := moduleIndexesOf(nil, toolIndex(t, "hello")); err != nil || len(m) > 0 {
		t.Errorf("without a kernel: %v, %v", m, err)
	}
	if _, err := moduleIndexesOf(packages(""), toolIndex(t, "hello")); err == nil {
		t.Error("an archive without kmod is no error")
	}
}
