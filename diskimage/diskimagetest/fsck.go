// SPDX-License-Identifier: Apache-2.0

package diskimagetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Offsets of the magic numbers that identify a file system.
const (
	extMagicAt  = 1024 + 56 // ext2/3/4 superblock: 53 EF
	fatMagicAt  = 510       // boot sector: 55 AA
	f2fsMagic   = "\x10\x20\xf5\xf2"
	f2fsMagicAt = 1024
)

// Fsck checks the ext2, ext3, ext4, f2fs or FAT file system in a file with e2fsck, fsck.f2fs or
// fsck.fat, without changing it. The test fails if they find anything. With an offset and a length
// in bytes, Fsck checks that part of the file, a partition.
func Fsck(t testing.TB, image string, part ...int64) {
	t.Helper()
	name := image
	switch len(part) {
	case 0:
	case 2:
		name = extract(t, image, part[0], part[1])
	default:
		t.Fatalf("BUG: Fsck wants an offset and a length, got %d", part)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var ext, fat [2]byte
	var f2fs [4]byte
	if _, err := file.ReadAt(ext[:], extMagicAt); err != nil {
		t.Fatalf("read superblock of %s: %v", image, err)
	}
	if _, err := file.ReadAt(fat[:], fatMagicAt); err != nil {
		t.Fatalf("read boot sector of %s: %v", image, err)
	}
	if _, err := file.ReadAt(f2fs[:], f2fsMagicAt); err != nil {
		t.Fatalf("read superblock of %s: %v", image, err)
	}
	switch {
	case string(f2fs[:]) == f2fsMagic:
		for _, complaint := range FsckF2FS(t, name) {
			t.Errorf("fsck.f2fs of %s: %s", image, complaint)
		}
	case string(ext[:]) == "\x53\xef":
		Run(t, "e2fsck", "-f", "-n", name)
	case string(fat[:]) == "\x55\xaa":
		// fsck.fat prints what it finds, but sometimes exits with 0: without errors it prints two
		// lines.
		out := strings.TrimSpace(Run(t, "fsck.fat", "-n", name))
		if lines := strings.Split(out, "\n"); len(lines) != 2 {
			t.Fatalf("fsck.fat -n %s:\n%s", image, out)
		}
	default:
		t.Fatalf("%s: neither ext2/3/4 nor f2fs nor FAT", fmt.Sprint(image, part))
	}
}

// FsckF2FS checks everything with fsck.f2fs, without changing it, and returns its complaints: the
// exit status reports only what it could not repair.
func FsckF2FS(t testing.TB, image string) (complaints []string) {
	t.Helper()
	out := Run(t, "fsck.f2fs", "-f", "--dry-run", "--no-kernel-check", image)
	checks := 0
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "[FSCK]") && strings.Contains(line, "[Ok..]") {
			checks++
			continue
		}
		for _, sign := range []string{"[ASSERT]", "[FIX]", "[Fail]", "Error", "rong", "nvalid", "orrupted",
			"nreachable links"} {
			if strings.Contains(line, sign) {
				complaints = append(complaints, strings.TrimSpace(line))
				break
			}
		}
	}
	const allChecks = 10
	if checks != allChecks {
		complaints = append(complaints, fmt.Sprintf("passed %d checks, want %d:\n%s", checks, allChecks, out))
	}
	return complaints
}

// extract copies a part of a file to a new sparse file.
func extract(t testing.TB, image string, offset, length int64) string {
	t.Helper()
	in, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	name := filepath.Join(t.TempDir(), "part.img")
	out, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(length); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for done := int64(0); done < length; {
		n, err := in.ReadAt(buf[:min(int64(len(buf)), length-done)], offset+done)
		if n == 0 && err != nil {
			t.Fatalf("read %s at %d: %v", image, offset+done, err)
		}
		if strings.Trim(string(buf[:n]), "\x00") != "" {
			if _, err := out.WriteAt(buf[:n], done); err != nil {
				t.Fatal(err)
			}
		}
		done += int64(n)
	}
	return name
}
