// SPDX-License-Identifier: Apache-2.0

package diskimage

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestCheckFreeReportsEveryOverlap(t *testing.T) {
	t.Parallel()
	msdos, gpt := twoPartitions(t, MSDOS), twoPartitions(t, GPT)
	gpt4k := layout(t, Request{Size: 10 * MiB, Table: GPT, SectorSize: SectorSize4K,
		Partitions: []PartitionRequest{{Role: RoleRoot}}})
	for _, test := range []struct {
		name   string
		layout Layout
		claims []Claim
		want   string
	}{
		{"the gap", msdos, []Claim{{Extent{512, int64(MiB) - 512}, "blob"}}, ""},
		{"boot code", msdos, []Claim{{Extent{0, 440}, "blob"}}, ""},
		{"next to each other", msdos, []Claim{{Extent{512, 512}, "a"}, {Extent{1024, 512}, "b"},
			{Extent{0, 440}, "c"}}, ""},
		{"after the partitions", layout(t, Request{Size: 10*MiB + 512, Table: MSDOS,
			Partitions: []PartitionRequest{{Role: RoleRoot}}}),
			[]Claim{{Extent{int64(10 * MiB), 512}, "blob"}}, ""},
		{"after a GPT", gpt, []Claim{{Extent{34 * 512, 100}, "blob"}}, ""},
		{"after a GPT of large sectors", gpt4k,
			[]Claim{{Extent{24 << 10, 100}, "blob"}, {Extent{512, 3584}, "also"}}, ""},

		{"disk signature", msdos, []Claim{{Extent{0, 441}, "blob"}},
			"blob (bytes 0 to 440) would overwrite the partition table (bytes 440 to 511)"},
		{"entries", msdos, []Claim{{Extent{500, 1}, "blob"}}, "would overwrite the partition table (bytes 440 to 511)"},
		{"GPT", gpt, []Claim{{Extent{34*512 - 1, 100}, "blob"}},
			"would overwrite the partition table (bytes 512 to 17407)"},
		{"GPT of large sectors", gpt4k, []Claim{{Extent{24<<10 - 1, 1}, "blob"}},
			"would overwrite the partition table (bytes 4096 to 24575)"},
		{"backup GPT", gpt, []Claim{{Extent{int64(10*MiB) - 33*512, 1}, "blob"}},
			"would overwrite the partition table"},
		{"partition", msdos, []Claim{{Extent{512, int64(MiB)}, "blob"}},
			"partition 1 (esp) (bytes 1048576 to 3145727) and blob (bytes 512 to 1049087) overlap"},
		{"both partitions", msdos, []Claim{{Extent{512, int64(4 * MiB)}, "blob"}}, "partition 2 (root)"},
		{"each other", msdos, []Claim{{Extent{512, 513}, "a"}, {Extent{1024, 512}, "b"}},
			"a (bytes 512 to 1024) and b (bytes 1024 to 1535) overlap"},
		{"end of the disk", msdos, []Claim{{Extent{int64(10*MiB) - 1, 2}, "blob"}},
			"blob (2 bytes at offset 10485759) does not fit on a disk of 10485760 bytes"},
		{"end of numbers", msdos, []Claim{{Extent{math.MaxInt64, math.MaxInt64}, "blob"}}, "does not fit"},
	} {
		err := test.layout.CheckFree(test.claims)
		if test.want == "" && err != nil ||
			test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
		image := Image{Layout: test.layout}
		for _, c := range test.claims {
			if c.Length < int64(test.layout.Size) {
				image.Blobs = append(image.Blobs, Patch{Offset: c.Offset, Data: make([]byte, c.Length), What: c.What})
			}
		}
		if len(image.Blobs) < len(test.claims) {
			continue
		}
		w := make(memoryFile, test.layout.Size)
		if err := image.Write(t.Context(), w); (err == nil) != (test.want == "") {
			t.Errorf("%s: an image with it: %v", test.name, err)
		}
	}
}

// randomClaims makes claims from random numbers, most of them at the edges of other ranges.
func randomClaims(l Layout, next func() uint64) []Claim {
	edges := []int64{0, mbrSignatureAt, mbrEnd, int64(l.SectorSize), int64(l.gptSize()), int64(MiB), int64(l.Size),
		int64(l.Size - l.gptSize())}
	for _, p := range l.Partitions {
		edges = append(edges, int64(p.Start), int64(p.End()))
	}
	var claims []Claim
	for i := range next() % 4 {
		c := Claim{What: string(rune('a' + i))}
		c.Offset = max(0, edges[next()%uint64(len(edges))]+int64(next()%5)-2)
		c.Length = int64(next() % 3)
		if next()%2 == 0 {
			c.Length = max(0, edges[next()%uint64(len(edges))]-c.Offset+int64(next()%3)-1)
		}
		claims = append(claims, c)
	}
	return claims
}

// checkClaims checks that claims are accepted if and only if none of their bytes is taken, and that
// they do not change the table.
func checkClaims(t *testing.T, l Layout, claims []Claim) {
	t.Helper()
	taken := []Extent{{mbrSignatureAt, mbrEnd - mbrSignatureAt}}
	if l.Table == GPT {
		length := int64(l.SectorSize) + 16<<10
		taken = append(taken, Extent{int64(l.SectorSize), length}, Extent{int64(l.Size) - length, length})
	}
	for _, p := range l.Partitions {
		taken = append(taken, Extent{int64(p.Start), int64(p.Size)})
	}
	free := true
	for _, c := range claims {
		for _, e := range taken {
			first, last := max(c.Offset, e.Offset), min(c.Offset+c.Length, e.Offset+e.Length)-1
			free = free && first > last
		}
		free = free && c.Offset+c.Length <= int64(l.Size)
		taken = append(taken, c.Extent)
	}
	if err := l.CheckFree(claims); (err == nil) != free {
		t.Errorf("%+v on %+v: got %v, want free: %v", claims, l, err, free)
	}
	if !free {
		return
	}
	image := Image{Layout: l}
	for _, c := range claims {
		image.Blobs = append(image.Blobs, Patch{c.Offset, bytes.Repeat([]byte{0xFF}, int(c.Length)), c.What})
	}
	w := make(memoryFile, l.Size)
	if err := image.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for _, b := range image.Blobs {
		if got := w[b.Offset:][:len(b.Data)]; !bytes.Equal(got, b.Data) {
			t.Errorf("%s is damaged", b.What)
		}
		clear(w[b.Offset:][:len(b.Data)])
	}
	plain := make(memoryFile, l.Size)
	if err := (Image{Layout: l}).Write(t.Context(), plain); err != nil || !bytes.Equal(w, plain) {
		t.Errorf("%+v on %+v: the table differs (%v)", claims, l, err)
	}
}

func TestRandomClaimsAreAcceptedIfFree(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	for layouts := 0; layouts < 40; {
		r := randomRequest(random.Uint64)
		r.Size %= 8 * MiB
		l, err := NewLayout(r)
		if err != nil {
			continue
		}
		layouts++
		for range 40 {
			checkClaims(t, l, randomClaims(l, random.Uint64))
		}
	}
}

func TestBlobsAndPatchesMustNotOverlap(t *testing.T) {
	t.Parallel()
	l := twoPartitions(t, MSDOS)
	w := make(memoryFile, l.Size)
	image := Image{
		Layout: l, Blobs: []Patch{{8192, []byte("firmware"), "spl.bin"}},
		Patches: []Patch{{512, make([]byte, 7681), "GRUB core.img"}},
	}
	const want = "spl.bin (bytes 8192 to 8199) and GRUB core.img (bytes 512 to 8192) overlap"
	if err := image.Write(t.Context(), w); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	image.Patches[0].Data = make([]byte, 7680)
	if err := image.Write(t.Context(), w); err != nil {
		t.Error(err)
	}
	if got := string(w[8192:8200]); got != "firmware" {
		t.Errorf("at the blob's offset: got %q", got)
	}
}

// usedVolume is a volume that knows its free space.
type usedVolume struct {
	fakeVolume
	used, zeros []Extent
}

func (v usedVolume) Used() []Extent  { return v.used }
func (v usedVolume) Zeros() []Extent { return v.zeros }

func TestUsedHasTableBlobsPatchesAndVolumes(t *testing.T) {
	t.Parallel()
	l := twoPartitions(t, GPT)
	image := Image{
		Layout:  l,
		Volumes: map[int]Volume{1: usedVolume{used: []Extent{{0, 4096}, {8192, 4096}}}},
		Blobs:   []Patch{{20000, []byte("blob"), "blob"}},
		Patches: []Patch{{0, make([]byte, 440), "code"}, {int64(MiB) + 4096, make([]byte, 10), "note"}},
	}
	want := []Extent{{0, 34 * 512}, {20000, 4}, {int64(MiB), 4106}, {int64(MiB) + 8192, 4096},
		{int64(10*MiB) - 33*512, 33 * 512}}
	if got := image.Used(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	image.Volumes[1] = usedVolume{used: []Extent{{0, 4096}, {8192, 4096}},
		zeros: []Extent{{100, 8192}, {9000, 1}, {10000, 9000}}}
	data := []Extent{{0, 34 * 512}, {20000, 4}, {int64(MiB), 100}, {int64(MiB) + 4096, 10}, {int64(MiB) + 8292, 708},
		{int64(MiB) + 9001, 999}, want[4]}
	if got, known := image.Data(); !known || !reflect.DeepEqual(got, data) {
		t.Errorf("data: got %v, %v, want %v", got, known, data)
	}
	image.Volumes[2] = fakeVolume{}
	if got, known := image.Data(); known {
		t.Errorf("with a volume that does not know its free space: got %v", got)
	}
	want = append(want[:len(want)-1], Extent{int64(3 * MiB), int64(6 * MiB)}, want[len(want)-1])
	if got := image.Used(); !reflect.DeepEqual(got, want) {
		t.Errorf("with a volume that does not know its free space: got %v, want %v", got, want)
	}
}
