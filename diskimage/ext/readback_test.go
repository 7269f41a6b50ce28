// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

// debugfs runs commands of debugfs(8) and returns the output of each.
func debugfs(t *testing.T, image string, commands []string) []string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "commands")
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := diskimagetest.Run(t, "debugfs", "-f", script, image)
	var outputs []string
	for i, command := range commands {
		echo := "debugfs: " + command + "\n"
		rest, ok := strings.CutPrefix(out, echo)
		if !ok {
			t.Fatalf("debugfs did not run %q: %.200q", command, out)
		}
		end := len(rest)
		if i+1 < len(commands) {
			if end = strings.Index(rest, "debugfs: "+commands[i+1]+"\n"); end < 0 {
				t.Fatalf("debugfs did not run %q", commands[i+1])
			}
		}
		outputs, out = append(outputs, rest[:end]), rest[end:]
	}
	return outputs
}

// listing is one name as "ls -p" of debugfs prints it. Names may hold newlines.
var listing = regexp.MustCompile(`(?s)/(\d+)/(\d{6})/-?\d+/-?\d+/(.*?)/\d*/\n`)

// names returns all names of a file system with their inodes.
func names(t *testing.T, image string) map[string]int {
	t.Helper()
	const root = disk.InodeRoot
	inodes := map[string]int{".": root}
	for level := []string{"."}; len(level) > 0; {
		var commands, next []string
		for _, dir := range level {
			commands = append(commands, fmt.Sprintf("ls -p <%d>", inodes[dir]))
		}
		for i, output := range debugfs(t, image, commands) {
			for _, m := range listing.FindAllStringSubmatch(output, -1) {
				if m[3] == "." || m[3] == ".." {
					continue
				}
				name := path.Join(level[i], m[3])
				inodes[name], _ = strconv.Atoi(m[1])
				if strings.HasPrefix(m[2], "04") {
					next = append(next, name)
				}
			}
		}
		level = next
	}
	return inodes
}

// patterns are the compiled arguments of field.
var patterns sync.Map

// field returns the first match of a pattern in the output of "stat" of debugfs.
func field(t *testing.T, stat, pattern string) string {
	t.Helper()
	compiled, ok := patterns.Load(pattern)
	if !ok {
		compiled, _ = patterns.LoadOrStore(pattern, regexp.MustCompile(pattern))
	}
	m := compiled.(*regexp.Regexp).FindStringSubmatch(stat)
	if m == nil {
		t.Fatalf("no %s in:\n%s", pattern, stat)
	}
	return m[1]
}

var debugfsTypes = map[uint32]string{
	unix.S_IFREG: "regular", unix.S_IFDIR: "directory", unix.S_IFLNK: "symlink", unix.S_IFCHR: "character special",
	unix.S_IFBLK: "block special", unix.S_IFIFO: "FIFO", unix.S_IFSOCK: "socket",
}

// describe formats the properties of an entry that readBack compares, in the form of describeStat.
func describe(e diskimage.Entry, links int) string {
	mtime := newStamp(e.ModTime)
	text := fmt.Sprintf("%s %o %d:%d mtime %d.%09d",
		debugfsTypes[e.Mode&unix.S_IFMT], e.Mode&0o7777, e.UID, e.GID, mtime.seconds, mtime.nanoseconds)
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		text += fmt.Sprintf(" size %d links %d", e.Size, links)
	case unix.S_IFCHR, unix.S_IFBLK:
		text += fmt.Sprintf(" device %d:%d", e.Major, e.Minor)
	case unix.S_IFLNK:
		text += fmt.Sprintf(" size %d", len(e.Linkname))
	}
	return text
}

func describeStat(t *testing.T, stat string) string {
	t.Helper()
	kind := field(t, stat, `Type: (.*?)  +Mode`)
	low, _ := strconv.ParseUint(field(t, stat, `mtime: 0x([0-9a-f]+)`), 16, 32)
	extra, _ := strconv.ParseUint(field(t, stat, `mtime: 0x[0-9a-f]+:([0-9a-f]+)`), 16, 32)
	seconds := int64(int32(low)) + int64(extra&3)<<32
	uid, _ := strconv.ParseInt(field(t, stat, `User: +(-?\d+)`), 10, 64)
	gid, _ := strconv.ParseInt(field(t, stat, `Group: +(-?\d+)`), 10, 64)
	text := fmt.Sprintf("%s %s %d:%d mtime %d.%09d",
		kind, field(t, stat, `Mode: +0*(\d+)`), uint32(uid), uint32(gid), seconds, extra>>2)
	switch kind {
	case "regular":
		text += " size " + field(t, stat, `Size: (\d+)`) + " links " + field(t, stat, `Links: (\d+)`)
	case "character special", "block special":
		major, _ := strconv.Atoi(field(t, stat, `number: (\d+):`))
		minor, _ := strconv.Atoi(field(t, stat, `number: \d+:(\d+)`))
		text += fmt.Sprintf(" device %d:%d", major, minor)
	case "symlink":
		text += " size " + field(t, stat, `Size: (\d+)`)
	}
	return text
}

// readBack compares a file system, as debugfs reads it, with its source tree.
func readBack(t *testing.T, image string, tree fstest.Tree) {
	t.Helper()
	inodes := names(t, image)
	links := map[int]int{}
	for _, inode := range inodes {
		links[inode]++
	}
	if got, want := len(inodes), len(tree)+1; got != want { // lost+found is the other one
		t.Errorf("%d names, want %d: %q", got, want, slices.Sorted(maps.Keys(inodes)))
	}
	dir := t.TempDir()
	opens := map[string]func() (diskimage.Content, error){}
	var commands []string
	for i, e := range tree {
		opens[e.Name] = e.Open
		inode := inodes[e.Name]
		commands = append(commands, fmt.Sprintf("stat <%d>", inode))
		if e.Mode&unix.S_IFMT == unix.S_IFREG && e.Size < 1<<30 || e.Mode&unix.S_IFMT == unix.S_IFLNK {
			commands = append(commands, fmt.Sprintf("dump <%d> %s/%d", inode, dir, i))
		}
		for j, x := range e.Xattrs {
			commands = append(commands, fmt.Sprintf("ea_get -f %s/%d.%d <%d> %s", dir, i, j, inode, x.Name))
		}
	}
	outputs := debugfs(t, image, commands)
	for i, e := range tree {
		if e.HardLink != "" {
			e.Open = opens[e.HardLink]
		}
		stat := outputs[0]
		outputs = outputs[1:]
		if got, want := describeStat(t, stat), describe(e, links[inodes[e.Name]]); got != want {
			t.Errorf("%q: got  %s\nwant %s", e.Name, got, want)
		}
		if e.Dense && strings.Contains(stat, "Uninit") {
			t.Errorf("%q has uninitialised blocks:\n%s", e.Name, stat)
		}
		if strings.HasPrefix(commands[0], "stat") {
			commands = commands[1:]
		}
		if len(commands) > 0 && strings.HasPrefix(commands[0], "dump") {
			compareContent(t, e, stat, fmt.Sprintf("%s/%d", dir, i))
			commands, outputs = commands[1:], outputs[1:]
		}
		for j, x := range e.Xattrs {
			if got, err := os.ReadFile(fmt.Sprintf("%s/%d.%d", dir, i, j)); err != nil || !bytes.Equal(got, x.Value) {
				t.Errorf("%q: %s: got %x, %v, want %x", e.Name, x.Name, got, err, x.Value)
			}
			commands, outputs = commands[1:], outputs[1:]
		}
	}
}

// compareContent compares the content of a file dumped by debugfs.
func compareContent(t *testing.T, e diskimage.Entry, stat, dumped string) {
	t.Helper()
	got, err := os.ReadFile(dumped)
	if err != nil {
		t.Error(err)
	}
	if e.Mode&unix.S_IFMT == unix.S_IFLNK {
		if !strings.Contains(stat, `Fast link dest: "`+e.Linkname+`"`) && string(got) != e.Linkname {
			t.Errorf("%q: target %.80q, want %.80q\n%s", e.Name, got, e.Linkname, stat)
		}
		return
	}
	if !bytes.Equal(got, fstest.ReadContent(t, e)) {
		t.Errorf("%q: the %d bytes differ", e.Name, e.Size)
	}
}

func TestDebugfsReadsBackTheSmallTree(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			tree := smallTree()
			readBack(t, write(t, 16*diskimage.MiB, filesystem(k.fsType, k.generation), tree), tree)
		})
	}
}

func TestGRUBReadsWhatItBoots(t *testing.T) {
	t.Parallel()
	tree := append(fstest.Tree{fstest.Dir("."), fstest.Dir("boot")}, fstest.ManyFiles("boot/indexed", 500, 30)...)
	// GRUB 2.06 cannot read a file that begins with a hole: "something wrong with extent".
	zeros := fstest.File("boot/zeros", make([]byte, 30*disk.BlockSize+7))
	zeros.Dense, zeros.Data = true, []diskimage.Extent{}
	kernel := fstest.File("boot/indexed/vmlinuz", fstest.Pattern(9, 9<<20+1))
	tree = append(tree, kernel, zeros, fstest.Sparse("boot/holes", 60<<20, 5000, 0, 55<<20))
	for _, k := range kinds {
		image := write(t, 128*diskimage.MiB, filesystem(k.fsType, k.generation), tree)
		for _, e := range tree {
			if e.Size == 0 {
				continue
			}
			source := filepath.Join(t.TempDir(), "source")
			if err := os.WriteFile(source, fstest.ReadContent(t, e), 0o600); err != nil {
				t.Fatal(err)
			}
			diskimagetest.Run(t, "grub-fstest", image, "cmp", "(loop0)/"+e.Name, source)
		}
	}
}
