// SPDX-License-Identifier: Apache-2.0

package diskimage_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// programs builds the programs of the package comment and returns their names in order.
func programs(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, block := range regexp.MustCompile(`(?m)^\tpackage main\n(?:(?:\t.*)?\n)+`).FindAllString(
		file.Doc.Text(), -1) {
		name := filepath.Join(t.TempDir(), fmt.Sprintf("program%d", len(names)+1))
		source := strings.ReplaceAll(block, "\n\t", "\n")
		if err := os.WriteFile(name+".go", []byte(strings.TrimPrefix(source, "\t")), 0o600); err != nil {
			t.Fatal(err)
		}
		diskimagetest.Run(t, "go", "build", "-o", name, name+".go")
		names = append(names, name)
	}
	return names
}

func TestProgramsOfThePackageComment(t *testing.T) {
	t.Parallel()
	all := programs(t)
	if len(all) != 3 {
		t.Fatalf("%d programs, want 3", len(all))
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(in("tree"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("tree/hello"), []byte("hello, world\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	diskimagetest.Run(t, all[0], in("tree"), in("ext4"))
	diskimagetest.Fsck(t, in("ext4"))

	diskimagetest.Run(t, "tar", "-C", in("tree"), "-cf", in("tree.tar"), ".")
	diskimagetest.Run(t, all[1], in("tree.tar"), in("disk.qcow2"))
	diskimagetest.Run(t, "qemu-img", "check", "-f", "qcow2", in("disk.qcow2"))

	diskimagetest.Run(t, all[1], in("tree.tar"), in("disk.img"))
	hello := regexp.MustCompile(`(?m)^ 100\d{3} +13 hello$`)
	if out := diskimagetest.Run(t, all[2], in("disk.img")); !hello.MatchString(out) {
		t.Errorf("the third program lists\n%s", out)
	}
}
