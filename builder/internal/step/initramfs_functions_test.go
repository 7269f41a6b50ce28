// SPDX-License-Identifier: Apache-2.0

package step

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
)

// TestCopyFileIsThatOfInitramfsTools compares copy_file with the function in whose place it is: status, output, and the
// files that are there afterwards.
func TestCopyFileIsThatOfInitramfsTools(t *testing.T) {
	t.Parallel()
	own := diskimagetest.File(t, initramfsFunctionsPath)
	text, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	changed := initramfsFunctions(string(text))
	if changed == "" {
		t.Fatal("copy_file of this release is not known")
	}
	source := t.TempDir()
	ours := filepath.Join(source, "functions")
	if err := os.WriteFile(ours, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	const setup = `cd "$1"; mkdir -p a/b empty; echo one >a/b/file; echo two >"a/b/o*d:'n"; chmod 4751 a/b/file
		ln -s b a/link; ln -s file a/b/to-file; ln -s /nonexistent a/dangling; ln -s "$1/a/b/file" a/absolute
		touch -d @1000000000 a/b/file`
	if out, err := exec.Command("sh", "-euc", setup, "sh", source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Each line is one call, with "@" for the directory of the source.
	const calls = `file @/a/b/file
file @/a/b/file
file @/a/b/file /etc/other
file @/a/b/file /etc/other/
file @/a/b/file etc/relative
file @/a/b/file /etc
file @/a/b/file /bin/renamed
file @/a/b/file /lib64x/renamed
file @/a/b/file //etc//doubled
file @/a/b/file /etc/./dot/../dots
file @/a/b/file /etc/name/..
file @//a/b/file /etc/from-doubled
file @/a/./b/file /etc/from-dot
file @/a/b/../b/file /etc/from-dots
file @/a/b/o*d:'n
file @/a/link/file
file @/a/link/file /etc/through-a-link
file @/a/b/to-file
file @/a/b/to-file /etc/of-a-link
file @/a/absolute
file @/a/absolute
file @/a/dangling
file @/a/gone
file @/empty
file a/b/file
file /bin/sh
file /bin/cat
file /bin/cat /bin
file /sbin/ldconfig /sbin/
file /usr/bin/cat
file /sbin/ldconfig /sbin/renamed
file @/a/b/file /etc/./of-a-dot
file /lib/os-release
file /usr/lib/os-release /lib/elsewhere
`
	// The caller's variables must stay as they are.
	const script = `. "$1"; DESTDIR=$3; name=mine dir=mine; mkdir -p "$DESTDIR/etc" "$DESTDIR/usr/bin"; cd "$4"
		while read -r type src target; do
			s=0; copy_file "$type" "$src" ${target:+"$target"} || s=$?
			echo "$type $src $target: $s $name $dir"
		done <"$2"
		cd "$DESTDIR"; find . -printf '%P %M %T@ %l\n' | sed '/ [dl]/s/ [0-9.]* / /' | sort`
	for _, verbose := range []string{"n", "y"} {
		list := filepath.Join(t.TempDir(), "calls")
		lines := strings.ReplaceAll(calls, "@", source)
		if err := os.WriteFile(list, []byte(lines), 0o644); err != nil {
			t.Fatal(err)
		}
		run := func(functions string) string {
			dest := filepath.Join(t.TempDir(), "dest")
			cmd := exec.Command("sh", "-euc", script, "sh", functions, list, dest, source)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "verbose=" + verbose}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v: %s", functions, err, out)
			}
			return strings.ReplaceAll(string(out), dest, "DEST")
		}
		if got, want := run(ours), run(own); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestCopyFileThatIsNotKnownStays(t *testing.T) {
	t.Parallel()
	if got := initramfsFunctions("copy_file() {\n\ttrue\n}\n"); got != "" {
		t.Errorf("replaced: %s", got)
	}
}
