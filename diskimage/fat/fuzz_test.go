// SPDX-License-Identifier: Apache-2.0

package fat_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/diskimagetest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/fat/fatread"
)

// FuzzFAT builds trees from random bytes. fsck.fat must find no error, and everything must be read
// back.
func FuzzFAT(f *testing.F) {
	f.Add(byte(0), []byte{})
	for i := range byte(16) {
		data := make([]byte, 40*int(i))
		_, _ = rand.NewChaCha8([32]byte{i}).Read(data) // never an error
		f.Add(i, data)
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		sizes := []diskimage.Size{
			64 * diskimage.KiB, 5*diskimage.MiB + 512, 16*diskimage.MiB - 512, 20 * diskimage.MiB, 66 * diskimage.MiB,
			262 * diskimage.MiB,
		}
		size := sizes[int(which)%len(sizes)]
		spec := diskimage.Filesystem{UUID: id, Label: "FUZZ", StartLBA: uint64(which), Time: mtime}
		if which >= 128 {
			spec.SectorSize, size = diskimage.SectorSize4K, max(size, diskimage.MiB)&^4095
		}
		files := fuzzFiles(data)
		all := tree(t, files)
		var noSpace *diskimage.NoSpaceError
		if _, err := (fat.Formatter{}).Plan(size, spec, all); errors.As(err, &noSpace) {
			t.Skip(err)
		}
		image, _ := format(t, size, spec, all)
		diskimagetest.Fsck(t, image)
		for name, got := range readBack(t, image) {
			if want, ok := files[name]; !ok || got != want {
				t.Errorf("%q: got %d bytes, want %d", name, len(got), len(want))
			}
			delete(files, name)
		}
		for name := range files {
			t.Errorf("%q is missing", name)
		}
	})
}

// fuzzFiles makes files and directories, in the form that tree takes, from any bytes.
func fuzzFiles(data []byte) map[string]string {
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	alphabet := []rune("aBcXyZ019 .+,;=[]_-~$%'@!(){}^#&éÉ日本🐧")
	lengths := []int{0, 1, 31, 32, 511, 512, 513, 2048, 4095, 4096, 4097, 70_000}
	dirs := []string{"."}
	files, taken := map[string]string{}, map[string]bool{}
	for len(data) > 0 && len(files) < 400 {
		dir := dirs[next()%len(dirs)]
		var name strings.Builder
		for range 1 + next()%14*(1+next()%9) { // 127 at most, of two units
			name.WriteRune(alphabet[next()%len(alphabet)])
		}
		name.WriteByte('x') // a name cannot end in a dot or a blank
		full := path.Join(dir, name.String())
		if taken[strings.ToUpper(full)] {
			continue
		}
		taken[strings.ToUpper(full)] = true
		if next()%5 == 0 {
			dirs = append(dirs, full)
			files[full+"/"] = ""
			continue
		}
		files[full] = strings.Repeat(fmt.Sprintf("%c", 'a'+next()%26), lengths[next()%len(lengths)])
	}
	return files
}

// readBack reads everything with our own reader, because mtools does not support names beyond the
// basic plane. Names of directories have a trailing slash.
func readBack(t *testing.T, image string) map[string]string {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	filesystem, err := fatread.New(f)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for e, err := range filesystem.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.Name == ".":
		case e.IsDir():
			found[e.Name+"/"] = ""
		case e.Open == nil:
			found[e.Name] = ""
		default:
			content, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(io.NewSectionReader(content, 0, e.Size))
			if err := errors.Join(err, content.Close()); err != nil {
				t.Fatal(err)
			}
			found[e.Name] = string(data)
		}
	}
	return found
}
