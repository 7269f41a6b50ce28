// SPDX-License-Identifier: Apache-2.0

package format_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/format"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/swap"
)

// repeatVariable holds, in the child process of a test, the directory to read and the one to write
// to.
const repeatVariable = "FORMAT_TEST_REPEAT"

// A whole disk, with each kind of file system and in each format, must not depend on the
// environment: time zone, umask, number of processors, the order in which a directory lists its
// files, other outputs, the day.
func TestSameDiskSameBytesEverywhere(t *testing.T) {
	if value := os.Getenv(repeatVariable); value != "" {
		root, out, _ := strings.Cut(value, ":")
		writeEverything(t, root, out)
		return
	}
	t.Parallel()
	sums := map[string]map[[sha256.Size]byte][]string{}
	for _, environment := range []string{"umask 022; export TZ=UTC GOMAXPROCS=1",
		"umask 077; export TZ=Asia/Tokyo GOMAXPROCS=4"} {
		out, root := t.TempDir(), filepath.Join(t.TempDir(), "root")
		makeTree(t, root, len(sums) > 0)
		script := fmt.Sprintf("%s %s=%s:%s; exec %s -test.run='^%s$'", environment, repeatVariable, root, out,
			os.Args[0], t.Name())
		if text, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		files, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if sums[file.Name()] == nil {
				sums[file.Name()] = map[[sha256.Size]byte][]string{}
			}
			sum := sumOf(t, filepath.Join(out, file.Name()))
			sums[file.Name()][sum] = append(sums[file.Name()][sum], environment)
		}
	}
	if len(sums) < len(format.Formats()) {
		t.Errorf("%d files, want one at least for each format", len(sums))
	}
	for name, different := range sums {
		if len(different) != 1 {
			t.Errorf("%s differs: %q", name, different)
		}
	}
}

// sumOf returns the checksum of a file.
func sumOf(t *testing.T, name string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// makeTree creates the same files in one order or in the reverse order.
func makeTree(t *testing.T, root string, backwards bool) {
	t.Helper()
	then := time.Date(2024, 2, 29, 12, 34, 56, 789_000_000, time.UTC)
	var names []string
	for i := range 120 {
		names = append(names, fmt.Sprintf("%c/file-%d.txt", 'a'+i%5, i))
	}
	if backwards {
		slices.Reverse(names)
	}
	for _, name := range names {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(strings.Repeat(name, 5000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name := range strings.FieldsSeq(strings.Join(names, " ") + " a b c d e .") {
		full := filepath.Join(root, name)
		if err := errors.Join(os.Chmod(full, 0o755), os.Chtimes(full, then, then)); err != nil {
			t.Fatal(err)
		}
	}
}

// everyVolume plans a disk with each kind of file system, all of them with the content of a
// directory.
func everyVolume(t *testing.T, root string) diskimage.Image {
	t.Helper()
	id, then := uuid.MustParse("deb1a400-1c2f-4f43-9b6e-2b2f0d6a0001"), time.Unix(1_700_000_000, 0)
	filesystem := func(fsType string) diskimage.Filesystem {
		return diskimage.Filesystem{Type: fsType, Features: "1.47", UUID: diskimage.DeriveID(id, fsType), Seed: id,
			Time: then}
	}
	layout, err := diskimage.NewLayout(diskimage.Request{
		Size: 96 * diskimage.MiB, Table: diskimage.GPT, Arch: "amd64", ID: id,
		Partitions: []diskimage.PartitionRequest{
			{Role: diskimage.RoleESP, Size: 34 * diskimage.MiB, Filesystem: filesystem("vfat")},
			{Role: diskimage.RoleRoot, Filesystem: filesystem("ext4")},
			{Role: diskimage.RoleSwap, Size: 8 * diskimage.MiB, Filesystem: filesystem("swap")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	image := diskimage.Image{Layout: layout, Volumes: map[int]diskimage.Volume{}}
	formatters := map[string]diskimage.Formatter{"vfat": fat.Formatter{}, "ext4": ext.Formatter{},
		"swap": swap.Formatter{}}
	for _, p := range layout.Partitions {
		image.Volumes[p.Number], err = formatters[p.Filesystem.Type].Plan(p.Size, p.Filesystem,
			diskimage.NewDirTree(root))
		if err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// writeEverything writes a disk in each format separately, and in all formats at once.
func writeEverything(t *testing.T, root, out string) {
	t.Helper()
	image, then := everyVolume(t, root), time.Unix(1_700_000_000, 0)
	var all []format.Output
	for _, f := range format.Formats() {
		for _, compress := range f.Compressions {
			o := format.Output{Format: f.Name, Options: format.Options{Compress: compress, Time: then}}
			o.File = create(t, filepath.Join(out, f.Name+"-"+compress))
			if err := format.Write(t.Context(), []format.Output{o}, out, image); err != nil {
				t.Fatal(err)
			}
			o.File = create(t, filepath.Join(t.TempDir(), f.Name+"-"+compress))
			all = append(all, o)
		}
	}
	if err := format.Write(t.Context(), all, out, image); err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		alone := filepath.Join(out, filepath.Base(o.File.Name()))
		if sumOf(t, alone) != sumOf(t, o.File.Name()) {
			t.Errorf("%s differs when other formats are written as well", filepath.Base(alone))
		}
	}
}

func create(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
