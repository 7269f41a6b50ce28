// SPDX-License-Identifier: Apache-2.0

package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

var open fstest.Open = func(r io.ReaderAt) (diskimage.Tree, error) { return New(r) }

// command returns the command line with options.
func command(options string) func(dir, image string) []string {
	return func(dir, image string) []string {
		return append(append([]string{"mkfs.btrfs", "--quiet", "--rootdir", dir}, strings.Fields(options)...), image)
	}
}

func TestFilesOfMkfsBtrfsAreRead(t *testing.T) {
	t.Parallel()
	var all []fstest.Mkfs
	for _, options := range []string{"", "--csum xxhash", "--csum sha256", "--csum blake2 --data dup",
		"-O ^no-holes"} {
		all = append(all, fstest.Mkfs{Name: options, Size: 256 * diskimage.MiB, Open: open,
			Known: known, Command: command(options), NoHoles: true})
	}
	fstest.TestMkfs(t, fstest.Mixed(), all...)
}

// known clears what mkfs.btrfs 6.2 does not write: nanoseconds, the time of the root, device numbers.
func known(e *diskimage.Entry) {
	e.ModTime, e.Major, e.Minor = e.ModTime.Truncate(time.Second), 0, 0
	if e.Name == "." {
		e.ModTime = time.Time{}
	}
}

// compressed is an image with compressed extents of all methods, subvolumes and a snapshot. Debian's mkfs.btrfs writes
// neither before 6.13.
func compressed() fstest.KernelImage {
	part := func(name string) fstest.Tree {
		tree := fstest.Tree{fstest.Dir("."), fstest.Dir(name)}
		text := []byte(strings.Repeat("All human beings are born free and equal in dignity and rights. ", 9000))
		for _, length := range []int{100, 3000, 5000, 131072, 131073, 500_000} {
			tree = append(tree, fstest.File(fmt.Sprintf("%s/%d", name, length), text[:length]))
		}
		return tree
	}
	return fstest.KernelImage{Name: "compressed", Size: 128 * diskimage.MiB,
		Mkfs:  []string{"mkfs.btrfs", "--quiet", "--metadata", "single", "--label", "name"},
		Mount: []string{"compress-force=zlib", "compress-force=lzo", "compress-force=zstd", "compress=zstd"},
		Parts: []fstest.Tree{part("zlib"), part("lzo"), part("zstd"), fstest.Structures()},
		Script: `btrfs subvolume create @rootfs; mkdir @rootfs/dir; echo text >@rootfs/dir/file
			btrfs subvolume create @rootfs/dir/below; echo more >@rootfs/dir/below/file
			btrfs subvolume snapshot @rootfs @rootfs/snapshot; mv etc @rootfs/`}
}

func TestFilesOfTheKernelAreRead(t *testing.T) {
	t.Parallel()
	k := compressed()
	fs, err := New(bytes.NewReader(k.Open(t)))
	if err != nil {
		t.Fatal(err)
	}
	if fs.Label() != "name" {
		t.Errorf("label %q", fs.Label())
	}
	// The root is the subvolume @rootfs.
	var names []string
	for e, err := range fs.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(e.Name, "etc") {
			names = append(names, e.Name)
		}
	}
	want := []string{".", "dir", "dir/below", "dir/below/file", "dir/file", "snapshot", "snapshot/dir",
		"snapshot/dir/below", "snapshot/dir/file"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	// The top level has the rest.
	fs.root.subvolume = treeFiles
	var all fstest.Tree
	seen := map[string]bool{}
	for _, part := range k.Parts {
		for _, e := range part {
			if name, inEtc := strings.CutPrefix(e.Name, "etc"); inEtc {
				e.Name = "@rootfs/etc" + name
				if e.HardLink != "" {
					e.HardLink = "@rootfs/" + e.HardLink
				}
			}
			if !seen[e.Name] {
				all = append(all, e)
			}
			seen[e.Name] = true
		}
	}
	fstest.CompareTrees(t, fs, all, func(e *diskimage.Entry) {
		if e.Name == "." {
			e.ModTime = time.Time{} // etc was moved
		}
	}, append([]string{"@rootfs"}, prefixed("@rootfs/", want[1:])...)...)
}

// prefixed returns names with a prefix.
func prefixed(prefix string, names []string) (all []string) {
	for _, name := range names {
		all = append(all, prefix+name)
	}
	return all
}

// signing corrects the checksums of nodes and superblock, so that damage is found by other means.
type signing struct{ io.ReaderAt }

func (s signing) ReadAt(p []byte, offset int64) (int, error) {
	const nodeSize = 16 << 10
	n, err := s.ReaderAt.ReadAt(p, offset)
	if n == nodeSize || n == superSize {
		copy(p, checksums[0](p[checksumSize:]))
	}
	return n, err
}

var openSigned fstest.Open = func(r io.ReaderAt) (diskimage.Tree, error) { return New(signing{r}) }

// small returns a small file system with all structures.
func small(t testing.TB) fstest.Memory {
	t.Helper()
	image, err := os.ReadFile(fstest.NewDirectory(t, fstest.Small(2038)).Make(t, 128*diskimage.MiB,
		command("--shrink --metadata single")))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestDamageIsAnErrorAndNothingWorse(t *testing.T) {
	t.Parallel()
	image := small(t)
	open.TestDamage(t, image, 300)
	openSigned.TestDamage(t, image, 500)
	openSigned.TestDamage(t, compressed().Open(t), 200)
	if _, err := New(strings.NewReader("")); !errors.Is(err, ErrNoBtrfs) {
		t.Errorf("got %v", err)
	}
}

func FuzzDamage(f *testing.F) {
	for i := range byte(6) {
		f.Add(i, []byte{0, i, 1, 0xFF, 0x80, 0, 0x20 + i, 0, 0x80, 0, 0x30, 0xFF})
	}
	openSigned.Fuzz(f, superOffset, superOffset+superSize, small(f), compressed().Open(f))
}

func TestStructuresHaveTheirSizeOnDisk(t *testing.T) {
	t.Parallel()
	fstest.TestStructSizes(t, fstest.StructSizes{
		{superBlock{}, 0x32B + systemChunks}, {device{}, 98}, {key{}, 17}, {header{}, 101}, {item{}, 25}, {pointer{}, 33},
		{chunk{}, 48}, {stripe{}, 32}, {inodeItem{}, 160}, {rootItem{}, 239}, {dirItem{}, 30}, {extentItem{}, 21},
		{extentPlace{}, 32},
	})
}
