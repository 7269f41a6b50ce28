// SPDX-License-Identifier: Apache-2.0

package ext

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/ext/internal/disk"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/internal/fstest"
)

func BenchmarkWriteTree(b *testing.B) {
	small := append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 1000, 12)...)
	for i := range small[2:] {
		small[i+2] = fstest.File(small[i+2].Name, fstest.Pattern(uint64(i), 7000)) // the median of a Debian tree
	}
	mixed := fstest.Tree{fstest.Dir("."), fstest.File("large", fstest.Pattern(1, 150<<20))}
	for i := range 1000 {
		mixed = append(mixed, fstest.File(fmt.Sprintf("f%d", i), fstest.Pattern(uint64(i), 100<<10)))
	}
	var offsets []int64
	for i := range int64(5000) {
		offsets = append(offsets, i*16*disk.BlockSize)
	}
	holes := fstest.Tree{fstest.Dir("."), fstest.Sparse("holes", 5000*16*disk.BlockSize, disk.BlockSize, offsets...)}
	benchmarks := []struct {
		name string
		tree fstest.Tree
	}{{"1k-small", small}, {"250MiB-mixed", mixed}, {"holes", holes}}
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			var total int64
			for _, e := range bb.tree {
				if e.Data == nil {
					total += e.Size
				}
				for _, part := range e.Data {
					total += part.Length
				}
			}
			b.SetBytes(total)
			b.ReportAllocs()
			name := filepath.Join(b.TempDir(), "image")
			for b.Loop() {
				benchmarkWrite(b, name, bb.tree)
			}
		})
	}
}

func benchmarkWrite(b *testing.B, name string, tree fstest.Tree) {
	b.Helper()
	const size = diskimage.GiB
	v, err := Formatter{}.Plan(size, filesystem("ext4", "1.44"), tree)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		b.Fatal(err)
	}
	if err := v.Write(b.Context(), f); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPlan plans 50,000 names in one directory.
func BenchmarkPlan(b *testing.B) {
	tree := append(fstest.Tree{fstest.Dir(".")}, fstest.ManyFiles("d", 50000, 12)...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Formatter{}).Plan(2*diskimage.GiB, filesystem("ext4", "1.44"), tree); err != nil {
			b.Fatal(err)
		}
	}
}
